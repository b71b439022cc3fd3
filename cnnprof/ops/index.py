"""Operators that pick or place elements by index: gather, scatter, one-hot, masks.

Picking and placing cost nothing by definition (their bytes count); a scatter that reduces costs one
operation for each element it places, ``nonzero`` a comparison an element. What is read is exact where the
indices are known constants; otherwise it depends on data and the window says so. An element of the index
tensor reaches the output positions that it picks.

Canonical attributes: gather and gather_elements ``axis``; scatter_reduce ``reduction`` (add, mul, max, min).
"""

from __future__ import annotations

import math

from cnnprof.ir.dtype import DType
from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.embedding import is_table
from cnnprof.ops.naming import aten, axis_of, microsoft, moving, onnx
from cnnprof.ops.relations import data_of, first_only, replaced, same, unpredictable
from cnnprof.ops.rules import free, input_formula, linear_formula, no_cost_formula, same_shape
from cnnprof.ops.spec import Call, Normalise, OpSpec, UncountableError
from cnnprof.ops.window import (
    All,
    Axes,
    AxisMap,
    Chain,
    DataDependent,
    Fixed,
    Lookup,
    Relation,
    Reshape,
    Same,
    Slide,
    Spread,
)
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

_SPATIAL = 2  # the first axis after batch and channels
Relations = tuple[Relation | None, ...]
Shapes = tuple[Shape | None, ...]


def _axis(default: int, name: str = "axis") -> Normalise:
    def normalise(call: Call) -> Call:
        axis = call.get(name, default)
        return call.with_attributes({"axis": axis_of(default if axis is None else axis, len(call.shape(0)))})

    return normalise


# -- gather: whole slices along one axis -------------------------------------------------------------------


def _gather_data(call: Call, output: int) -> Relation:
    shape, indices = call.shape(0), call.value(1)
    if indices is None:
        return DataDependent()
    axis, rank = call.attr("axis"), len(call.shape(1))
    picked = tuple(index + shape[axis] if index < 0 else index for index in indices)
    out = call.out_shape(output)
    if rank == 0:
        return Axes(tuple(Fixed(picked[0]) if a == axis else Same(a - (a > axis)) for a in range(len(shape))))
    table = Lookup(axis, tuple((index,) for index in picked))
    look_up = Axes(tuple(table if a == axis else Same(a) for a in range(len(shape))))
    if rank == 1:
        return look_up
    flat = (*out[:axis], len(picked), *out[axis + rank :])
    return Chain((Reshape(flat, out), look_up))


def _gather_window(call: Call, output: int) -> Relations:
    axis, rank = call.attr("axis"), len(call.shape(1))
    data = data_of(call)
    return (
        _gather_data(call, output) if 0 in data else None,
        Axes(tuple(Same(axis + i) for i in range(rank))) if 1 in data else None,
        *(None for _ in call.inputs[2:]),
    )


def _gather_shapes(call: Call) -> Shapes:
    shape, axis = call.shape(0), call.attr("axis")
    return ((*shape[:axis], *call.shape(1), *shape[axis + 1 :]),)


def _index_window(call: Call, output: int) -> Relations:
    """``x[:, picked]``: with one list of positions, the other axes stay in place. Of batch or channels, any may be
    picked; more lists, a mask, or positions in space that aren't known depend on data."""
    lists = [at for at in range(1, len(call.inputs)) if call.has(at)]
    if len(lists) != 1 or call.op_type.startswith(("aten:take", "aten:_unsafe_masked")) or 0 not in data_of(call):
        return unpredictable(call, output)
    (at,) = lists
    picked, axis = call.input(at), at - 1
    in_space = axis >= _SPATIAL or len(call.shape(0)) <= _SPATIAL
    if picked.dtype is DType.BOOL or len(call.shape(at)) != 1 or (picked.value is None and in_space):
        return unpredictable(call, output)
    size = call.shape(0)[axis]
    chosen: AxisMap = All()
    if picked.value is not None:
        chosen = Lookup(axis, tuple((index + size if index < 0 else index,) for index in picked.value))
    relations: list[Relation | None] = [None] * len(call.inputs)
    relations[0] = replaced(len(call.shape(0)), {axis: chosen})
    if at in data_of(call):
        relations[at] = Axes((Same(axis),))
    return tuple(relations)


