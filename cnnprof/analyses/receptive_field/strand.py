"""Strands: how one axis of a graph input is read along one kind of path, followed from the input on.

A strand says that a unit of a tensor reads the positions ``window.at(L)`` where L is a sum of *digits* of
the unit's index: ``weight · ((index[axis] // place) % radix)``. Nearly always that is one digit, the whole
index of one axis. Reshapes split and merge axes, so a window partition makes two digits of one axis (which
window, and where in it), and flattening makes one axis carry the digits of two.

Legal cases, exact: any axis map on a whole-axis digit; Same, Fixed and All on any digit; a slide of one phase
on an axis that holds one of several whole-axis digits; a reshape whose axis boundaries divide the digits'.
Everything else is answered by None: the caller says "everything" and marks the answer as conservative.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import lcm, prod
from typing import NamedTuple

from cnnprof.analyses.receptive_field.sets import (
    IDENTITY,
    Positions,
    Window,
    compose,
    lookup_window,
    window_of,
)
from cnnprof.ir.record import quick_init
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import All, AxisMap, Fixed, Lookup, Reshape, Same, Slide, Spread

__all__ = ["GLOBAL", "Digit", "Strand", "groups_of", "pull_axes", "pull_reshape", "source_strand"]


class Digit(NamedTuple):  # joins find strands by theirs: a tuple's hash is no Python
    """``weight · ((index[axis] // place) % radix)``; radix 0 leaves the top open (no modulus)."""

    axis: int
    place: int = 1
    radix: int = 0
    weight: int = 1


@quick_init
@dataclass(frozen=True, slots=True)
class Strand:
    """``digits`` is sorted; without digits every unit reads the constant ``window.at(0)``."""

    digits: tuple[Digit, ...]
    window: Window
    exact: bool = True

    def at(self, index: Shape) -> Positions:
        """What the unit at ``index`` of the tensor reads."""
        total = 0
        for digit in self.digits:
            value = index[digit.axis] // digit.place
            total += digit.weight * (value % digit.radix if digit.radix else value)
        return self.window.at(total)

    def whole(self, size_of: Shape) -> bool:
        """True if the strand follows exactly one axis, as a whole."""
        if len(self.digits) != 1:
            return False
        digit = self.digits[0]
        return digit.place == 1 and (not digit.radix or digit.radix >= size_of[digit.axis])


class _Global:
    """The path reads the whole axis: marker, not a strand."""


GLOBAL = _Global()
Pulled = Strand | _Global | None


@lru_cache(maxsize=64)
def source_strand(axis: int) -> Strand:
    return Strand(_whole_axis(axis), IDENTITY)


@lru_cache(maxsize=64)
def _whole_axis(axis: int) -> tuple[Digit, ...]:
    return (Digit(axis),)


def _normal(digits: list[Digit], window: Window, exact: bool) -> Strand:
    """Merge digits that continue each other and fold a lone weight into the window."""
    digits.sort(key=lambda d: (d.axis, d.place))
    merged: list[Digit] = []
    for digit in digits:
        below = merged[-1] if merged else None
        if (
            below is not None
            and below.radix
            and below.axis == digit.axis
            and digit.place == below.place * below.radix
            and digit.weight == below.weight * below.radix
        ):
            merged[-1] = below._replace(radix=below.radix * digit.radix)
        else:
            merged.append(digit)
    if len(merged) == 1 and merged[0].weight != 1:
        window, merged = window.scaled(merged[0].weight), [merged[0]._replace(weight=1)]
    return Strand(tuple(merged), window, exact)


def _folded(strand: Strand, shape: Shape) -> Strand | None:
    """The strand with all its digits, if they stand on one axis, taken into the window."""
    axes = {digit.axis for digit in strand.digits}
    if len(axes) != 1:
        return None
    period = 1
    advance = 0
    for digit in strand.digits:
        period = lcm(period, digit.place * (digit.radix or 1))
    for digit in strand.digits:
        if not digit.radix:
            advance += digit.weight * (period // digit.place)
    axis = axes.pop()
    if period > max(shape[axis], 1):
        period, advance = max(shape[axis], 1), 0
    totals = []
    for index in range(period):
        total = 0
        for digit in strand.digits:
            value = index // digit.place
            total += digit.weight * (value % digit.radix if digit.radix else value)
        totals.append(Positions(total, 1))
    return Strand((Digit(axis),), compose(Window(tuple(totals), advance), strand.window), strand.exact)


def _one_to_one(rule: AxisMap) -> bool:
    return isinstance(rule, Slide) and rule.kernel == 1 and rule.stride == 1 and rule.pad == 0


def _window(rule: Slide | Spread | Lookup, size: int) -> Window:
    return lookup_window(rule, size) if isinstance(rule, Lookup) else window_of(rule)


def pull_axes(strand: Strand, maps: tuple[AxisMap, ...], shape: Shape) -> Pulled:
    """The strand as the operator's output has it; ``shape`` is its input's. None: not expressible."""
    digits = strand.digits
    if len(digits) == 1 and digits[0].place == 1:
        digit = digits[0]
        rule = maps[digit.axis]
        if isinstance(rule, Same) or (isinstance(rule, Slide) and not digit.radix and _one_to_one(rule)):
            return strand if rule.axis == digit.axis else replace(strand, digits=(digit._replace(axis=rule.axis),))
        if isinstance(rule, (Slide, Spread, Lookup)) and strand.whole(shape):
            window = compose(_window(rule, shape[digit.axis]), strand.window)
            return Strand(_whole_axis(rule.axis), window, strand.exact)
    if digits and all(isinstance(maps[digit.axis], All) for digit in digits):
        return GLOBAL
    if any([isinstance(rule := maps[d.axis], (Slide, Spread, Lookup)) and not _one_to_one(rule) for d in digits]):  # noqa: C419  (short; a list is quicker)
        folded = _folded(strand, shape)
        if folded is not None and folded != strand:
            return pull_axes(folded, maps, shape)
    return _pull_digits(strand, maps, shape)


def _pull_digits(strand: Strand, maps: tuple[AxisMap, ...], shape: Shape) -> Pulled:
    window, exact = strand.window, strand.exact
    kept: list[Digit] = []
    for digit in strand.digits:
        rule = maps[digit.axis]
        radix = digit.radix or -(-shape[digit.axis] // digit.place)
        if isinstance(rule, Fixed):
            value = rule.index // digit.place
            window = window.moved(digit.weight * (value % digit.radix if digit.radix else value))
        elif isinstance(rule, All):
            window = window.smeared(digit.weight, radix)
        elif isinstance(rule, Same) or _one_to_one(rule):
            kept.append(digit._replace(axis=rule.axis))
        elif digit.place == 1 and radix >= shape[digit.axis]:
            step = _window(rule, shape[digit.axis])
            if step.period != 1:
                return None
            taps = step.phases[0]
            reach = Window((Positions.of(digit.weight * tap for tap in taps),), 1)
            window = compose(reach, window)
            kept.append(digit._replace(axis=rule.axis, weight=digit.weight * step.advance))
            exact = exact and not digit.radix  # a window's own border isn't seen by the algebra
        else:
            return None
    return _normal(kept, window, exact)


@lru_cache(maxsize=1024)
def groups_of(before: Shape, after: Shape) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Runs of axes on both sides with equal products, as short as possible."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [], []
        product_left = product_right = 1
        if i < len(before):
            left.append(i)
            product_left = before[i]
            i += 1
        if j < len(after):
            right.append(j)
            product_right = after[j]
            j += 1
        while product_left != product_right:
            if product_left < product_right and i < len(before):
                left.append(i)
                product_left *= before[i]
                i += 1
            elif j < len(after):
                right.append(j)
                product_right *= after[j]
                j += 1
            else:
                return ((tuple(range(len(before))), tuple(range(len(after)))),)
        groups.append((tuple(left), tuple(right)))
    return tuple(groups)


def pull_reshape(strand: Strand, rule: Reshape) -> Pulled:
    """The strand after a row-major reshape; None if an axis boundary cuts a digit unevenly."""
    before, after = rule.input_shape, rule.output_shape
    group_of = {axis: group for group in groups_of(before, after) for axis in group[0]}
    digits: list[Digit] = []
    for digit in strand.digits:
        left, right = group_of[digit.axis]
        if len(left) == len(right) == 1:
            digits.append(digit._replace(axis=right[0]))
            continue
        parts = _split(digit, left, right, before, after)
        if parts is None:
            return None
        digits += parts
    return _normal(digits, strand.window, strand.exact)


def _split(
    digit: Digit, left: tuple[int, ...], right: tuple[int, ...], before: Shape, after: Shape
) -> list[Digit] | None:
    stride = prod(before[axis] for axis in left if axis > digit.axis)
    size = before[digit.axis]
    radix = digit.radix or -(-size // digit.place)
    low, high = stride * digit.place, stride * digit.place * radix
    parts: list[Digit] = []
    below = 1
    for axis in reversed(right):
        start, stop = max(low, below), min(high, below * after[axis])
        if start < stop:
            if start % below or start % low or stop % start:
                return None
            top = not digit.radix and stop == high and stop == below * after[axis]
            part = 0 if top else stop // start
            parts.append(Digit(axis, start // below, part, digit.weight * (start // low)))
        below *= after[axis]
    return parts
