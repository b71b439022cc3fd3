"""Sets of positions along one axis, and the maps from a unit's index to such a set.

:class:`Positions` is a set of integers: an interval, or an interval with holes held as bits. :class:`Window`
maps every integer index to a set and repeats: ``at(o + period) = at(o) + advance``. That holds for
convolution (period 1), for transposed convolution (period = stride), for resizing (one phase for each of the
scale's residues), for windows cut out of an axis, and it is closed under composition; so a receptive field
of any chain of them is exact for every unit, not only an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd

from cnnprof.ir.record import quick_init
from cnnprof.ops.window import Lookup, Slide, Spread

__all__ = [
    "EMPTY",
    "IDENTITY",
    "Positions",
    "Window",
    "compose",
    "fraction",
    "iter_bits",
    "lookup_window",
    "unite",
    "window_of",
]


@quick_init
@dataclass(frozen=True, slots=True)
class Positions:
    """The integers ``start + k`` for every k in [0, size) — or, if ``bits`` isn't 0, for its set bits.

    Normal form: the first and the last position belong to the set; ``bits`` is 0 when nothing is missing.
    """

    start: int
    size: int
    bits: int = 0

    @property
    def count(self) -> int:
        return self.bits.bit_count() if self.bits else self.size

    @property
    def stop(self) -> int:
        return self.start + self.size

    @property
    def mask(self) -> int:
        """The set as bits from ``start`` on, holes or not."""
        return self.bits or (1 << self.size) - 1

    def shifted(self, by: int) -> Positions:
        return Positions(self.start + by, self.size, self.bits) if by and self.size else self

    def __iter__(self) -> Iterator[int]:
        if not self.bits:
            return iter(range(self.start, self.stop))
        return (self.start + k for k in iter_bits(self.bits))

    @classmethod
    def of(cls, members: Iterable[int]) -> Positions:
        found = sorted(set(members))
        if not found:
            return EMPTY
        start, size = found[0], found[-1] - found[0] + 1
        if len(found) == size:
            return cls(start, size)
        bits = 0
        for member in found:
            bits |= 1 << (member - start)
        return cls(start, size, bits)

    @classmethod
    def from_mask(cls, mask: int, start: int = 0) -> Positions:
        """The set whose member k of ``mask`` stands for position ``start + k``."""
        if not mask:
            return EMPTY
        low = (mask & -mask).bit_length() - 1
        mask >>= low
        size = mask.bit_length()
        return cls(start + low, size, 0 if mask == (1 << size) - 1 else mask)


EMPTY = Positions(0, 0)
fraction = lru_cache(maxsize=4096)(Fraction)  # reducing takes longer than finding one made before
_ONE = Fraction(1)


def iter_bits(mask: int) -> Iterator[int]:
    """Indices of the set bits, rising."""
    text = bin(mask)[:1:-1]  # least significant first: linear, where clearing bit after bit is quadratic
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


def _united(first: Positions, second: Positions) -> Positions:
    if not first.size or (first.start == second.start and first.size == second.size and first.bits == second.bits):
        return second
    if not second.size:
        return first
    if second.start < first.start:
        first, second = second, first
    stop = max(first.stop, second.stop)
    if not first.bits:
        if second.stop <= first.stop:
            return first
        if not second.bits and second.start <= first.stop:
            return Positions(first.start, stop - first.start)
    return Positions.from_mask(first.mask | second.mask << (second.start - first.start), first.start)


def unite(sets: Iterable[Positions]) -> Positions:
    result = EMPTY
    for one in sets:
        result = _united(result, one)
    return result


@quick_init
@dataclass(frozen=True, slots=True)
class Window:
    """``at(o) = phases[o mod period] + (o div period) · advance``, for every integer o."""

    phases: tuple[Positions, ...]
    advance: int = 1

    @property
    def period(self) -> int:
        return len(self.phases)

    @property
    def ratio(self) -> Fraction:
        """Input positions per step of the unit: the effective stride."""
        return fraction(self.advance, len(self.phases))

    def at(self, index: int) -> Positions:
        turn, phase = divmod(index, len(self.phases))
        return self.phases[phase].shifted(turn * self.advance)

    def moved(self, by: int) -> Window:
        """The window as a function of ``o`` that reads what this one reads at ``o + by``."""
        if len(self.phases) == 1:
            return Window((self.phases[0].shifted(by * self.advance),), self.advance) if by else self
        return Window(tuple(self.at(phase + by) for phase in range(len(self.phases))), self.advance)

    def scaled(self, factor: int) -> Window:
        """The window as a function of ``o`` that reads what this one reads at ``factor · o``."""
        if factor == 1:
            return self
        period = len(self.phases) // gcd(len(self.phases), factor)
        advance = factor * period // len(self.phases) * self.advance
        return Window(tuple(self.at(factor * phase) for phase in range(period)), advance)

    def smeared(self, step: int, times: int) -> Window:
        """The union over v in [0, times) of what is read at ``o + step · v``."""
        reach = Window((Positions.of(step * v for v in range(times)),), 1)
        return compose(reach, self)

    def united(self, other: Window) -> Window:
        """Both at every index. Only for windows of the same ratio."""
        if len(self.phases) == len(other.phases) == 1:
            both = _united(self.phases[0], other.phases[0])
            if both is self.phases[0]:
                return self
            return other if both is other.phases[0] else Window((both,), self.advance)
        if self == other:
            return self
        period = len(self.phases) * len(other.phases) // gcd(len(self.phases), len(other.phases))
        advance = self.advance * (period // len(self.phases))
        return Window(tuple(_united(self.at(o), other.at(o)) for o in range(period)), advance)

    @property
    def step(self) -> tuple[int, int]:
        """The ratio in lowest terms, as plain integers."""
        if len(self.phases) == 1:
            return self.advance, 1
        common = gcd(self.advance, len(self.phases))
        return self.advance // common, len(self.phases) // common

    @property
    def middle(self) -> tuple[int, int]:
        """The centre in lowest terms, as plain integers."""
        if len(self.phases) == 1:
            phase = self.phases[0]
            double = 2 * phase.start + phase.size - 1
            return (double, 2) if double % 2 else (double // 2, 1)
        return self.centre.as_integer_ratio()

    @property
    def centre(self) -> Fraction:
        """Centre of unit 0's hull in input positions, averaged over the phases with the stride taken out."""
        period, count, doubled = len(self.phases), 0, 0
        for phase, p in enumerate(self.phases):  # in integers: sums of fractions reduce each term
            if p.size:
                count += 1
                doubled += (2 * p.start + p.size - 1) * period - 2 * phase * self.advance
        return Fraction(doubled, 2 * period * count) if count else Fraction(0)

    @property
    def size(self) -> int:
        """Length of the hull; the longest phase's."""
        if len(self.phases) == 1:
            return self.phases[0].size
        return max(phase.size for phase in self.phases)

    @property
    def density(self) -> Fraction:
        """Share of the hull's positions that are read, of the phase with most holes; 1 if nothing is."""
        if not self.has_holes:
            return _ONE
        least = most = 1
        for p in self.phases:
            if p.size and p.count * most < least * p.size:
                least, most = p.count, p.size
        return Fraction(least, most)

    @property
    def has_holes(self) -> bool:
        if len(self.phases) == 1:
            return self.phases[0].bits != 0
        return any(phase.bits for phase in self.phases)