# -- gather_elements, gather_nd ----------------------------------------------------------------------------


def _elements_window(call: Call, _output: int) -> Relations:
    data = data_of(call)
    rank = len(call.shape(1))
    return (
        DataDependent() if 0 in data else None,
        same(rank) if 1 in data else None,
        *(None for _ in call.inputs[2:]),
    )


def _elements_shapes(call: Call) -> Shapes:
    return (call.shape(1),)


def _nd(call: Call) -> Call:
    return call.with_attributes({"batch_dims": call.get("batch_dims", 0)})


def _nd_shapes(call: Call) -> Shapes:
    shape, indices, batch = call.shape(0), call.shape(1), call.attr("batch_dims")
    return ((*indices[:-1], *shape[batch + indices[-1] :]),)


def _nd_window(call: Call, _output: int) -> Relations:
    data = data_of(call)
    maps: tuple[AxisMap, ...] = (*(Same(a) for a in range(len(call.shape(1)) - 1)), All())
    return (DataDependent() if 0 in data else None, Axes(maps) if 1 in data else None)


# -- scatter: the data stays where it is, the updates land where the indices say -----------------------------

_REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "multiply": "mul", "mean": "add"}
_UNIT = {
    "none": Work(),
    "add": Work(add=1),
    "mul": Work(mul=1),
    "max": Work(cmp=1),
    "min": Work(cmp=1),
}


_ALWAYS_ADD = ("aten:scatter_add", "aten:index_add")


def _reduction(call: Call) -> str:
    """How what is placed meets what is there: attribute ``reduction`` (ONNX), ``reduce`` or ``accumulate``."""
    if call.op_type.startswith(_ALWAYS_ADD) or call.get("accumulate", False):
        return "add"
    how = call.get("reduction", call.get("reduce")) or "none"
    return _REDUCTIONS.get(how, how)


def _plain(call: Call) -> bool:
    return _reduction(call) == "none"


def _reducing(call: Call) -> bool:
    return not _plain(call)


def _scatter(call: Call) -> Call:
    how = _reduction(call)
    if how not in _UNIT:
        raise UncountableError(f"{call.op_type}: unknown reduction {how!r}")
    return call.with_attributes({} if how == "none" else {"reduction": how})


def _scatter_work(call: Call) -> Work:
    """One reduction for every element placed: the last tensor holds them (ATen: values, src, source)."""
    return _UNIT[call.attr("reduction")] * call.elements(len(call.inputs) - 1)


def _scatter_window(call: Call, _output: int) -> Relations:
    data = data_of(call)
    rank = len(call.shape(0))
    return tuple(None if i not in data else same(rank) if i == 0 else DataDependent() for i in range(len(call.inputs)))


# -- slice_scatter, select_scatter ---------------------------------------------------------------------------


def _slice_scatter_window(call: Call, _output: int) -> Relations:
    rank = len(call.shape(0))
    axis = axis_of(call.get("dim", 0), rank)
    size = call.shape(0)[axis]
    start, step = call.get("start") or 0, call.get("step", 1)
    start = max(0, start + size) if start < 0 else min(start, size)
    source: list[AxisMap] = [
        Spread(a, kernel=1, stride=step, pad=-start) if a == axis else Same(a) for a in range(rank)
    ]
    return (same(rank), Axes(tuple(source)), *(None for _ in call.inputs[2:]))


def _select_scatter_window(call: Call, _output: int) -> Relations:
    """The source lies at one index of the axis: a scatter of a tensor of size 1 there."""
    shape = call.shape(0)
    rank = len(shape)
    axis, index = axis_of(call.get("dim", 0), rank), call.get("index", 0)
    index = index + shape[axis] if index < 0 else index
    wide = (*shape[:axis], 1, *shape[axis + 1 :])
    place = Axes(tuple(Slide(a, pad=index) if a == axis else Same(a) for a in range(rank)))
    return (same(rank), Chain((place, Reshape(call.shape(1), wide))))


