"""Gives every graph input its shape: what the caller asks for, else what the file says.

A symbolic or missing batch size becomes 1, with a note. Any other open size is an error that prints the
command to run.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence

from cnnprof.errors import ShapeError, UsageError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import ValueRec
from cnnprof.frontends.onnx.symbols import evaluate_size, is_name
from cnnprof.frontends.onnx.values import elem_dtype
from cnnprof.ir import DType, Note

__all__ = ["Binding", "bind_inputs"]

_BATCH = re.compile(r"n|b|bs|.*batch.*|unk__\d+|\?|none|-1|dynamic_axes_.*|.*dim_?0", re.IGNORECASE)
_NO_BATCH = re.compile(r".*(seq|len|time|token|height|width|frame|h|w)", re.IGNORECASE)
_MAX_DIM = 2**40


class Binding:
    """``infos`` by input name; ``overridden`` says whether a size the file fixes was changed."""

    def __init__(self) -> None:
        self.infos: dict[str, Info] = {}
        self.notes: list[Note] = []
        self.overridden = False
        self.sizes: dict[str, int] = {}


def bind_inputs(values: Sequence[ValueRec], specs: Sequence[InputSpec], reference: str) -> Binding:
    """Raises :class:`UsageError` on a name the model doesn't have and :class:`ShapeError` on an open size."""
    found = Binding()
    wanted = _by_name(values, specs)
    for value in values:
        spec = wanted.get(value.name)
        if spec is not None and value.type.kind == "tensor" and value.type.dims is not None:
            for said, given in zip(value.type.dims, spec.shape, strict=False):
                if isinstance(said, str):
                    _unify(found, said, given, value.name)
    for value in values:
        if value.name not in wanted:
            _find_batch(value, found)
    for value in values:
        found.infos[value.name] = _bound(value, wanted.get(value.name), found)
    open_inputs = [name for name, info in found.infos.items() if info.other is None and info.shape is None]
    if open_inputs:
        raise _open_error(values, open_inputs, wanted, found, reference)
    for name, info in found.infos.items():
        if info.dims is not None and any(dim is not None and dim > _MAX_DIM for dim in info.dims):
            raise ShapeError(
                f"input {name!r}: expected sizes below 2^40, got {list(info.dims)}", "give its shape with --input"
            )
    return found


def _bound(value: ValueRec, spec: InputSpec | None, found: Binding) -> Info:
    """The input's type: as asked for, else as the file says, with sizes open that nothing settles."""
    kind = value.type
    if kind.kind not in ("tensor", "sparse"):
        if spec is not None:
            raise UsageError(f"--input {value.name}: the input is a {kind.kind}, not a tensor", "leave it out")
        return Info(other=kind)
    if spec is None:
        return Info(kind.elem, None if kind.dims is None else tuple(_size(dim, found.sizes) for dim in kind.dims))
    found.overridden |= (
        kind.dims is None
        or len(kind.dims) != len(spec.shape)
        or any(
            isinstance(said, int) and said >= 0 and said != given
            for said, given in zip(kind.dims, spec.shape, strict=True)
        )
    )
    return Info(_elem(spec.dtype, kind.elem), spec.shape)


def _by_name(values: Sequence[ValueRec], specs: Sequence[InputSpec]) -> dict[str, InputSpec]:
    names = [value.name for value in values]
    found: dict[str, InputSpec] = {}
    for spec in specs:
        name = spec.name
        if name is None:
            if len(names) != 1:
                raise UsageError(
                    f"--input {spec}: the model has {len(names)} inputs, so it needs a name",
                    f"one of {', '.join(names)}" if names else "the model takes no input",
                )
            name = names[0]
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3) or names[:8]
            raise UsageError(
                f"--input {name}: the model has no such input",
                f"did you mean {' or '.join(close)}?" if close else "the model takes no input",
            )
        if name in found:
            raise UsageError(f"--input {name}: given twice", "give each input once")
        found[name] = spec
    return found


def _unify(found: Binding, symbol: str, size: int, name: str) -> None:
    if not is_name(symbol):
        return
    known = found.sizes.setdefault(symbol, size)
    if known != size:
        raise ShapeError(
            f"input {name!r}: size {symbol!r} is {size} here and {known} in another input",
            "the model says that they are equal",
        )


def _find_batch(value: ValueRec, found: Binding) -> None:
    """Bind a batch size that is a symbol or missing to 1."""
    dims = value.type.dims
    if value.type.kind != "tensor" or not dims:
        return
    for axis, said in enumerate(dims):
        if isinstance(said, int) and said >= 0:
            continue
        text = said if isinstance(said, str) else ""
        if text and (text in found.sizes or not is_name(text)):
            continue
        first = axis == 0 and not (text and _NO_BATCH.fullmatch(text))
        if not (first or (text and _BATCH.fullmatch(text) and "batch" in text.lower())):
            continue
        found.sizes[text or f"\0{value.name}"] = 1
        said_so = f"symbolic ({text})" if text else "open"
        found.notes.append(Note("batch_default", f"input {value.name}: the batch size is {said_so}; 1 was taken", None))
        if not text:
            value.type = type(value.type)(value.type.kind, value.type.elem, (1, *dims[1:]), b"")


def _size(dim: int | str | None, sizes: dict[str, int]) -> int | None:
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return None if dim is None else evaluate_size(dim, sizes)


def _elem(dtype: DType | None, said: int) -> int:
    if dtype is None:
        return said or 1
    if elem_dtype(said) is dtype:
        return said
    return next((elem for elem in range(1, 29) if elem_dtype(elem) is dtype), said)


def _open_error(
    values: Sequence[ValueRec], names: list[str], wanted: dict[str, InputSpec], found: Binding, reference: str
) -> ShapeError:
    """The error that prints the command: known sizes filled in, open ones as the file names them."""
    words = ["cnnprof", "analyze", shlex.quote(reference or "model.onnx")]
    first = ""
    for value in values:
        spec = wanted.get(value.name)
        if spec is not None:
            words.append(f"--input {shlex.quote(str(spec))}")
        elif value.name in names:
            shape = _template(value, found.sizes)
            first = first or f"input {value.name!r}: expected a known shape, got {_said(value)}"
            words.append(f"--input {shlex.quote(f'{value.name}={shape}')}")
    return ShapeError(first, f"run: {' '.join(words)}")


def _template(value: ValueRec, sizes: dict[str, int]) -> str:
    if value.type.dims is None:
        return "1x3xHxW"
    spatial = dict(zip(range(2, len(value.type.dims)), _AXES.get(len(value.type.dims), ()), strict=False))
    parts = []
    for axis, dim in enumerate(value.type.dims):
        size = _size(dim, sizes)
        if size is not None:
            parts.append(str(size))
        elif isinstance(dim, str) and dim.isidentifier():
            parts.append(dim.upper())
        else:
            parts.append(spatial.get(axis, "C" if axis == 1 and spatial else f"D{axis}"))
    return "x".join(parts)


_AXES = {3: ("L",), 4: ("H", "W"), 5: ("D", "H", "W")}


def _said(value: ValueRec) -> str:
    dims = value.type.dims
    if dims is None:
        return "none"
    return "x".join("?" if dim is None or (isinstance(dim, int) and dim < 0) else str(dim) for dim in dims) or "scalar"
