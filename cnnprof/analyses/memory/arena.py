"""The planned memory: every activation gets a fixed offset in one arena before anything runs.

Two planners: *time order*, a best-fit free list as run-time planners keep it (the smallest gap that is
large enough, neighbours merged when freed), and *by size*, after Pisarchyk & Lee, "Efficient memory
management for deep neural net inference" (2020): largest first, each in the smallest gap among those already
placed that live at the same time. The smaller result counts. No arena can be below the most that is alive at
once; that lower bound stands beside it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cnnprof.analyses.memory.liveness import Lifetime, Liveness

__all__ = ["Arena", "Placement", "lower_bound", "plan_arena"]

# By-size planning compares each storage with all placed before it: quadratic, so only up to this many.
_BY_SIZE_LIMIT = 3000


@dataclass(frozen=True, slots=True)
class Placement:
    """``storage`` (index in the schedule) stands at ``offset`` bytes for its whole life."""

    storage: int
    offset: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Arena:
    """``nbytes``: size of the arena; ``lower_bound_bytes``: the most alive at once, which no plan can
    beat.
    """

    nbytes: int
    lower_bound_bytes: int
    alignment_bytes: int
    method: str
    placements: tuple[Placement, ...]

    @property
    def overhead(self) -> float:
        """Arena over lower bound, minus one: 0.0 is optimal."""
        return self.nbytes / self.lower_bound_bytes - 1 if self.lower_bound_bytes else 0.0


def plan_arena(live: Liveness, *, alignment_bytes: int = 64) -> Arena:
    """Place everything that isn't resident. Offsets and sizes are multiples of ``alignment_bytes``."""
    last = len(live.live_bytes) - 1
    items = [
        Lifetime(
            life.storage,
            life.start,
            min(life.end, last),
            -(-life.nbytes // alignment_bytes) * alignment_bytes,
        )
        for life in live.lifetimes
        if life.nbytes
    ]
    bound = lower_bound(items)
    method, offsets = "best fit in time order", _time_order(items)
    if _top(items, offsets) > bound and len(items) <= _BY_SIZE_LIMIT:
        other = _by_size(items)
        if _top(items, other) < _top(items, offsets):
            method, offsets = "best fit by size", other
    return Arena(
        nbytes=_top(items, offsets),
        lower_bound_bytes=bound,
        alignment_bytes=alignment_bytes,
        method=method,
        placements=tuple(
            Placement(item.storage, offset, item.nbytes) for item, offset in zip(items, offsets, strict=True)
        ),
    )


def lower_bound(items: Iterable[Lifetime]) -> int:
    """The most bytes alive at once."""
    change: dict[int, int] = {}
    for item in items:
        change[item.start] = change.get(item.start, 0) + item.nbytes
        change[item.end + 1] = change.get(item.end + 1, 0) - item.nbytes
    level = peak = 0
    for step in sorted(change):
        level += change[step]
        peak = max(peak, level)
    return peak


def _top(items: Sequence[Lifetime], offsets: Sequence[int]) -> int:
    return max((o + i.nbytes for i, o in zip(items, offsets, strict=True)), default=0)


class _FreeList:
    """Gaps below the arena's top, findable by size and by either end."""

    def __init__(self) -> None:
        self.top = 0
        self._by_size: list[tuple[int, int]] = []  # (size, offset), sorted
        self._size_at: dict[int, int] = {}  # offset -> size
        self._start_of: dict[int, int] = {}  # end -> offset

    def take(self, nbytes: int) -> int:
        at = bisect_left(self._by_size, (nbytes, 0))
        if at < len(self._by_size):
            size, offset = self._by_size[at]
            self._remove(offset)
            if size > nbytes:
                self._add(offset + nbytes, size - nbytes)
            return offset
        # Nothing fits: a gap at the top grows, else the arena does.
        last = self._start_of.get(self.top)
        offset = self.top if last is None else last
        if last is not None:
            self._remove(last)
        self.top = offset + nbytes
        return offset

    def give(self, offset: int, nbytes: int) -> None:
        below = self._start_of.get(offset)
        if below is not None:
            nbytes += self._remove(below)
            offset = below
        if offset + nbytes in self._size_at:
            nbytes += self._remove(offset + nbytes)
        self._add(offset, nbytes)

    def _add(self, offset: int, size: int) -> None:
        insort(self._by_size, (size, offset))
        self._size_at[offset] = size
        self._start_of[offset + size] = offset

    def _remove(self, offset: int) -> int:
        size = self._size_at.pop(offset)
        del self._start_of[offset + size]
        del self._by_size[bisect_left(self._by_size, (size, offset))]
        return size


def _time_order(items: Sequence[Lifetime]) -> list[int]:
    free = _FreeList()
    offsets = [0] * len(items)
    dying: dict[int, list[int]] = {}
    births = sorted(range(len(items)), key=lambda i: (items[i].start, -items[i].nbytes))
    ends: list[int] = sorted({item.end for item in items})
    done = 0
    for i in births:
        item = items[i]
        while done < len(ends) and ends[done] < item.start:
            for gone in dying.pop(ends[done], ()):
                free.give(offsets[gone], items[gone].nbytes)
            done += 1
        offsets[i] = free.take(item.nbytes)
        dying.setdefault(item.end, []).append(i)
    return offsets


def _by_size(items: Sequence[Lifetime]) -> list[int]:
    offsets = [0] * len(items)
    placed: list[tuple[int, int, int, int]] = []  # (offset, end offset, start, end), sorted by offset
    for i in sorted(range(len(items)), key=lambda i: (-items[i].nbytes, items[i].start)):
        item = items[i]
        best, best_gap, cursor = -1, -1, 0
        for low, high, start, end in placed:
            if start > item.end or end < item.start:
                continue
            gap = low - cursor
            if gap >= item.nbytes and (best < 0 or gap < best_gap):
                best, best_gap = cursor, gap
            cursor = max(cursor, high)
        offsets[i] = cursor if best < 0 else best
        insort(placed, (offsets[i], offsets[i] + item.nbytes, item.start, item.end))
    return offsets
