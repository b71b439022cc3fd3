"""Runs things in turn and keeps their samples: warm-up until steady, interleaved visits, an anchor before and after.

Ctrl-C keeps what was measured: the session ends, says that it was interrupted, and its samples are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cnnprof.measure.clock import Clock, MachineState
from cnnprof.measure.lookouts import hash_once
from cnnprof.measure.neighbours import WatchedClock
from cnnprof.measure.statistics import Sample

__all__ = [
    "ANCHOR",
    "Anchor",
    "Plan",
    "Session",
    "fixed_work",
    "run_session",
    "take_anchor",
    "take_sample",
    "take_visit",
    "warm_up",
]

Run = Callable[[], object]
Progress = Callable[[int, int, str], None]
ANCHOR = "hashing"  # what fixed_work is: seconds of another kind aren't held against these
_AGREE = 0.05
_ANCHOR_RUNS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to look: at least ``samples`` undisturbed runs and ``seconds`` a visit, ``visits`` visits; at most
    ``warm_up_runs`` runs until three in a row agree within 5 %. ``longest_s`` ends a visit of something slow, or much
    disturbed, early (``fewest`` samples are taken all the same)."""

    visits: int = 5
    samples: int = 20
    seconds: float = 0.25
    warm_up_runs: int = 30
    longest_s: float = 10.0
    fewest: int = 3


@dataclass(slots=True)
class Session:
    """Samples by name, one list a visit, and what copying took around each (nothing where nobody looked); the machine
    before and after; the anchor's times; own CPU time."""

    visits: dict[str, list[list[Sample]]] = field(default_factory=dict)
    steady: dict[str, bool] = field(default_factory=dict)
    anchor_s: list[float] = field(default_factory=list)
    copying_s: dict[str, list[float]] = field(default_factory=dict)
    before: MachineState | None = None
    after: MachineState | None = None
    own_cpu_s: float = 0.0
    interrupted: bool = False


def take_sample(run: Run, clock: Clock, before: Run | None = None) -> Sample:
    """One run between two readings of the clock; ``before`` runs first, untimed."""
    if before is not None:
        before()
    switches, cpu, wall = clock.switches(), clock.cpu_s(), clock.wall_s()
    run()
    wall_after, cpu_after = clock.wall_s(), clock.cpu_s()
    return Sample(wall_after - wall, cpu_after - cpu, clock.switches() != switches)


def warm_up(run: Run, clock: Clock, plan: Plan, before: Run | None = None) -> bool:
    """Run until three CPU times in a row agree within 5 %. False if they never did."""
    recent: list[float] = []
    began = clock.wall_s()
    for _ in range(plan.warm_up_runs):
        sample = take_sample(run, clock, before)
        recent = [*recent[-2:], sample.cpu_s or sample.wall_s]
        if len(recent) == 3 and max(recent) <= min(recent) * (1 + _AGREE):
            return True
        if len(recent) == 3 and clock.wall_s() - began > plan.longest_s:
            break
    return False


def run_session(
    runs: Mapping[str, Run],
    clock: Clock,
    plan: Plan,
    *,
    anchor: Run | None = None,
    before: Run | None = None,
    progress: Progress | None = None,
) -> Session:
    """Measure every one of ``runs``, in turn, ``plan.visits`` times, ``before`` ahead of every run and untimed. Never
    raises KeyboardInterrupt."""
    session = Session(before=clock.machine())
    cpu = clock.cpu_s()
    try:
        _anchor(session, anchor, clock)
        memory = _Memory(clock)
        for name, run in runs.items():
            session.steady[name] = warm_up(run, clock, plan, before)
            session.visits[name], session.copying_s[name] = [], []
        done, all_visits = 0, plan.visits * len(runs)
        for _ in range(plan.visits):
            for name, run in runs.items():
                # The list is in place before its first sample: an interrupt loses nothing.
                session.visits[name].append([])
                memory.before(run)
                take_visit(run, clock, plan, before=before, into=session.visits[name][-1])
                session.copying_s[name] += memory.after()
                done += 1
                if progress is not None:
                    progress(done, all_visits, name)
        _anchor(session, anchor, clock)
    except KeyboardInterrupt:
        session.interrupted = True
    session.after = clock.machine()
    session.own_cpu_s = clock.cpu_s() - cpu
    return session


class _Memory:
    """Waits for a calm memory before a visit, and says what copying took around it, on a clock that knows of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock if isinstance(clock, WatchedClock) and clock.watches_memory else None
        self._found_s: float | None = None
        if self._clock is not None:
            # What is copied is taken before anything runs: on top of a heap that runs have grown it would keep the
            # system from taking that back, and large batches would have it for nothing from one run to the next.
            self._clock.stream_s()

    def before(self, run: Run) -> None:
        if self._clock is not None:
            found_s = self._clock.stream_s() if self._found_s is None else self._found_s
            self._found_s = self._clock.until_calm_s(found_s)
            run()  # copying has emptied the caches

    def after(self) -> list[float]:
        if self._clock is None:
            return []
        before_s, self._found_s = self._found_s or 0.0, self._clock.stream_s()
        return [max(before_s, self._found_s)]


def take_visit(
    run: Run, clock: Clock, plan: Plan, *, before: Run | None = None, into: list[Sample] | None = None
) -> list[Sample]:
    """One visit of ``plan``: its samples, added to ``into`` one by one."""
    samples: list[Sample] = [] if into is None else into
    began, clean = clock.wall_s(), 0
    while True:
        samples.append(take_sample(run, clock, before))
        clean += not samples[-1].disturbed
        spent = clock.wall_s() - began
        if clean >= plan.samples and spent >= plan.seconds:
            return samples
        if len(samples) >= plan.fewest and spent >= plan.longest_s:
            return samples


@dataclass(frozen=True, slots=True)
class Anchor:
    """CPU seconds of the anchor (wall time on a clock that has none); not ``calm`` if every run was disturbed."""

    cpu_s: float
    calm: bool


def take_anchor(clock: Clock, work: Run) -> Anchor:
    """The least of fifteen runs, of those that nothing disturbed if there are any."""
    runs = [take_sample(work, clock) for _ in range(_ANCHOR_RUNS)]
    calm = [run for run in runs if not run.disturbed]
    return Anchor(min(run.cpu_s or run.wall_s for run in calm or runs), bool(calm))


def _anchor(session: Session, anchor: Run | None, clock: Clock) -> None:
    """Look at the anchor. One with a neighbour beside every run isn't kept: that is no other pace of the machine."""
    if anchor is None:
        return
    anchor()
    taken = take_anchor(clock, anchor)
    if taken.calm:
        session.anchor_s.append(taken.cpu_s)


def fixed_work() -> None:
    """The anchor: work of fixed size, a few milliseconds. As long after as before, or the machine has changed. Hashing
    takes as long each time, to 1 %; a loop of Python scatters by 4 %, in a process that does nothing else."""
    for _ in range(16):
        hash_once()
