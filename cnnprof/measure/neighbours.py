"""A clock that knows when somebody else is at work on this core's other hardware thread.

On a shared host a virtual core is one of two threads of a physical one. While a stranger's thread runs on the other,
everything here takes up to twice as long, for seconds on end, and no counter of the guest shows it: neither steal nor
load nor a context switch. A short fixed piece of work does. It is timed before and after every run; runs beside a busy
neighbour count as disturbed, and before the next one this clock waits for quiet, on whichever core has it.

It waits at work: a virtual core that slept for some milliseconds is slow for as many after it wakes.

Neighbours on other cores share the last cache and the memory: copying shows it
(:mod:`~cnnprof.measure.contention`). That lasts for half a minute and more; :meth:`WatchedClock.until_calm_s` waits for
its end, and what was measured meanwhile can be left out.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cnnprof.measure.clock import Clock, MachineState, SystemClock, kept_waiting_s
from cnnprof.measure.contention import CONTENDED, Copying
from cnnprof.measure.lookouts import Lookouts, hashing_s

__all__ = ["BUSY", "FAR", "PATIENCE_S", "QuietLevels", "WatchedClock", "watched"]

BUSY = 1.15  # times the least that the probe has taken, which varies by 2 %: a neighbour costs it 1.2 to 1.6
FAR = 1.8  # times the least that handing over has taken; up to 1.7 between near cores, 2 to 4 between ones far apart
PATIENCE_S = 10.0  # of waiting for a quiet core, in all, and as long for a calm memory
_FIRST_S = 0.05  # on every core, where the least isn't known
_ALONE = 20  # looks at one core after the other, where the least isn't known: together they may share one
_MOST_CORES = 16  # looked at: on a large machine all of them would take seconds
_WARM_S = 0.015  # for a core that slept
_STAY_S = 0.2  # before another core is tried
_BETWEEN_S = 0.1  # two looks at the memory: looking, too, uses it
_KEPT_SHARE = 0.01  # of a run's time that its threads, all together, may wait for a core; 0.2 % is usual


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietLevels:
    """What a calibration saw on this machine, in seconds: the least of the probe, what copying usually took around the
    networks that it kept, and the least of handing over between cores. 0 where it didn't look, or looked otherwise."""

    probe_s: float
    stream_s: float
    handing_over_s: float = 0.0


