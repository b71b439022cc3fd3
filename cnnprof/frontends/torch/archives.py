"""Saved torch files: torch.export archives, TorchScript, and checkpoints (which hold no network).

A pickle is never loaded with code execution: checkpoints are opened weights-only, and only to say what is in them.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnprof.errors import ModelError, first_line, one_line

__all__ = ["load_archive"]

_FACTORY_HINT = "give the code that makes the model: cnnprof analyze package.module:callable --input 1x3x224x224"


def load_archive(path: Path) -> tuple[nn.Module, Any, str]:
    """(module, its example inputs or None, format). Raises :class:`ModelError` for anything that is no network."""
    if not path.exists():
        raise ModelError(f"{path}: no such file", "check the path")
    if path.is_dir():
        raise ModelError(f"{path}: is a directory", "give a file")
    names = _members(path)
    if path.suffix.lower() == ".pt2":
        if names is None:
            raise ModelError(f"{path}: not a torch.export archive", "write it with torch.export.save")
        return _exported(path)
    if names is not None and any("/code/" in f"/{name}" for name in names):
        return _script(path), None, "torchscript"
    raise ModelError(f"{path}: {_contents(path)}", _FACTORY_HINT)


def _members(path: Path) -> list[str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None


def _exported(path: Path) -> tuple[nn.Module, Any, str]:
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ModelError(
            f"{path}: torch.export can't load it: {one_line(error)}",
            f"export it again with this torch ({torch.__version__})",
        ) from error
    example: Any = None
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        example = dict(kwargs) if kwargs and not args else tuple(args)
    return _with_scopes(program), example, "pt2"


def _with_scopes(program: Any) -> nn.Module:
    """The program as a tree of modules, so that ops keep their module paths; flat where that fails."""
    try:
        tree: nn.Module = torch.export.unflatten(program)
        return tree
    except Exception:  # unflatten refuses some programs that run all the same
        flat: nn.Module = program.module()
        return flat


def _script(path: Path) -> nn.Module:
    try:
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")
        return module
    except Exception as error:
        raise ModelError(f"{path}: TorchScript can't load it: {first_line(error)}", _FACTORY_HINT) from error


def _contents(path: Path) -> str:
    """What a checkpoint holds, in words."""
    if path.suffix.lower() == ".safetensors":
        return "holds tensors only, no network"
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return "is a pickle that only loads by running code, which cnnprof never does"
    except Exception as error:  # damaged files fail in many ways
        return f"can't be read: {one_line(error)}"
    if isinstance(content, dict):
        tensors = sum(isinstance(value, torch.Tensor) for value in content.values())
        return f"holds a state dict ({tensors} tensors), no network"
    return f"holds a {type(content).__name__}, no network"
