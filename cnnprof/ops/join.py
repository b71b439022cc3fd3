"""Operators that join and part tensors without computing: concat, stack, split, select, slice, tile.

All cost nothing; their bytes count unless they are views. In ONNX they are copies; in PyTorch the tracer
sees which storage a result lives in.

Canonical attributes: concat and stack ``axis``; split ``axis``, ``sizes``; select ``axis``, ``index``; slice
``starts``, ``steps``, ``sizes``, one entry per axis of the tensor; tile ``repeats``. Where a steering value
is not known the attributes are left out and the window is data-dependent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, given, moving, onnx
from cnnprof.ops.relations import first_only
from cnnprof.ops.spec import Call, OpSpec, UncountableError
from cnnprof.ops.window import Axes, AxisMap, Chain, DataDependent, Fixed, Lookup, Relation, Reshape, Same, Slide

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]
_END = 2**31 - 1


# -- concat, stack, split -----------------------------------------------------------------------------------


def _concat(call: Call) -> Call:
    rank = max((len(t.shape) for t in call.inputs if t is not None and t.shape is not None), default=1)
    return call.with_attributes({"axis": axis_of(call.get("axis", call.get("dim", 0)), rank)})


def _legacy_empty(shape: Shape, rank: int) -> bool:
    """torch.cat skips tensors of shape (0,) whatever the rank of the others."""
    return shape == (0,) and rank != 1


def _concat_window(call: Call, output: int) -> Relations:
    axis, rank = call.attr("axis"), len(call.out_shape(output))
    relations: list[Relation | None] = []
    offset = 0
    for index, tensor in enumerate(call.inputs):
        shape = call.shape(index)
        if _legacy_empty(shape, rank):
            relations.append(None)
            continue
        relations.append(None if tensor is None or tensor.is_weight else _moved(axis, rank, offset))
        offset += shape[axis]
    return tuple(relations)


@lru_cache(maxsize=4096)
def _moved(axis: int, rank: int, offset: int) -> Axes:
    """Every axis from the same position but one, whose index ``offset`` is the input's first."""
    maps: list[AxisMap] = [Slide(axis, pad=offset) if a == axis else Same(a) for a in range(rank)]
    return Axes(tuple(maps))


def _concat_shapes(call: Call) -> tuple[Shape | None, ...]:
    axis = call.attr("axis")
    shapes = [call.shape(i) for i in range(len(call.inputs))]
    shapes = [shape for shape in shapes if not _legacy_empty(shape, max(map(len, shapes)))]
    first = shapes[0]
    return ((*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :]),)


def _stack(call: Call) -> Call:
    return call.with_attributes({"axis": axis_of(call.get("dim", 0), len(call.shape(0)) + 1)})


def _stack_window(call: Call, output: int) -> Relations:
    """Concatenation along a new axis of size 1 each."""
    axis, rank = call.attr("axis"), len(call.out_shape(output))
    relations: list[Relation | None] = []
    for index, tensor in enumerate(call.inputs):
        shape = call.shape(index)
        wide = (*shape[:axis], 1, *shape[axis:])
        maps: list[AxisMap] = [Slide(axis, pad=index) if a == axis else Same(a) for a in range(rank)]
        chain = Chain((Axes(tuple(maps)), Reshape(shape, wide)))
        relations.append(None if tensor is None or tensor.is_weight else chain)
    return tuple(relations)


def _stack_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape, axis = call.shape(0), call.attr("axis")
    return ((*shape[:axis], len(call.inputs), *shape[axis:]),)


def _split(call: Call) -> Call:
    shape = call.shape(0)
    axis = axis_of(call.get("axis", 0), len(shape))
    sizes = given(call, "split", 1)
    if sizes is None and call.has(1):
        return call.with_attributes({"axis": axis})
    if sizes is None:  # equal parts, the last one smaller
        parts = call.get("num_outputs") or len(call.outputs)
        each = -(-shape[axis] // parts)
        sizes = tuple(max(0, min(each, shape[axis] - i * each)) for i in range(parts))
    return call.with_attributes({"axis": axis, "sizes": sizes})


def _aten_split(call: Call) -> Call:
    """Sizes are read off the outputs, whichever of split, split_with_sizes, chunk, tensor_split it is."""
    axis = axis_of(call.get("dim", 0), len(call.shape(0)))
    return call.with_attributes(
        {"axis": axis, "sizes": tuple(call.out_shape(i)[axis] for i in range(len(call.outputs)))}
    )


def _split_window(call: Call, output: int) -> Relations:
    if "sizes" not in call.attributes:
        return first_only(call, DataDependent())
    axis = call.attr("axis")
    start = [0, *accumulate(call.attr("sizes"))][output]
    return first_only(call, _moved(axis, len(call.shape(0)), -start))


def _split_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape, axis = call.shape(0), call.attr("axis")
    return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in call.attr("sizes"))


# -- unbind, select -----------------------------------------------------------------------------------------


def _unbind(call: Call) -> Call:
    return call.with_attributes({"axis": axis_of(call.get("dim", 0), len(call.shape(0)))})


def _select(call: Call) -> Call:
    shape = call.shape(0)
    axis = axis_of(call.get("dim", 0), len(shape))
    index = call.get("index")
    if not isinstance(index, int):
        return call.with_attributes({"axis": axis})
    return call.with_attributes({"axis": axis, "index": index + shape[axis] if index < 0 else index})


def _without_axis(call: Call, axis: int, index: int) -> Relations:
    maps: list[AxisMap] = [Fixed(index) if a == axis else Same(a - (a > axis)) for a in range(len(call.shape(0)))]
    return first_only(call, Axes(tuple(maps)))


