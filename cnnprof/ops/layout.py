"""Operators that describe elements anew without computing: reshape, transpose, expand; and shapes.

All cost nothing; their bytes count unless they are views. In ONNX a reshape is a view and the others are
copies; in PyTorch the tracer sees which storage a result lives in. Flatten, squeeze and unsqueeze are
reshapes, so that both front ends give one kind.

Canonical attributes: reshape and expand ``shape`` (of the output; left out where it isn't known), transpose
``perm``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, broadcast_shape, given, microsoft, moving, onnx
from cnnprof.ops.relations import first_only, no_data, reshaped, transposed
from cnnprof.ops.rules import broadcast_axes
from cnnprof.ops.spec import Call, Memory, OpSpec, UncountableError
from cnnprof.ops.window import DataDependent, Relation

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]


def _out(call: Call) -> Shape | None:
    """The output's shape where the front end has it."""
    tensor = call.outputs[0] if call.outputs else None
    return None if tensor is None else tensor.shape


def _inputs_from(call: Call, _output: int) -> Relations:
    return first_only(call, DataDependent())


# -- reshape -------------------------------------------------------------------------------------------


def _fill(shape: Shape, target: Iterable[int], *, copy_zeros: bool) -> Shape:
    """A target shape with its −1 and (unless allowzero) its zeros filled in."""
    wanted = list(target)
    if copy_zeros:
        wanted = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = math.prod(shape) // rest if rest else 0
    if math.prod(wanted) != math.prod(shape):
        raise UncountableError(f"{shape} can't be reshaped to {tuple(wanted)}")
    return tuple(wanted)


def _to_shape(call: Call, shape: Shape | None) -> Call:
    known = _out(call) if _out(call) is not None else shape
    return call.with_attributes({} if known is None else {"shape": known})


def _reshape(call: Call) -> Call:
    target = given(call, "shape", 1)
    if target is None or _out(call) is not None:
        return _to_shape(call, None)
    return _to_shape(call, _fill(call.shape(0), target, copy_zeros=not call.get("allowzero", 0)))


def _view(call: Call) -> Call:
    if _out(call) is not None:
        return _to_shape(call, None)
    target = call.get("size", call.get("shape"))
    return _to_shape(call, None if target is None else _fill(call.shape(0), target, copy_zeros=False))


def _flatten(call: Call) -> Call:
    shape = call.shape(0)
    axis = call.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return _to_shape(call, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def _aten_flatten(call: Call) -> Call:
    shape = call.shape(0)
    first = axis_of(call.get("start_dim", 0), len(shape))
    last = axis_of(call.get("end_dim", -1), len(shape))
    return _to_shape(call, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _squeeze(call: Call) -> Call:
    shape = call.shape(0)
    axes = given(call, "dim", -1) if call.op_type.startswith("aten:") else given(call, "axes", 1)
    if axes is None:
        drop = {axis for axis, size in enumerate(shape) if size == 1}
    else:  # ATen leaves an axis that isn't 1 alone; ONNX forbids it
        drop = {a for a in (axis_of(axis, len(shape)) for axis in axes) if not shape or shape[a] == 1}
    return _to_shape(call, tuple(size for axis, size in enumerate(shape) if axis not in drop))


def _unsqueeze(call: Call) -> Call:
    shape = call.shape(0)
    axes = given(call, "dim", -1) if call.op_type.startswith("aten:") else given(call, "axes", 1)
    if axes is None:
        return _to_shape(call, None)
    rank = len(shape) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    sizes = iter(shape)
    return _to_shape(call, tuple(1 if axis in new else next(sizes) for axis in range(rank)))


def _reshape_window(call: Call, output: int) -> Relations:
    return first_only(call, reshaped(call.shape(0), call.out_shape(output)))


def _stated_shape(call: Call) -> tuple[Shape | None, ...]:
    return (call.get("shape"),)


# -- transpose ------------------------------------------------------------------------------------------


def _perm(call: Call) -> Call:
    rank = len(call.shape(0))
    perm = call.get("perm", call.get("dims"))
    perm = tuple(reversed(range(rank))) if perm is None else tuple(axis_of(axis, rank) for axis in perm)
    return call.with_attributes({"perm": perm})


def _swap(call: Call) -> Call:
    rank = len(call.shape(0))
    first = axis_of(call.get("dim0", call.get("axis0", -2 if rank > 1 else 0)), rank)
    second = axis_of(call.get("dim1", call.get("axis1", -1)), rank)
    perm = list(range(rank))
    if rank:
        perm[first], perm[second] = second, first
    return call.with_attributes({"perm": tuple(perm)})


def _movedim(call: Call) -> Call:
    rank = len(call.shape(0))
    source = [axis_of(axis, rank) for axis in _tuple(call.attr("source"))]
    target = [axis_of(axis, rank) for axis in _tuple(call.attr("destination"))]
    placed = dict(zip(target, source, strict=True))
    rest = iter(axis for axis in range(rank) if axis not in source)
    return call.with_attributes({"perm": tuple(placed[a] if a in placed else next(rest) for a in range(rank))})


def _transpose_window(call: Call, _output: int) -> Relations:
    return first_only(call, transposed(call.attr("perm")))


def _transpose_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (tuple(call.shape(0)[axis] for axis in call.attr("perm")),)


def _tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


# -- expand -------------------------------------------------------------------------------------------------


def _expand(call: Call) -> Call:
    target = call.value(1)
    return call.with_attributes({} if target is None else {"shape": broadcast_shape(call.shape(0), target)})


def _aten_expand(call: Call) -> Call:
    return call.with_attributes({"shape": call.out_shape()})


def _expand_window(call: Call, output: int) -> Relations:
    return first_only(call, broadcast_axes(call.shape(0), call.out_shape(output)))


_VIEWS = "view _unsafe_view reshape _reshape_alias unflatten view_as reshape_as ravel _reshape_copy view_copy"

SPECS: tuple[OpSpec, ...] = (
    moving(
        "reshape",
        _reshape_window,
        onnx("Reshape", _reshape),
        onnx("Flatten", _flatten),
        onnx("Squeeze", _squeeze),
        onnx("Unsqueeze", _unsqueeze),
        microsoft("ExpandDims", _unsqueeze),
        aten(_VIEWS, _view),
        aten("flatten", _aten_flatten),
        aten("squeeze squeeze_copy", _squeeze),
        aten("unsqueeze unsqueeze_copy", _unsqueeze),
        shapes=_stated_shape,
        memory=Memory.VIEW,
    ),
    moving(
        "transpose",
        _transpose_window,
        onnx("Transpose", _perm),
        aten("permute permute_copy numpy_T", _perm),
        aten("transpose transpose_copy t t_copy mT mH swapaxes swapdims adjoint", _swap),
        aten("movedim moveaxis", _movedim),
        shapes=_transpose_shapes,
    ),
    moving(
        "expand",
        _expand_window,
        onnx("Expand", _expand),
        aten("expand expand_copy expand_as broadcast_to", _aten_expand),
        shapes=_stated_shape,
    ),
    moving("as_complex", _inputs_from, aten("view_as_real view_as_complex"), memory=Memory.VIEW),
    moving("as_strided", _inputs_from, aten("as_strided as_strided_copy")),
    moving("shape", no_data, onnx("Shape"), aten("_shape_as_tensor"), memory=Memory.METADATA),
    moving("size", no_data, onnx("Size"), aten("sym_numel"), memory=Memory.METADATA),
)
