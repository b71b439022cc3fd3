"""Padding and cropping: constant, reflect, edge, wrap; centre crop.

Nothing is computed. Canonical attributes: ``pads``, a (before, after) pair per axis of the tensor, negative
to crop, and ``mode``; left out where the pads aren't known. A position that padding filled with a constant
reads nothing; a reflected, repeated or wrapped one reads the element it copies.
"""

from __future__ import annotations

from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, given, microsoft, moving, onnx
from cnnprof.ops.relations import first_only
from cnnprof.ops.spec import Call, OpSpec, UncountableError
from cnnprof.ops.window import Axes, AxisMap, DataDependent, Lookup, Relation, Same, Slide

__all__ = ["SPECS"]

Pairs = tuple[tuple[int, int], ...]
_MODES = {"replicate": "edge", "circular": "wrap"}


def _padded(call: Call, rows: Any, mode: str) -> Call:
    """``rows`` of (axis, before, after)."""
    pairs = [(0, 0)] * len(call.shape(0))
    for axis, before, after in rows:
        pairs[axis] = (before, after)
    return call.with_attributes({"pads": tuple(pairs), "mode": _MODES.get(mode, mode)})


def _from_onnx(call: Call) -> Call:
    mode = call.get("mode", "constant")
    pads = given(call, "pads", 1)
    axes = call.value(3)
    if pads is None:
        pads = call.get("paddings")  # opset 1
    if pads is None or (call.has(3) and axes is None):
        return call.with_attributes({"mode": _MODES.get(mode, mode)})
    rank = len(call.shape(0))
    axes = tuple(range(rank)) if axes is None else tuple(axis_of(axis, rank) for axis in axes)
    half = len(axes)
    if len(pads) != 2 * half:
        raise UncountableError(f"{call.op_type}: expected {2 * half} pads, got {len(pads)}")
    return _padded(call, zip(axes, pads[:half], pads[half:], strict=True), mode)


def _from_aten(mode: str | None) -> Any:
    """ATen lists (before, after) from the last axis on."""

    def normalise(call: Call) -> Call:
        flat = tuple(call.get("pad", call.get("padding", ())))
        rank = len(call.shape(0))
        rows = ((rank - 1 - i, flat[2 * i], flat[2 * i + 1]) for i in range(len(flat) // 2))
        return _padded(call, rows, mode or call.get("mode", "constant"))

    return normalise


def _source(position: int, size: int, mode: str) -> tuple[int, ...]:
    """The input index that a padded axis copies at ``position`` (negative = before the start)."""
    if 0 <= position < size:
        return (position,)
    if size == 0:
        return ()
    if mode == "edge":
        return (min(max(position, 0), size - 1),)
    if mode == "wrap":
        return (position % size,)
    period = max(1, 2 * (size - 1))  # reflect: the border itself isn't repeated
    folded = position % period
    return (min(folded, period - folded) if size > 1 else 0,)


def _axis_map(axis: int, size: int, pair: tuple[int, int], mode: str) -> AxisMap:
    before, after = pair
    if (before, after) == (0, 0):
        return Same(axis)
    if mode == "constant" or (before <= 0 and after <= 0):
        return Slide(axis, pad=before)
    out = size + before + after
    return Lookup(axis, tuple(_source(o - before, size, mode) for o in range(out)))


def _window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    if "pads" not in call.attributes:
        return first_only(call, DataDependent())
    rows = zip(call.shape(0), call.attr("pads"), strict=True)
    maps = tuple(_axis_map(axis, size, pair, call.attr("mode")) for axis, (size, pair) in enumerate(rows))
    return first_only(call, Axes(maps))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    if "pads" not in call.attributes:
        return (None,)
    return (tuple(s + before + after for s, (before, after) in zip(call.shape(0), call.attr("pads"), strict=True)),)


# -- centre crop or pad ------------------------------------------------------------------------------------


def _center(call: Call) -> Call:
    """Too much is cropped and too little padded, half on each side: the odd one is dropped at the end
    when cropping (the start is rounded down) and added at the end when padding."""
    shape, target = call.shape(0), call.value(1)
    if target is None:
        return call.with_attributes({"mode": "constant"})
    axes = call.get("axes")
    axes = tuple(range(len(target))) if axes is None else tuple(axis_of(a, len(shape)) for a in axes)
    rows = []
    for axis, size in zip(axes, target, strict=True):
        extra = size - shape[axis]
        before = extra // 2 if extra >= 0 else -(-extra // 2)
        rows.append((axis, before, extra - before))
    return _padded(call, rows, "constant")


SPECS: tuple[OpSpec, ...] = (
    moving(
        "pad",
        _window,
        onnx("Pad", _from_onnx),
        microsoft("Pad", _from_onnx),
        onnx("CenterCropPad", _center),
        aten("constant_pad_nd", _from_aten("constant")),
        aten("pad _pad_enum", _from_aten(None)),
        aten("reflection_pad1d reflection_pad2d reflection_pad3d", _from_aten("reflect")),
        aten("replication_pad1d replication_pad2d replication_pad3d", _from_aten("edge")),
        aten("_pad_circular", _from_aten("wrap")),
        shapes=_shapes,
    ),
)