IDENTITY = Window((Positions(0, 1),))


def _swept(outer: Positions, inner: Window) -> Positions:
    """Union of ``inner.at(o)`` over the members o of ``outer``."""
    if outer.size == 1:
        return inner.at(outer.start)
    if len(inner.phases) == 1:
        phase, advance = inner.phases[0], inner.advance
        if not outer.bits and not phase.bits and 0 <= advance <= phase.size:
            if not outer.size or not phase.size:
                return EMPTY
            return Positions(phase.start + outer.start * advance, phase.size + (outer.size - 1) * advance)
    return unite([inner.at(member) for member in outer])


def compose(outer: Window, inner: Window) -> Window:
    """What a unit reads through both: ``outer`` names the middle positions, ``inner`` what those read."""
    if inner is IDENTITY or outer is IDENTITY:
        return outer if inner is IDENTITY else inner
    if len(inner.phases) == len(outer.phases) == 1:
        return Window((_swept(outer.phases[0], inner),), outer.advance * inner.advance)
    repeat = len(inner.phases) // gcd(len(inner.phases), outer.advance)
    period = len(outer.phases) * repeat
    advance = outer.advance * repeat // len(inner.phases) * inner.advance
    return Window(tuple(_swept(outer.at(o), inner) for o in range(period)), advance)


def window_of(rule: Slide | Spread) -> Window:
    """The map of a convolution, pooling, slice, pad (Slide) or transposed convolution (Spread)."""
    if isinstance(rule, Slide):
        # Known by its numbers: a rule's own hash is Python, and takes longer than the rest.
        return _slide_window(rule.kernel, rule.stride, rule.dilation, rule.pad)
    return _spread_window(rule)


@lru_cache(maxsize=4096)
def _slide_window(kernel: int, stride: int, dilation: int, pad: int) -> Window:
    return Window((Positions.of(k * dilation - pad for k in range(kernel)),), stride)


@lru_cache(maxsize=4096)
def _spread_window(rule: Spread) -> Window:
    phases = []
    for o in range(rule.stride):
        reached = (o + rule.pad - k * rule.dilation for k in range(rule.kernel))
        phases.append(Positions.of(r // rule.stride for r in reached if r % rule.stride == 0))
    return Window(tuple(phases), 1)


def lookup_window(rule: Lookup, input_size: int) -> Window:
    """The map of a table, continued periodically from its middle, clear of what the borders clamp.

    Every scale of a resize repeats; a table that doesn't is one whole period.
    """
    return _table_window(rule.table, input_size)


@lru_cache(maxsize=512)
def _table_window(table: tuple[tuple[int, ...], ...], input_size: int) -> Window:
    rows = [Positions.of(row) for row in table]
    count = len(rows)
    margin = count // 4
    for period in range(1, count // 2 + 1):
        low, high = margin, count - margin - period
        if high <= low:
            break
        first, later = rows[low], rows[low + period]
        if not first.size or not later.size:
            continue
        advance = later.start - first.start
        if all(rows[o + period] == rows[o].shifted(advance) for o in range(low, high)):
            phases = [EMPTY] * period
            for o in range(low, low + period):
                phases[o % period] = rows[o].shifted(-(o // period) * advance)
            return Window(tuple(phases), advance)
    return Window(tuple(rows), input_size) if rows else Window((EMPTY,), 1)
