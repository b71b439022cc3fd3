"""Exact sets of index tuples of a tensor, axes taken jointly.

A region of rank r is a tuple of ``(bits, rest)`` pairs: every index of the first axis in ``bits`` goes with
the region ``rest`` of the other axes (``()`` after the last axis). The bits of the pairs are disjoint, no two
pairs have the same rest, and pairs are sorted, so equal sets are equal objects. A product of sets is one pair
per axis; a cross or a plus is a few. The empty region is ``()``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from cnnprof.analyses.receptive_field.sets import iter_bits
from cnnprof.analyses.receptive_field.strand import groups_of
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import All, Axes, AxisMap, Fixed, Lookup, Relation, Reshape, Same, Slide

__all__ = ["Region", "box", "boxes", "count", "full", "preimage", "project", "unite"]

Region = tuple[tuple[int, Any], ...]


def box(sets: Sequence[int]) -> Region:
    """The product of one bit set per axis; empty if any of them is."""
    region: Region = ()
    for bits in reversed(sets):
        if not bits:
            return ()
        region = ((bits, region),)
    return region


def full(shape: Shape) -> Region:
    """Everything; a scalar counts as one axis of one element."""
    return box([(1 << size) - 1 for size in shape or (1,)])


def boxes(region: Region, rank: int) -> Iterator[tuple[int, ...]]:
    """Disjoint products of bit sets whose union is the region."""
    if rank == 0:
        yield ()
        return
    for bits, rest in region:
        for tail in boxes(rest, rank - 1):
            yield (bits, *tail)


def unite(first: Region, second: Region) -> Region:
    if not first or first == second:
        return second
    if not second:
        return first
    if not first[0][1] and not second[0][1]:
        return ((first[0][0] | second[0][0], ()),)
    parts: dict[Region, int] = {}
    left = 0
    for bits, rest in first:
        left |= bits
        alone = bits
        for other_bits, other_rest in second:
            common = alone & other_bits
            if common:
                alone ^= common
                both = unite(rest, other_rest)
                parts[both] = parts.get(both, 0) | common
        if alone:
            parts[rest] = parts.get(rest, 0) | alone
    for bits, rest in second:
        alone = bits & ~left
        if alone:
            parts[rest] = parts.get(rest, 0) | alone
    return _canonical(parts)


def _canonical(parts: dict[Region, int]) -> Region:
    return tuple(sorted(((bits, rest) for rest, bits in parts.items()), key=lambda pair: pair[0]))


def _united(regions: Iterable[Region]) -> Region:
    result: Region = ()
    for region in regions:
        result = unite(result, region)
    return result


def count(region: Region, rank: int) -> int:
    return sum(prod(bits.bit_count() for bits in one) for one in boxes(region, rank))


def project(region: Region, rank: int, axes: Sequence[int]) -> Region:
    """The region's shadow on some of its axes, in the given order."""
    return _united(box([one[axis] for axis in axes]) for one in boxes(region, rank))


# -- pull-backs -------------------------------------------------------------------------------------------


def preimage(region: Region, relation: Relation, input_shape: Shape, output_shape: Shape) -> Region:
    """What of an input of ``input_shape`` the output's ``region`` reads. Indices outside it drop out."""
    if not region:
        return ()
    if not input_shape or not output_shape:  # a scalar is held as one axis of one element
        return full(input_shape)
    rank = len(output_shape)
    if isinstance(relation, Axes):
        return _united(found for one in boxes(region, rank) for found in _through_axes(one, relation.maps, input_shape))
    if isinstance(relation, Reshape):
        return _united(_through_reshape(one, input_shape, output_shape) for one in boxes(region, rank))
    return full(input_shape)


