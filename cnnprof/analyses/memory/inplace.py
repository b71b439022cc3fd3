"""Elementwise results that could overwrite their input: what that would save.

A candidate is an op that (1) reads and writes elementwise (its window rule says so), (2) makes one new
storage of exactly its input's size, (3) is the last to touch the input's storage, which (4) is neither
resident nor a graph output. In a training graph (3) also keeps what backward still needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cnnprof.analyses.memory.schedule import Schedule, Step
from cnnprof.ops.rules import pointwise_window
from cnnprof.ops.table import spec

__all__ = ["in_place", "in_place_candidates"]


def in_place_candidates(schedule: Schedule) -> tuple[tuple[int, int, int], ...]:
    """(step, storage overwritten, storage saved) of every op that could work in place."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for at, step in enumerate(schedule.steps):
        for storage in step.touches:
            first.setdefault(storage, at)
            last[storage] = at
    found = []
    for at, step in enumerate(schedule.steps):
        entry = spec(step.op.kind)
        if entry is None or entry.window is not pointwise_window or step.recomputed:
            continue
        records = schedule.storages
        new = [s for s in step.touches if first[s] == at and not records[s].resident]
        if len(new) != 1:
            continue
        old = [
            s
            for s in step.touches
            if last[s] == at
            and first[s] < at
            and records[s].nbytes == records[new[0]].nbytes
            and not (records[s].resident or records[s].to_end)
        ]
        if old:
            found.append((at, old[0], new[0]))
    return tuple(found)


def in_place(schedule: Schedule, candidates: Iterable[tuple[int, int, int]] | None = None) -> Schedule:
    """The schedule with every candidate (default: all there are) working in place, by last reader."""
    schedule = schedule.by_last_reader()
    candidates = in_place_candidates(schedule) if candidates is None else candidates
    root: dict[int, int] = {}
    records = list(schedule.storages)
    for _, old, new in candidates:
        target = root.get(old, old)
        root[new] = target
        if records[new].to_end:
            records[target] = replace(records[target], to_end=True)
    steps = tuple(
        Step(step.op, tuple(dict.fromkeys([root.get(s, s) for s in step.touches])), step.recomputed)
        for step in schedule.steps
    )
    return replace(schedule, storages=tuple(records), steps=steps)
