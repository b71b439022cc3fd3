"""Factories by import path: ``package.module:callable`` and ``path/to/file.py:callable``."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from cnnprof.errors import ModelError, UsageError, one_line
from cnnprof.frontends.torch.borrow import random_state_kept

__all__ = ["factory_of"]


def factory_of(reference: str, kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    """What makes the model: calls the named callable with ``kwargs``, or gives the named module as it is.

    Raises :class:`ModelError` if the import fails or the name isn't there.
    """
    where, _, name = reference.rpartition(":")
    if not where or not name:
        raise UsageError(
            f"{reference}: not a model reference", "write package.module:callable or path/to/file.py:callable"
        )
    with random_state_kept():  # a module's top level may make layers
        is_file = where.endswith(".py")
        source = _from_file(Path(where), reference) if is_file else _from_package(where, reference)
    target: Any = source
    for part in name.split("."):
        if not hasattr(target, part):
            close = difflib.get_close_matches(part, dir(target), n=3)
            raise ModelError(
                f"{reference}: {where} has no {part!r}",
                f"did you mean {' or '.join(close)}?" if close else "check the name after the colon",
            )
        target = getattr(target, part)
    if isinstance(target, nn.Module):
        if kwargs:
            raise UsageError(f"{reference}: is a module already, so --kwargs have no use", "name a factory")
        return lambda: target
    if not callable(target):
        raise ModelError(
            f"{reference}: expected a callable or a torch.nn.Module, got {type(target).__name__}",
            "name what makes the model",
        )
    return lambda: target(**kwargs)


def _from_package(name: str, reference: str) -> ModuleType:
    with _on_path(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            hint = (
                "is it installed, and are you in the right folder?"
                if name == missing or name.startswith(f"{missing}.")
                else f"pip install {missing}, perhaps"
            )
            raise ModelError(f"{reference}: no module named {missing!r}", hint) from error
        except Exception as error:
            raise _import_failed(reference, error) from error


def _from_file(path: Path, reference: str) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"{path}: no such file", "check the path before the colon")
    # A name of its own, so that it shadows nothing and two files of one name don't meet.
    name = f"_cnnprof_model_{path.stem}_{abs(hash(str(path.resolve())))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: not a Python file", "name a .py file before the colon")
    module = importlib.util.module_from_spec(spec)
    with _on_path(path.resolve().parent):
        sys.modules[name] = module  # dataclasses and pickling look their module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise _import_failed(reference, error) from error
    return module


def _import_failed(reference: str, error: Exception) -> ModelError:
    return ModelError(f"{reference}: importing it failed: {one_line(error)}", "--debug shows the traceback")


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)