def _through_axes(one: tuple[int, ...], maps: tuple[AxisMap, ...], shape: Shape) -> Iterator[Region]:
    followed = [rule.axis for rule in maps if not isinstance(rule, (All, Fixed))]
    twice = {axis for axis in followed if followed.count(axis) > 1}
    if not twice:
        yield box([_read(rule, one, size) for rule, size in zip(maps, shape, strict=True)])
        return
    # A diagonal: two input axes follow one output axis, index by index.
    order = sorted(twice)
    for picks in product(*(list(iter_bits(one[axis])) for axis in order)):
        single = list(one)
        for axis, pick in zip(order, picks, strict=True):
            single[axis] = 1 << pick
        yield box([_read(rule, tuple(single), size) for rule, size in zip(maps, shape, strict=True)])


def _read(rule: AxisMap, one: tuple[int, ...], size: int) -> int:
    if isinstance(rule, Same):
        return one[rule.axis] & ((1 << size) - 1)
    if isinstance(rule, All):
        return (1 << size) - 1
    if isinstance(rule, Fixed):
        return 1 << rule.index if 0 <= rule.index < size else 0
    return _moved(rule, one[rule.axis], size)


@lru_cache(maxsize=8192)
def _moved(rule: AxisMap, bits: int, size: int) -> int:
    found = 0
    if isinstance(rule, Slide):
        if rule.stride == 1:
            taps = [k * rule.dilation - rule.pad for k in range(rule.kernel)]
            for tap in taps:
                found |= bits << tap if tap >= 0 else bits >> -tap
            return found & ((1 << size) - 1)
        reached: Iterable[int] = (
            o * rule.stride - rule.pad + k * rule.dilation for o in iter_bits(bits) for k in range(rule.kernel)
        )
    elif isinstance(rule, Lookup):
        reached = (i for o in iter_bits(bits) if o < len(rule.table) for i in rule.table[o])
    else:
        sums = (o + rule.pad - k * rule.dilation for o in iter_bits(bits) for k in range(rule.kernel))  # type: ignore[union-attr]
        stride = rule.stride  # type: ignore[union-attr]
        reached = (s // stride for s in sums if s % stride == 0)
    for index in reached:
        if 0 <= index < size:
            found |= 1 << index
    return found


def _through_reshape(one: tuple[int, ...], before: Shape, after: Shape) -> Region:
    tail: Region = ()
    for left, right in reversed(groups_of(before, after)):
        part = _regrouped(
            tuple(one[axis] for axis in right), tuple(after[a] for a in right), tuple(before[a] for a in left)
        )
        if not part:
            if not left:
                continue
            return ()
        tail = _grafted(part, tail) if tail else part
    return tail


def _grafted(region: Region, tail: Region) -> Region:
    return tuple((bits, _grafted(rest, tail) if rest else tail) for bits, rest in region)


@lru_cache(maxsize=1024)
def _regrouped(sets: tuple[int, ...], sizes: Shape, wanted: Shape) -> Region:
    """One group of axes, flattened and split again."""
    if len(wanted) == 1 and len(sets) == 1:
        return ((sets[0], ()),)
    if all(bits == (1 << size) - 1 for bits, size in zip(sets, sizes, strict=True)):
        return full(wanted)
    flat, span = 1, 1
    for bits, size in zip(reversed(sets), reversed(sizes), strict=True):
        row, flat = flat, 0
        for index in iter_bits(bits):
            flat |= row << (index * span)
        span *= size
    text = f"{flat:b}".zfill(span)
    return _cut(text, wanted, {})


def _cut(text: str, sizes: Shape, known: dict[tuple[str, int], Region]) -> Region:
    """``text`` holds the flat bits, the first element last."""
    if "1" not in text:
        return ()
    if len(sizes) == 1:
        return ((int(text, 2), ()),)
    key = (text, len(sizes))
    if key in known:
        return known[key]
    step = len(text) // sizes[0]
    parts: dict[Region, int] = {}
    for index in range(sizes[0]):
        stop = len(text) - index * step
        rest = _cut(text[stop - step : stop], sizes[1:], known)
        if rest:
            parts[rest] = parts.get(rest, 0) | 1 << index
    known[key] = _canonical(parts)
    return known[key]
