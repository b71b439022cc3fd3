"""The PyTorch front end. Importing it imports torch, which is an optional dependency."""

from __future__ import annotations

from cnnprof.errors import DependencyError

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as _error:
    raise DependencyError("PyTorch is not installed", "pip install 'cnnprof[torch]'") from _error