# -- one-hot, masks ------------------------------------------------------------------------------------------


def _one_hot(call: Call) -> Call:
    rank = len(call.shape(0)) + 1
    attributes: dict[str, int] = {"axis": axis_of(call.get("axis", -1), rank)}
    if call.op_type.startswith("aten:"):
        depth: int | None = call.get("num_classes")
        depth = None if depth is None or depth < 0 else depth
    else:
        values = call.value(1) or call.numbers(1)
        depth = int(values[0]) if values else None
    return call.with_attributes(attributes | ({} if depth is None else {"depth": depth}))


def _one_hot_window(call: Call, _output: int) -> Relations:
    axis = call.attr("axis")
    return first_only(call, Axes(tuple(Same(a + (a >= axis)) for a in range(len(call.shape(0))))))


def _one_hot_shapes(call: Call) -> Shapes:
    shape, axis, depth = call.shape(0), call.attr("axis"), call.get("depth")
    return (None,) if depth is None else ((*shape[:axis], depth, *shape[axis:]),)


def _nonzero_work(call: Call) -> Work:
    return Work(cmp=call.elements(0))


def _nonzero_shapes(call: Call) -> Shapes:
    shape = call.shape(0)
    return ((len(shape), 0),) if math.prod(shape) == 0 else (None,)


_ONNX_SCATTERS = "ScatterElements Scatter ScatterND"
_ATEN_SCATTERS = "scatter scatter_reduce index_reduce index_put _index_put_impl _unsafe_index_put put"

SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="gather",
        work=free,
        formula=no_cost_formula,
        window=_gather_window,
        shapes=_gather_shapes,
        roles={0: Role.PARAMETER},  # a table, if it is one: see is_table
        arithmetic=False,
        spellings=(
            *onnx("Gather", _axis(0), lambda call: not is_table(call)),
            *aten("index_select", _axis(0, "dim")),
        ),
    ),
    moving(
        "gather_elements",
        _elements_window,
        onnx("GatherElements", _axis(0)),
        aten("gather take_along_dim", _axis(0, "dim")),
        shapes=_elements_shapes,
    ),
    moving(
        "gather_nd",
        _nd_window,
        onnx("GatherND", _nd),
        microsoft("GatherND", _nd),
        shapes=_nd_shapes,
    ),
    moving("index", _index_window, aten("index _unsafe_index take _unsafe_masked_index")),
    moving(
        "scatter",
        _scatter_window,
        onnx(_ONNX_SCATTERS, _scatter, _plain),
        aten(_ATEN_SCATTERS, _scatter, _plain),
        aten("index_copy index_fill masked_scatter", _scatter),
        shapes=same_shape,
    ),
    OpSpec(
        kind="scatter_reduce",
        work=_scatter_work,
        formula=linear_formula,
        window=_scatter_window,
        shapes=same_shape,
        spellings=(
            *onnx(_ONNX_SCATTERS, _scatter, _reducing),
            *aten(_ATEN_SCATTERS, _scatter, _reducing),
            *aten("scatter_add index_add", _scatter),
        ),
    ),
    moving("tensor_scatter", _scatter_window, onnx("TensorScatter"), shapes=same_shape),
    moving("slice_scatter", _slice_scatter_window, aten("slice_scatter"), shapes=same_shape),
    moving("select_scatter", _select_scatter_window, aten("select_scatter"), shapes=same_shape),
    moving(
        "one_hot",
        _one_hot_window,
        onnx("OneHot", _one_hot),
        aten("one_hot", _one_hot),
        shapes=_one_hot_shapes,
    ),
    moving(
        "nonzero",
        unpredictable,
        onnx("NonZero"),
        aten("nonzero nonzero_numpy argwhere nonzero_static where.default"),
        shapes=_nonzero_shapes,
        work=_nonzero_work,
        formula=input_formula,
    ),
    moving("compress", unpredictable, onnx("Compress"), aten("masked_select")),
    moving("pack_sequence", unpredictable, aten("_pack_padded_sequence _pad_packed_sequence")),
    moving("reverse_sequence", unpredictable, onnx("ReverseSequence"), shapes=same_shape),
)