class WatchedClock:
    """A clock (``inner``, the system's by default) whose :meth:`switches` also counts the looks that found a busy
    neighbour.

    With one thread it waits for quiet and moves between the ``cores``. With as many threads as there are (up to 16) it
    looks at every one and waits until all are quiet and near each other (:mod:`~cnnprof.measure.lookouts`). With fewer
    it waits on the core that it is on (where the others compute it can't tell). It waits ``patience_s`` in all; after
    that it only counts. For the memory it waits ``memory_patience_s``, by default as long.
    Runs of this machine whose threads were kept waiting for a core count as disturbed, instead of any that was switched
    away from: a long run always is, for some microseconds.
    ``quiet`` is what is known from before; ``pin`` sets the cores that the calling thread may run on, ``now`` tells the
    wall time, ``look`` probes every core, ``hand_over`` tells what that takes, ``kept`` how long threads waited,
    ``copying`` what that takes.
    :meth:`close` puts the cores back.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        patience_s: float = PATIENCE_S,
        memory_patience_s: float | None = None,
        quiet: QuietLevels | None = None,
        inner: Clock | None = None,
        cores: Sequence[int] | None = None,
        probe: Callable[[], float] = hashing_s,
        pin: Callable[[Sequence[int]], None] | None = None,
        now: Callable[[], float] = time.perf_counter,
        look: Callable[[], Sequence[float]] | None = None,
        hand_over: Callable[[], float] | None = None,
        kept: Callable[[], float | None] = kept_waiting_s,
        copying: Callable[[], float] | None = None,
    ) -> None:
        self._inner = inner or SystemClock()
        self._all = _allowed() if cores is None else tuple(cores)
        self._cores = self._all if cores is not None else self._all[:_MOST_CORES]
        self._moves = threads == 1 and len(self._cores) > 1
        self._pin, self._now, self._kept = pin or _pin, now, kept
        self._lookouts: Lookouts | None = None
        if look is None and threads > 1 and threads >= len(self._all) == len(self._cores) > 1:
            self._lookouts = Lookouts(self._cores)
            look, hand_over = self._lookouts.at_once, self._lookouts.handing_over_s
        self._tells = not self.feeds_device and kept() is not None
        self._look, self._hand_over = look or (lambda: (probe(),)), hand_over
        self._mark = (0.0, 0.0)
        self.kept_waiting = 0
        self._here = 0
        self._left_s = patience_s
        self._left_for_memory_s = patience_s if memory_patience_s is None else memory_patience_s
        self.waited_s = 0.0
        self.waited_for_memory_s = 0.0
        self.found_busy = 0
        self.quiet = quiet
        # Who looked at one core alone doesn't know how near the others are.
        known = quiet if quiet is not None and quiet.probe_s and (hand_over is None or quiet.handing_over_s) else None
        self._least = _Least(math.inf if known is None else known.probe_s)
        self._least_handing_over = _Least(math.inf if known is None else known.handing_over_s or math.inf)
        self._copying = copying or Copying()
        if known is None and self._lookouts is not None:
            for _ in range(_ALONE):
                self._least.see(min(self._lookouts.alone()))
        if known is None:
            for _ in self._cores if self._moves else (0,):
                self._move()
                self._spin(_FIRST_S, until_quiet=False)
        self._settle()
        self.waited_s = 0.0
        self._set_mark()

    @property
    def least_s(self) -> float:
        """What the probe takes with nobody beside."""
        return self._least.value

    @property
    def feeds_device(self) -> bool:
        """Whether what is timed computes on a device: the cache and the memory of its host say nothing of it then."""
        return not isinstance(self._inner, SystemClock)

    def wall_s(self) -> float:
        return self._inner.wall_s()

    def cpu_s(self) -> float:
        return self._inner.cpu_s()

    def machine(self) -> MachineState:
        return self._inner.machine()

    def switches(self) -> int:
        """Involuntary context switches of this process (or how often its threads were kept waiting since the call
        before), and looks that found a busy neighbour."""
        if self._tells:
            self.kept_waiting += self._was_kept_waiting()
        if self._is_busy():
            self.found_busy += 1
            self._settle()
        self._set_mark()
        return (self.kept_waiting if self._tells else self._inner.switches()) + self.found_busy

    def _set_mark(self) -> None:
        if self._tells:
            self._mark = (self._now(), self._kept() or 0.0)

    def _was_kept_waiting(self) -> bool:
        began, before = self._mark
        return (self._kept() or 0.0) - before > _KEPT_SHARE * (self._now() - began)

    @property
    def cores(self) -> tuple[int, ...]:
        """Where it looks for quiet."""
        return self._cores

    @property
    def patience_s(self) -> float:
        """How long it may still wait for a quiet core."""
        return max(0.0, self._left_s)

    @property
    def memory_patience_s(self) -> float:
        """How long it may still wait for a calm memory."""
        return max(0.0, self._left_for_memory_s)

    @property
    def quiet_levels(self) -> QuietLevels:
        """The least that was seen so far, also by the processes that :meth:`take_over` was told of; no copying."""
        handing_over_s = self._least_handing_over.value
        return QuietLevels(
            probe_s=self.least_s, stream_s=0.0, handing_over_s=handing_over_s if math.isfinite(handing_over_s) else 0.0
        )

    def take_over(
        self, *, waited_s: float, waited_for_memory_s: float = 0.0, found_busy: int, levels: QuietLevels
    ) -> None:
        """Count what a clock in another process saw."""
        self.waited_s += waited_s
        self._left_s -= waited_s
        self.waited_for_memory_s += waited_for_memory_s
        self._left_for_memory_s -= waited_for_memory_s
        self.found_busy += found_busy
        self._least.take_over(levels.probe_s)
        if levels.handing_over_s:
            self._least_handing_over.take_over(levels.handing_over_s)

    @property
    def watches_memory(self) -> bool:
        """Whether it knows what copying takes while nobody else uses the memory, and that slows what is timed."""
        return self.quiet is not None and self.quiet.stream_s > 0.0 and not self.feeds_device

    def stream_s(self) -> float:
        """CPU seconds of copying what no near cache holds."""
        return self._copying()

    def until_calm_s(self, found_s: float) -> float:
        """Wait while copying, which took ``found_s`` just now, takes longer than on the quiet machine, as far as the
        patience goes; what it takes then."""
        quiet_s = self.quiet.stream_s if self.quiet is not None and self.watches_memory else math.inf
        while found_s > (1.0 + CONTENDED) * quiet_s and self._left_for_memory_s > 0.0:
            began = self._now()
            self._spin(_BETWEEN_S, until_quiet=False)
            found_s = self.stream_s()
            spent = self._now() - began
            self._left_for_memory_s -= spent
            self.waited_for_memory_s += spent
        return found_s

    def close(self) -> None:
        """Let the thread run wherever it could before, and those that looked end."""
        if self._moves:
            self._pin(self._all)
        if self._lookouts is not None:
            self._lookouts.close()

    def _settle(self) -> None:
        while self._left_s > 0.0:
            began = self._now()
            quiet = self._spin(_STAY_S, until_quiet=True)
            if not quiet and self._moves:
                self._move()
                self._spin(_WARM_S, until_quiet=False)
            spent = self._now() - began
            self._left_s -= spent
            self.waited_s += spent
            if quiet:
                return

    def _move(self) -> None:
        if self._moves:
            self._here = (self._here + 1) % len(self._cores)
            self._pin((self._cores[self._here],))

    def _spin(self, longest_s: float, *, until_quiet: bool) -> bool:
        """Look again and again. True if the last look found nobody."""
        began = self._now()
        while True:
            busy = self._is_busy()
            if (until_quiet and not busy) or self._now() - began >= longest_s:
                return not busy

    def _is_busy(self) -> bool:
        found = self._look()
        self._least.see(min(found))
        return max(found) > BUSY * self._least.value or self._is_far()

    def _is_far(self) -> bool:
        if self._hand_over is None:
            return False
        found = self._hand_over()
        self._least_handing_over.see(found)
        return found > FAR * self._least_handing_over.value


class _Least:
    """The least that two looks in a row have found. Of many thousands of looks one takes an eighth less than any
    other (why isn't known): with that for the least, all others are busy."""

    def __init__(self, known: float) -> None:
        self.value, self._before = known, math.inf

    def see(self, found: float) -> None:
        self.value = min(self.value, max(found, self._before))
        self._before = found

    def take_over(self, seen: float) -> None:
        """What another process found in two looks."""
        self.value = min(self.value, seen)


def _allowed() -> tuple[int, ...]:
    """The cores that this thread may run on; one nameless where the system can't say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (0,)


def _pin(cores: Sequence[int]) -> None:
    """This thread alone: threads made before keep their cores, ones made meanwhile take these."""
    os.sched_setaffinity(0, cores)


@contextmanager
def watched(
    clock: Clock, *, threads: int = 1, patience_s: float = PATIENCE_S, quiet: QuietLevels | None = None
) -> Iterator[Clock]:
    """``clock``; if it is the system's, or that of a real device which the host feeds, as one that watches the host's
    neighbours."""
    if type(clock) is not SystemClock and not getattr(clock, "on_hardware", False):
        yield clock
        return
    watching = WatchedClock(threads=threads, patience_s=patience_s, quiet=quiet, inner=clock)
    try:
        yield watching
    finally:
        watching.close()
