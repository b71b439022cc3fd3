"""onnx's own shape inference, at the price of its extension module alone.

``import onnx`` costs ten times what inferring ResNet-50 does: it brings NumPy, protobuf and the operator
documentation. All that is needed here is one function of onnx's extension, bytes to bytes, so the extension
is loaded from the installed package by itself. It takes its usual name, so that a later ``import onnx`` finds
it and there is only ever one. Where that can't be done, onnx is imported.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cnnprof.errors import DependencyError

__all__ = ["infer", "schema"]

_NAME = "onnx.onnx_cpp2py_export"


@cache
def _extension() -> ModuleType:
    loaded = sys.modules.get(_NAME)
    if loaded is None and "onnx" not in sys.modules:
        loaded = _alone()
    if loaded is not None:
        return loaded
    try:
        return importlib.import_module(_NAME)
    except ImportError as error:
        raise DependencyError(f"onnx can't be imported: {error}", "pip install onnx") from None


def _alone() -> ModuleType | None:
    package = importlib.util.find_spec("onnx")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            file = Path(folder) / f"onnx_cpp2py_export{suffix}"
            if not file.is_file():
                continue
            spec = importlib.util.spec_from_file_location(_NAME, file)
            if spec is None or spec.loader is None:
                return None
            try:
                module = importlib.util.module_from_spec(spec)
                sys.modules[_NAME] = module
                spec.loader.exec_module(module)
            except ImportError:
                sys.modules.pop(_NAME, None)
                return None
            return module
    return None


def schema(op_type: str, domain: str, version: int) -> Any:
    """The operator's schema object as of that version of its domain, or None if there is none."""
    try:
        return _extension().defs.get_schema(op_type, version, domain)
    except Exception:  # as below
        return None


def infer(model: bytes) -> bytes | None:
    """The serialised model with inferred types in its ``value_info``; None where inference refuses it.

    Strict mode off: a node that can't be inferred leaves its outputs untyped. Data propagation off: it writes out
    an unknown size for every element of a one-dimensional operand, a gigabyte for a long bias, and what it
    finds :mod:`~cnnprof.frontends.onnx.fold` finds too.
    """
    run: Any = _extension().shape_inference.infer_shapes
    try:
        return bytes(run(model, False, False, False))
    except Exception:
        return None
