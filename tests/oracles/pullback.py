"""Window relations evaluated by their definitions, one output position at a time."""

from __future__ import annotations

import itertools
import math
from typing import Any

from cnnprof.ops.window import All, Axes, Chain, Fixed, Lookup, Reshape, Same, Slide, Spread


def axis_positions(m: Any, out: tuple[int, ...], size: int) -> list[int]:
    """The definition of every axis map, for one output position."""
    if isinstance(m, All):
        return list(range(size))
    if isinstance(m, Fixed):
        return [m.index]
    o = out[m.axis]
    if isinstance(m, Same):
        found = [o]
    elif isinstance(m, Slide):
        found = [o * m.stride - m.pad + k * m.dilation for k in range(m.kernel)]
    elif isinstance(m, Lookup):
        found = list(m.table[o])
    else:
        assert isinstance(m, Spread)
        found = [i for i in range(size) if o in [i * m.stride - m.pad + k * m.dilation for k in range(m.kernel)]]
    return [i for i in found if 0 <= i < size]


def unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        flat, i = divmod(flat, size)
        index.append(i)
    return tuple(reversed(index))


def ravel(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    flat = 0
    for i, size in zip(index, shape, strict=True):
        flat = flat * size + i
    return flat


def pull(relation: Any, outs: set[tuple[int, ...]], shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Input positions (of an input of ``shape``) that reach the output positions."""
    if isinstance(relation, Chain):
        for step, following in itertools.zip_longest(relation.steps, relation.steps[1:]):
            into = following.output_shape if isinstance(following, Reshape) else shape
            outs = pull(step, outs, into)
        return outs
    if isinstance(relation, Reshape):
        assert math.prod(relation.input_shape) == math.prod(relation.output_shape)
        return {unravel(ravel(o, relation.output_shape), relation.input_shape) for o in outs}
    assert isinstance(relation, Axes), relation
    assert len(relation.maps) == len(shape)
    found: set[tuple[int, ...]] = set()
    for o in outs:
        rows = (axis_positions(m, o, size) for m, size in zip(relation.maps, shape, strict=True))
        found.update(itertools.product(*rows))
    return found
