"""How one tensor's data changes when another with the same memory is written.

Kind ``refresh`` (inputs: the tensor as it was, the tensor that was written): no op that runs, only the edge that
SSA form needs where memory is shared. ``start`` and ``step`` per axis place the written part in the tensor;
``window`` "all" means every element is new ("inside": the tensor is a part of what was written).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cnnprof.frontends.torch.storage import Geometry

__all__ = ["refresh_attributes"]


def refresh_attributes(tensor: Geometry, written: Geometry) -> Mapping[str, Any] | None:
    """Where ``written`` lies in ``tensor``: None if they don't overlap for sure; ``mode`` is "same",
    "reshape", "slice" (written is a part), "inside" (tensor is a part), or "overlap" if it isn't simple."""
    if _disjoint(tensor, written):
        return None
    if tensor == written:
        return {"mode": "same"}
    count, other = math.prod(tensor.shape), math.prod(written.shape)
    if count == other and tensor.offset == written.offset and _dense(tensor) and _dense(written):
        return {"mode": "reshape"}
    for mode, outer, inner in (("slice", tensor, written), ("inside", written, tensor)):
        place = _place(outer, inner)
        if place is not None:
            return {"mode": mode, "start": place[0], "step": place[1]}
    return {"mode": "overlap"}


def _span(geometry: Geometry) -> tuple[int, int]:
    last = sum((n - 1) * s for n, s in zip(geometry.shape, geometry.stride, strict=True))
    return geometry.offset, geometry.offset + last


def _disjoint(a: Geometry, b: Geometry) -> bool:
    if not math.prod(a.shape) or not math.prod(b.shape):
        return True
    (a_low, a_high), (b_low, b_high) = _span(a), _span(b)
    if a_high < b_low or b_high < a_low:
        return True
    # Slices of one dense tensor along an axis interleave in memory without meeting.
    if a.stride != b.stride or len(a.shape) != len(b.shape):
        return False
    if min(a.stride, default=1) <= 0:
        return False
    rows = sorted(zip(a.stride, a.shape, b.shape, strict=True), reverse=True)
    return not _meet(b.offset - a.offset, rows)


def _meet(difference: int, axes: list[tuple[int, int, int]]) -> bool:
    """True if some index of a and some index of b, axis by axis, lie ``difference`` elements apart. Rows of
    ``axes`` are (stride, size in a, size in b), largest stride first."""
    if not axes:
        return difference == 0
    (stride, size_a, size_b), *inner = axes
    least = -sum(s * (n_b - 1) for s, _, n_b in inner)
    most = sum(s * (n_a - 1) for s, n_a, _ in inner)
    # stride·d + what the inner axes add = difference, with d the index in a less the index in b.
    first = max(-(-(difference - most) // stride), 1 - size_b)
    last = min((difference - least) // stride, size_a - 1)
    return any(_meet(difference - stride * d, inner) for d in range(first, last + 1))


def _dense(geometry: Geometry) -> bool:
    expected = 1
    for size, stride in zip(reversed(geometry.shape), reversed(geometry.stride), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _place(outer: Geometry, inner: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Start and step of ``inner`` on each axis of ``outer`` if it is a plain slice of the same rank."""
    if len(outer.shape) != len(inner.shape):
        return None
    rest = inner.offset - outer.offset
    if rest < 0:
        return None
    start = [0] * len(outer.shape)
    step = [1] * len(outer.shape)
    for axis in sorted(range(len(outer.shape)), key=lambda a: outer.stride[a], reverse=True):
        stride = outer.stride[axis]
        if stride <= 0:
            return None
        if inner.shape[axis] > 1 and inner.stride[axis] % stride:
            return None
        step[axis] = inner.stride[axis] // stride if inner.shape[axis] > 1 else 1
        start[axis], rest = (rest // stride, rest % stride) if outer.shape[axis] > 1 else (0, rest)
        if step[axis] < 1 or start[axis] + (inner.shape[axis] - 1) * step[axis] >= outer.shape[axis]:
            return None
    return None if rest else (tuple(start), tuple(step))
