"""The folding rules of operators that move, pick, join and reduce elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cnnprof.frontends.onnx.records import Node
from cnnprof.frontends.onnx.values import MAX_ELEMENTS, Value, tensor_value, wrap

__all__ = ["REARRANGE"]

Inputs = Sequence[Value | None]


def _need(values: Inputs, index: int) -> Value:
    value = values[index]
    if value is None:
        raise ValueError("input is absent")
    return value


def _ints(node: Node, values: Inputs, name: str, index: int) -> list[int] | None:
    """What older opsets give as attribute ``name`` and newer ones as input ``index``."""
    given = node.plain(name)
    if given is not None:
        return list(given)
    value = values[index] if index < len(values) else None
    return None if value is None else [int(v) for v in value.data]


def _axis(value: int, rank: int) -> int:
    axis = value + rank if value < 0 else value
    if not 0 <= axis < rank:
        raise ValueError("axis outside the tensor")
    return axis


def _small(shape: Sequence[int]) -> int:
    if any(dim < 0 for dim in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError("too many elements")
    return math.prod(shape)


def _take(value: Value, picks: Sequence[Sequence[int]]) -> Value:
    """The elements at the product of ``picks``, one list of positions per axis."""
    _small([len(p) for p in picks])
    index, step = [0], len(value.data)
    for size, pick in zip(value.shape, picks, strict=True):
        step = step // size if size else 0
        if any(not 0 <= p < size for p in pick):
            raise IndexError("position outside the tensor")
        index = [i + p * step for i in index for p in pick]
    return Value(value.elem, tuple(len(p) for p in picks), tuple(value.data[i] for i in index))


def _gather(node: Node, values: Inputs) -> Value:
    data, indices = _need(values, 0), _need(values, 1)
    axis = _axis(node.plain("axis", 0), len(data.shape))
    size = data.shape[axis]
    picks: list[Sequence[int]] = [range(dim) for dim in data.shape]
    picks[axis] = [i + size if i < 0 else i for i in map(int, indices.data)]
    found = _take(data, picks)
    return Value(data.elem, data.shape[:axis] + indices.shape + data.shape[axis + 1 :], found.data)


def _concat(node: Node, values: Inputs) -> Value:
    parts = [v for v in values if v is not None]
    if len({part.elem for part in parts}) != 1:
        raise ValueError("types don't fit")
    rank = len(parts[0].shape)
    axis = _axis(node.plain("axis", 1), rank)
    shape = list(parts[0].shape)
    if any(p.shape[:axis] + p.shape[axis + 1 :] != tuple(shape[:axis] + shape[axis + 1 :]) for p in parts):
        raise ValueError("shapes don't fit")
    shape[axis] = sum(p.shape[axis] for p in parts)
    _small(shape)
    outer = math.prod(shape[:axis])
    data: list[Any] = []
    for row in range(outer):
        for part in parts:
            width = math.prod(part.shape[axis:])
            data.extend(part.data[row * width : (row + 1) * width])
    return Value(parts[0].elem, tuple(shape), tuple(data))


def _slice(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    starts, ends = _ints(node, values, "starts", 1), _ints(node, values, "ends", 2)
    if starts is None or ends is None:
        raise ValueError("no bounds")
    axes = _ints(node, values, "axes", 3) or list(range(len(starts)))
    steps = _ints(node, values, "steps", 4) or [1] * len(starts)
    picks: list[Sequence[int]] = [range(dim) for dim in data.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = _axis(axis, len(data.shape))
        picks[at] = range(data.shape[at])[slice(start, end, step)]
    return _take(data, picks)


def _split(node: Node, values: Inputs) -> tuple[Value, ...]:
    data = _need(values, 0)
    axis = _axis(node.plain("axis", 0), len(data.shape))
    sizes = _ints(node, values, "split", 1)
    if sizes is None:
        count = len(node.outputs)
        width = -(-data.shape[axis] // count)
        sizes = [min(width, data.shape[axis] - i * width) for i in range(count)]
    if sum(sizes) != data.shape[axis] or len(sizes) != len(node.outputs):
        raise ValueError("sizes don't add up")
    found, at = [], 0
    for size in sizes:
        picks: list[Sequence[int]] = [range(dim) for dim in data.shape]
        picks[axis] = range(at, at + size)
        found.append(_take(data, picks))
        at += size
    return tuple(found)


def _reshape(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    target = _ints(node, values, "shape", 1)
    if target is None:
        raise ValueError("no shape")
    if not node.plain("allowzero", 0):
        target = [data.shape[i] if dim == 0 else dim for i, dim in enumerate(target)]
    if -1 in target:
        rest = math.prod(dim for dim in target if dim != -1)
        target[target.index(-1)] = len(data.data) // rest
    if math.prod(target) != len(data.data):
        raise ValueError("sizes don't fit")
    return Value(data.elem, tuple(target), data.data)


def _flatten(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    axis = node.plain("axis", 1)
    axis = axis + len(data.shape) if axis < 0 else axis
    return Value(data.elem, (math.prod(data.shape[:axis]), math.prod(data.shape[axis:])), data.data)


def _squeeze(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    axes = _ints(node, values, "axes", 1)
    drop = (
        {i for i, dim in enumerate(data.shape) if dim == 1}
        if axes is None
        else {_axis(a, len(data.shape)) for a in axes}
    )
    return Value(data.elem, tuple(d for i, d in enumerate(data.shape) if i not in drop), data.data)


def _unsqueeze(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    axes = _ints(node, values, "axes", 1) or []
    rank = len(data.shape) + len(axes)
    new = {_axis(a, rank) for a in axes}
    old = iter(data.shape)
    return Value(data.elem, tuple(1 if i in new else next(old) for i in range(rank)), data.data)


def _transpose(node: Node, values: Inputs) -> Value:
    data = _need(values, 0)
    order = list(node.plain("perm") or reversed(range(len(data.shape))))
    strides, step = [0] * len(data.shape), 1
    for axis in reversed(range(len(data.shape))):
        strides[axis], step = step, step * data.shape[axis]
    index = [0]
    for axis in order:
        index = [i + k * strides[axis] for i in index for k in range(data.shape[axis])]
    return Value(data.elem, tuple(data.shape[a] for a in order), tuple(data.data[i] for i in index))


def _expand(_node: Node, values: Inputs) -> Value:
    data, target = _need(values, 0), [int(v) for v in _need(values, 1).data]
    rank = max(len(target), len(data.shape))
    own = (1,) * (rank - len(data.shape)) + data.shape
    wanted = [1] * (rank - len(target)) + target
    shape = [b if a == 1 else a for a, b in zip(own, wanted, strict=True)]
    if any(b not in (1, s) for b, s in zip(wanted, shape, strict=True)):
        raise ValueError("shapes don't broadcast")
    wide = Value(data.elem, own, data.data)
    return _take(wide, []) if not rank else _repeat(wide, shape)


def _repeat(data: Value, shape: Sequence[int]) -> Value:
    """Each axis wrapped round to the new size: Expand and Tile."""
    _small(shape)
    index, step = [0], len(data.data)
    for have, size in zip(data.shape, shape, strict=True):
        step = step // have if have else 0
        index = [i + (k % have) * step for i in index for k in range(size)]
    return Value(data.elem, tuple(shape), tuple(data.data[i] for i in index))


def _tile(_node: Node, values: Inputs) -> Value:
    data, times = _need(values, 0), _need(values, 1)
    return _repeat(data, [dim * int(t) for dim, t in zip(data.shape, times.data, strict=True)])


def _range(_node: Node, values: Inputs) -> Value:
    start, limit, step = (_need(values, i).data[0] for i in range(3))
    count = max(0, math.ceil((limit - start) / step))
    _small([count])
    elem = _need(values, 0).elem
    return Value(elem, (count,), tuple(wrap(elem, start + i * step) for i in range(count)))


def _constant_of_shape(node: Node, values: Inputs) -> Value:
    shape = tuple(int(v) for v in _need(values, 0).data)
    fill = node.plain("value")
    one = Value(1, (1,), (0.0,)) if fill is None else tensor_value(fill)
    if one is None:
        raise ValueError("the value is not known")
    return Value(one.elem, shape, one.data[:1] * _small(shape))


def _reduce(combine: Callable[[list[Any]], Any]) -> Callable[[Node, Inputs], Value]:
    def rule(node: Node, values: Inputs) -> Value:
        data = _need(values, 0)
        rank = len(data.shape)
        axes = _ints(node, values, "axes", 1)
        if not axes:
            if node.plain("noop_with_empty_axes", 0):
                return data
            axes = list(range(rank))
        gone = {_axis(a, rank) for a in axes}
        keep = bool(node.plain("keepdims", 1))
        groups: dict[int, list[Any]] = {}
        kept = [d for i, d in enumerate(data.shape) if i not in gone]
        for flat, element in enumerate(data.data):
            rest, key, step = flat, 0, 1
            for axis in reversed(range(rank)):
                rest, at = divmod(rest, data.shape[axis])
                if axis not in gone:
                    key, step = key + at * step, step * data.shape[axis]
            groups.setdefault(key, []).append(element)
        shape = tuple(1 if i in gone else d for i, d in enumerate(data.shape)) if keep else tuple(kept)
        if len(groups) != math.prod(kept):
            raise ValueError("nothing to reduce")
        return Value(data.elem, shape, tuple(wrap(data.elem, combine(groups[k])) for k in range(len(groups))))

    return rule


REARRANGE: dict[str, Callable[[Node, Inputs], Any]] = {
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "ReduceSum": _reduce(sum),
    "ReduceProd": _reduce(math.prod),
    "ReduceMax": _reduce(max),
    "ReduceMin": _reduce(min),
}