def _unbind_window(call: Call, output: int) -> Relations:
    return _without_axis(call, call.attr("axis"), output)


def _select_window(call: Call, _output: int) -> Relations:
    if "index" not in call.attributes:
        return first_only(call, DataDependent())
    return _without_axis(call, call.attr("axis"), call.attr("index"))


def _dropped_axis_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape, axis = call.shape(0), call.attr("axis")
    return ((*shape[:axis], *shape[axis + 1 :]),) * max(1, len(call.outputs))


# -- slice --------------------------------------------------------------------------------------------------


def _sliced(call: Call, rows: Iterable[tuple[int, int, int, int]]) -> Call:
    """Rows of (axis, start, end, step) as per-axis attributes."""
    shape = call.shape(0)
    starts, steps, sizes = [0] * len(shape), [1] * len(shape), list(shape)
    for axis, start, end, step in rows:
        if step == 0:
            raise UncountableError(f"{call.op_type}: a step of 0")
        picked = range(shape[axis])[start:end:step]  # Python's slicing rules are NumPy's and ONNX's
        starts[axis], steps[axis], sizes[axis] = picked.start, step, len(picked)
    return call.with_attributes({"starts": tuple(starts), "steps": tuple(steps), "sizes": tuple(sizes)})


def _slice(call: Call) -> Call:
    rank = len(call.shape(0))
    starts, ends = given(call, "starts", 1), given(call, "ends", 2)
    axes, steps = given(call, "axes", 3), given(call, "steps", 4)
    open_axes, open_steps = call.has(3) and axes is None, call.has(4) and steps is None
    if starts is None or ends is None or open_axes or open_steps:
        return call.with_attributes({})
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    return _sliced(
        call,
        ((axis_of(a, rank), s, e, step) for a, s, e, step in zip(axes, starts, ends, steps, strict=True)),
    )


def _aten_slice(call: Call) -> Call:
    axis = axis_of(call.get("dim", 0), len(call.shape(0)))
    start, end = call.get("start"), call.get("end")
    row = (axis, 0 if start is None else start, _END if end is None else end, call.get("step", 1))
    return _sliced(call, [row])


def _narrow(call: Call) -> Call:
    shape = call.shape(0)
    axis = axis_of(call.get("dim", 0), len(shape))
    start, length = call.get("start"), call.get("length")
    if not isinstance(start, int) or length is None:
        return call.with_attributes({})
    start = start + shape[axis] if start < 0 else start
    return _sliced(call, [(axis, start, start + length, 1)])


def _slice_window(call: Call, _output: int) -> Relations:
    if "starts" not in call.attributes:
        return first_only(call, DataDependent())
    maps: list[AxisMap] = [
        Same(axis) if (start, step) == (0, 1) else Slide(axis, stride=step, pad=-start)
        for axis, (start, step) in enumerate(zip(call.attr("starts"), call.attr("steps"), strict=True))
    ]
    return first_only(call, Axes(tuple(maps)))


def _sizes(call: Call) -> tuple[Shape | None, ...]:
    return (call.get("sizes"),)


# -- tile ---------------------------------------------------------------------------------------------------


def _tile(call: Call) -> Call:
    repeats = call.value(1)
    return call.with_attributes({} if repeats is None else {"repeats": repeats})


def _aten_tile(call: Call) -> Call:
    """``repeat`` may name more axes than the input has; they come first."""
    repeats = tuple(call.get("repeats", call.get("dims", ())))
    rank = len(call.shape(0))
    return call.with_attributes({"repeats": (1,) * (rank - len(repeats)) + repeats})


def _tile_window(call: Call, output: int) -> Relations:
    if "repeats" not in call.attributes:
        return first_only(call, DataDependent())
    shape, out = call.shape(0), call.out_shape(output)
    offset = len(out) - len(shape)
    maps: list[AxisMap] = []
    for axis, size in enumerate(shape):
        target = axis + offset
        if out[target] == size:
            maps.append(Same(target))
        else:
            maps.append(Lookup(target, tuple((o % size,) for o in range(out[target]))))
    return first_only(call, Axes(tuple(maps)))


def _tile_shapes(call: Call) -> tuple[Shape | None, ...]:
    repeats = call.get("repeats")
    if repeats is None:
        return (None,)
    shape = (1,) * (len(repeats) - len(call.shape(0))) + call.shape(0)
    return (tuple(size * times for size, times in zip(shape, repeats, strict=True)),)


SPECS: tuple[OpSpec, ...] = (
    moving(
        "concat",
        _concat_window,
        onnx("Concat", _concat),
        aten("cat concat concatenate _cat", _concat),
        shapes=_concat_shapes,
    ),
    moving("stack", _stack_window, aten("stack", _stack), shapes=_stack_shapes),
    moving(
        "split",
        _split_window,
        onnx("Split", _split),
        aten(
            "split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk tensor_split "
            "split_copy split_with_sizes_copy",
            _aten_split,
        ),
        shapes=_split_shapes,
    ),
    moving("unbind", _unbind_window, aten("unbind unbind_copy", _unbind), shapes=_dropped_axis_shapes),
    moving("select", _select_window, aten("select select_copy", _select), shapes=_dropped_axis_shapes),
    moving(
        "slice",
        _slice_window,
        onnx("Slice", _slice),
        aten("slice slice_copy", _aten_slice),
        aten("narrow narrow_copy", _narrow),
        shapes=_sizes,
    ),
    moving(
        "tile",
        _tile_window,
        onnx("Tile", _tile),
        aten("repeat tile", _aten_tile),
        shapes=_tile_shapes,
    ),
)
