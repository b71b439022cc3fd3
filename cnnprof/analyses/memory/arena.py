"""The planned memory: every activation gets a fixed offset in one arena before anything runs.

Several plans are made and the smallest counts. *Time order* is a best-fit free list as run-time planners
keep it: the smallest gap that is large enough, neighbours merged when freed. The others place one storage
after the other among those already placed that live at the same time: largest first (after Pisarchyk & Lee,
"Efficient memory management for deep neural net inference", 2020), longest-lived first, or largest bytes
times steps first, each into the smallest gap, or against the arena's walls (bottom, or the lower bound as
ceiling): the residuals of successive blocks then alternate between the two walls and leave the middle whole.

No arena can be below the most that is alive at once; that lower bound stands beside it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cnnprof.analyses.memory.liveness import Lifetime, Liveness
from cnnprof.ir.record import quick_init

__all__ = ["Arena", "Placement", "lower_bound", "plan_arena"]

# Placing one by one looks at every pair that lives at the same time. Training graphs, where much lives long, have
# many: for them it's fewer plans, and only until one is close to the bound.
_PAIRS_LIMIT = 500_000
_MANY_PAIRS = 60_000
_MANY_ITEMS = 20_000
_CLOSE = 1.04  # of the bound
_GOOD_ENOUGH = 1.002


@quick_init
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
    method, offsets = "time order", _time_order(items)
    top = _top(items, offsets)
    for name, plan, enough in _one_by_one(items, bound, top):
        reached = _top(items, plan)
        if reached < top:
            method, offsets, top = name, plan, reached
        if top <= bound * enough:
            break
    return Arena(
        nbytes=top,
        lower_bound_bytes=bound,
        alignment_bytes=alignment_bytes,
        method=method,
        placements=tuple(
            [Placement(item.storage, offset, item.nbytes) for item, offset in zip(items, offsets, strict=True)]
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
    return max([o + i.nbytes for i, o in zip(items, offsets, strict=True)], default=0)


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


def _one_by_one(items: Sequence[Lifetime], bound: int, reached: int) -> Iterator[tuple[str, list[int], float]]:
    """(name, plan, multiple of the bound that is good enough to stop), each made when it's asked for; none if the
    arena ``reached`` so far is good enough."""
    if reached <= bound:
        return
    together, pairs = _together(items)
    many = pairs > _MANY_PAIRS
    if pairs > _PAIRS_LIMIT or (many and reached <= _CLOSE * bound):
        return
    keys = {
        "largest first": lambda i: (-items[i].nbytes, items[i].start),
        "longest-lived first": lambda i: (items[i].start - items[i].end, -items[i].nbytes),
        "largest bytes times steps first": lambda i: (
            -items[i].nbytes * (items[i].end - items[i].start + 1),
            items[i].start,
        ),
    }
    enough = _CLOSE if many else _GOOD_ENOUGH
    for walls in (False,) if many else (False, True):
        for name, key in keys.items():
            order = sorted(range(len(items)), key=key)
            where = "along the walls" if walls else "smallest gap"
            yield f"{name}, {where}", _place(items, order, together, bound, walls=walls), enough
            if len(items) > _MANY_ITEMS:
                return


def _together(items: Sequence[Lifetime]) -> tuple[list[list[int]], int]:
    """For each item those that live at the same time, and the number of pairs (cut short at the limit)."""
    found: list[list[int]] = [[] for _ in items]
    alive: list[int] = []
    pairs = 0
    starts, ends = [item.start for item in items], [item.end for item in items]
    for i in sorted(range(len(items)), key=starts.__getitem__):
        start = starts[i]
        alive = [j for j in alive if ends[j] >= start]
        pairs += len(alive)
        if pairs > _PAIRS_LIMIT:
            break
        found[i] += alive
        for j in alive:
            found[j].append(i)
        alive.append(i)
    return found, pairs


def _place(
    items: Sequence[Lifetime],
    order: Sequence[int],
    together: Sequence[Sequence[int]],
    ceiling: int,
    *,
    walls: bool,
) -> list[int]:
    offsets = [-1] * len(items)
    placed: list[tuple[int, int] | None] = [None] * len(items)
    for i in order:
        nbytes = items[i].nbytes
        taken = sorted(filter(None, map(placed.__getitem__, together[i])))
        taken.append((ceiling, ceiling))
        best: tuple[bool, int] | None = None
        cursor = chosen = 0
        for low, high in taken:
            if low - cursor >= nbytes:
                at_wall = cursor == 0 or low == ceiling
                rank = (walls and not at_wall, low - cursor)
                if best is None or rank < best:
                    best = rank
                    # In a gap under the ceiling that starts at somebody else's end: hang from the ceiling.
                    chosen = low - nbytes if walls and low == ceiling and cursor else cursor
            cursor = high if high > cursor else cursor  # noqa: FURB136  (max() takes three times as long)
        offset = offsets[i] = _above(taken[:-1], nbytes) if best is None else chosen
        placed[i] = (offset, offset + nbytes)
    return offsets


def _above(taken: Sequence[tuple[int, int]], nbytes: int) -> int:
    """The lowest place when nothing fits under the ceiling."""
    cursor = 0
    for low, high in taken:
        if low - cursor >= nbytes:
            return cursor
        cursor = max(cursor, high)
    return cursor
