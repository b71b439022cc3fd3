"""The peak under another execution order.

Finding the best topological order is NP-hard, so this is a heuristic: a few orders are built, each is
evaluated by :func:`~cnnprof.analyses.memory.liveness.liveness`, and the best one is given; the graph's own
order is among them, so the answer is never worse than that. The orders: *frugal* always runs the ready op
that adds least to what is alive; *depth first* finishes one branch before it starts the next, the branch
first whose peak exceeds its result by most (after Sethi & Ullman 1970, who prove it for trees).

An order keeps every op after the ops whose results it reads, and keeps writes in place where they stand
between the other uses of their storage.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from cnnprof.analyses.memory.liveness import peak_of
from cnnprof.analyses.memory.schedule import Schedule

__all__ = ["Reordering", "dependencies", "reorder"]


@dataclass(frozen=True, kw_only=True)
class Reordering:
    """``order[i]`` is the index, in the graph's own order, of the op to run as number i."""

    peak_bytes: int
    order: tuple[int, ...]
    method: str


def reorder(schedule: Schedule) -> Reordering:
    """The best order found (heuristic). Near-linear in ops."""
    schedule = schedule.by_last_reader()
    before = dependencies(schedule)
    own = tuple(range(len(schedule.steps)))
    candidates = {
        "graph order": own,
        "frugal": _frugal(schedule, before),
        "depth first": _depth_first(schedule, before),
    }
    peaks = {name: peak_of(schedule, order) for name, order in candidates.items()}
    method = min(peaks, key=lambda name: peaks[name])
    return Reordering(peak_bytes=peaks[method], order=candidates[method], method=method)


def dependencies(schedule: Schedule) -> tuple[tuple[int, ...], ...]:
    """For each step, the earlier steps that must stay before it."""
    maker: dict[str, int] = {}
    last_write: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    resident = [storage.resident for storage in schedule.storages]
    in_place = [step.op.writes_in_place for step in schedule.steps]
    # Residents matter only where one is written.
    touched: Sequence[tuple[int, ...]] = schedule.moving
    if any(written and len(touched[at]) < len(schedule.steps[at].touches) for at, written in enumerate(in_place)):
        touched = [step.touches for step in schedule.steps]
    result = []
    for at, step in enumerate(schedule.steps):
        needs = {maker[name] for name in step.op.present_inputs if name in maker}
        for storage in touched[at]:
            written = last_write.get(storage)
            if written is not None:
                needs.add(written)
            born = written is None and not resident[storage]
            if born or in_place[at]:
                # After everyone who still reads what stood there before.
                needs.update(readers.pop(storage, ()))
                last_write[storage] = at
            else:
                readers.setdefault(storage, []).append(at)
        needs.discard(at)
        maker.update(dict.fromkeys(step.op.present_outputs, at))
        result.append(tuple(sorted(needs)))
    return tuple(result)


def _followers(before: Sequence[tuple[int, ...]]) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in before]
    for at, needs in enumerate(before):
        for need in needs:
            after[need].append(at)
    return after


def _users(schedule: Schedule) -> list[list[int]]:
    """Steps that touch each storage; empty for residents, which no order can move."""
    users: list[list[int]] = [[] for _ in schedule.storages]
    for at, touches in enumerate(schedule.moving):
        for storage in touches:
            users[storage].append(at)
    return users


def _frugal(schedule: Schedule, before: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    storages, steps, moving = schedule.storages, schedule.steps, schedule.moving
    after = _followers(before)
    users = _users(schedule)
    left = [len(u) for u in users]
    left_sum = [sum(u) for u in users]  # when one user is left, this is its index
    # What a step adds to the live bytes: what it alone makes, less what it alone still needs.
    grows = [0] * len(steps)
    for storage, who in enumerate(users):
        if who:
            grows[who[0]] += storages[storage].nbytes
            if len(who) == 1 and not storages[storage].to_end:
                grows[who[0]] -= storages[storage].nbytes
    missing = [len(needs) for needs in before]
    done = [False] * len(steps)
    heap = [(grows[at], at) for at, count in enumerate(missing) if not count]
    heapq.heapify(heap)
    order: list[int] = []
    while heap:
        cost, at = heapq.heappop(heap)
        if done[at] or cost != grows[at]:
            continue  # an older entry: the op has run, or its cost has changed since
        done[at] = True
        order.append(at)
        for storage in moving[at]:
            left[storage] -= 1
            left_sum[storage] -= at
            if left[storage] == 1 and not storages[storage].to_end:
                last = left_sum[storage]
                grows[last] -= storages[storage].nbytes
                if not missing[last]:
                    heapq.heappush(heap, (grows[last], last))
        for follower in after[at]:
            missing[follower] -= 1
            if not missing[follower]:
                heapq.heappush(heap, (grows[follower], follower))
    return tuple(order)


def _depth_first(schedule: Schedule, before: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    storages, steps = schedule.storages, schedule.steps
    users = _users(schedule)
    made = [0] * len(steps)
    for storage, who in enumerate(users):
        if who:
            made[who[0]] += storages[storage].nbytes
    # Peak of computing each step from nothing, as if the graph below it were a tree.
    peak = [0] * len(steps)
    ranked: list[list[int]] = []
    for at, needs in enumerate(before):
        children = sorted(needs, key=lambda c: made[c] - peak[c])
        held = highest = 0
        for child in children:
            highest = max(highest, held + peak[child])
            held += made[child]
        peak[at] = max(highest, held + made[at])
        ranked.append(children)
    order: list[int] = []
    done = [False] * len(steps)
    after = _followers(before)
    sinks = sorted((at for at, follow in enumerate(after) if not follow), key=lambda at: made[at] - peak[at])
    for sink in sinks:
        stack = [(sink, 0)]
        while stack:
            at, child = stack.pop()
            if done[at]:
                continue
            if child < len(ranked[at]):
                stack.append((at, child + 1))
                if not done[ranked[at][child]]:
                    stack.append((ranked[at][child], 0))
            else:
                done[at] = True
                order.append(at)
    return tuple(order)
