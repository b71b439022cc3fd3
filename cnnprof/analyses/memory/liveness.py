"""Who lives when: lifetimes of storages, the bytes alive at every step, the peak.

A storage that isn't resident lives from the first step that touches it to the last one (or to the
step at which the framework was seen to let go of it); graph outputs live to the end, residents throughout.
While a step runs, everything it reads and everything it makes is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from cnnprof.analyses.memory.schedule import Schedule
from cnnprof.ir.record import quick_init

__all__ = ["Lifetime", "Liveness", "bytes_in_any_order", "least_possible_peak", "liveness", "peak_at_sizes", "peak_of"]


@quick_init
@dataclass(frozen=True, slots=True)
class Lifetime:
    """Steps (both inclusive) during which a storage is alive; ``end`` >= the number of steps means: never
    freed.
    """

    storage: int
    start: int
    end: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Liveness:
    """``live_bytes[k]``: bytes alive while step k runs, residents included. ``lifetimes`` holds one entry
    per storage that is not resident and is touched at all, in order of birth."""

    resident_bytes: int
    live_bytes: tuple[int, ...]
    lifetimes: tuple[Lifetime, ...]

    @cached_property
    def peak_bytes(self) -> int:
        return max(self.live_bytes, default=self.resident_bytes)

    @cached_property
    def peak_step(self) -> int | None:
        """The first step at which the peak is reached; None for a graph without ops."""
        return self.live_bytes.index(self.peak_bytes) if self.live_bytes else None

    def alive_at(self, step: int) -> tuple[Lifetime, ...]:
        """The storages alive while ``step`` runs, residents apart."""
        return tuple(life for life in self.lifetimes if life.start <= step <= life.end)


def liveness(schedule: Schedule) -> Liveness:
    """Lifetimes and the bytes alive at each step; linear in steps and in uses."""
    live_bytes, spans = _sweep(schedule)
    storages = schedule.storages
    return Liveness(
        resident_bytes=schedule.resident_bytes,
        live_bytes=live_bytes,
        lifetimes=tuple(Lifetime(at, born, dies, storages[at].nbytes) for at, born, dies in spans),
    )


def peak_of(schedule: Schedule, order: Sequence[int] | None = None) -> int:
    """Only the peak of :func:`liveness`, in bytes; with ``order``, of the same steps in another order (what was
    observed of the framework then no longer holds)."""
    live_bytes, _ = _sweep(schedule, order)
    return max(live_bytes, default=schedule.resident_bytes)


def peak_at_sizes(schedule: Schedule, live: Liveness, sizes: Sequence[int]) -> int:
    """The peak of ``schedule``, whose lifetimes ``live`` holds, if storage number i took ``sizes[i]`` bytes."""
    count = len(schedule.steps)
    resident = sum(size for size, storage in zip(sizes, schedule.storages, strict=True) if storage.resident)
    change = [0] * (count + 1)
    for life in live.lifetimes:
        nbytes = sizes[life.storage]
        change[life.start] += nbytes
        if life.end + 1 < count:
            change[life.end + 1] -= nbytes
    change[0] += resident
    return max(accumulate(change[:count]), default=resident)


def least_possible_peak(schedule: Schedule) -> int:
    """Bytes that no order of the steps can go below: the residents, and what a single step touches."""
    sizes = [storage.nbytes for storage in schedule.storages]
    most = max([sum([sizes[at] for at in touches]) for touches in schedule.moving], default=0)
    return most + schedule.resident_bytes


def bytes_in_any_order(schedule: Schedule, at: int) -> int:
    """The least that is alive while step ``at`` runs, whatever the order of the steps: the residents, what it touches,
    and what a step that must run before it leaves for one that can't."""
    needed, made = set(schedule.steps[at].op.present_inputs), set(schedule.steps[at].op.present_outputs)
    before, after = {at}, {at}
    for index in range(at - 1, -1, -1):
        op = schedule.steps[index].op
        if not needed.isdisjoint(op.present_outputs):
            needed.update(op.present_inputs)
            before.add(index)
    for index in range(at + 1, len(schedule.steps)):
        op = schedule.steps[index].op
        if not made.isdisjoint(op.present_inputs):
            made.update(op.present_outputs)
            after.add(index)
    moving, storages = schedule.moving, schedule.storages
    left = {storage for index in before for storage in moving[index]}
    wanted = {storage for index in after for storage in moving[index]}
    return schedule.resident_bytes + sum(
        [storages[storage].nbytes for storage in left if storage in wanted or storages[storage].to_end]
    )


def _sweep(
    schedule: Schedule, order: Sequence[int] | None = None
) -> tuple[tuple[int, ...], list[tuple[int, int, int]]]:
    """Bytes alive at each step, and (storage, first step, last step) of everything that isn't resident."""
    moving, held = schedule.moving, schedule.held_until
    if order is not None:
        moving, held = tuple([moving[at] for at in order]), None
    count = len(moving)
    storages = schedule.storages
    start: dict[int, int] = {}
    end = [0] * len(storages)
    for at, touches in enumerate(moving):
        for storage in touches:
            if storage not in start:
                start[storage] = at
            end[storage] = at
    change = [0] * (count + 1)
    spans = []
    for storage, born in start.items():
        record = storages[storage]
        dies = end[storage]
        if held is not None:
            # Not stated = the framework held it to the end.
            seen = held[storage]
            dies = count if seen is None else max(dies, seen)
        if record.to_end:
            dies = count
        spans.append((storage, born, dies))
        change[born] += record.nbytes
        if dies + 1 < count:
            change[dies + 1] -= record.nbytes
    change[0] += schedule.resident_bytes
    return tuple(accumulate(change[:count])), spans
