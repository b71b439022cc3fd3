"""As many threads as cores: every core is looked at, and a run whose threads waited for one is disturbed."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time

import pytest

from cnnprof.measure.clock import SystemClock, kept_waiting_s
from cnnprof.measure.lookouts import Lookouts
from cnnprof.measure.neighbours import QuietLevels, WatchedClock, watched
from cnnprof.measure.session import take_sample

PROBE_S, NEAR_S = 0.0002, 9e-6


class Host:
    """Two cores that both compute. ``busy[core]`` lists when a neighbour is there, ``far`` when the two are behind
    different caches; ``waited_s`` is what threads waited."""

    def __init__(self, busy: dict[int, list[tuple[float, float]]], far: tuple[float, float] = (0.0, 0.0)) -> None:
        self.busy, self.far, self.time, self.waited_s = busy, far, 0.0, 0.0

    def look(self) -> list[float]:
        self.time += 2 * PROBE_S
        beside = [any(a <= self.time < b for a, b in self.busy.get(core, ())) for core in (0, 1)]
        return [PROBE_S * (1.8 if busy else 1.0) for busy in beside]

    def hand_over(self) -> float:
        self.time += NEAR_S
        return NEAR_S * (2.0 if self.far[0] <= self.time < self.far[1] else 1.6)

    def clock(self, **options: object) -> WatchedClock:
        return WatchedClock(
            threads=2, cores=(0, 1), look=self.look, hand_over=self.hand_over, now=lambda: self.time,
            kept=lambda: self.waited_s, **options,
        )  # type: ignore[arg-type]  # fmt: skip

    def run(self, seconds: float, waiting_s: float = 0.0) -> None:
        self.time += seconds
        self.waited_s += waiting_s


@pytest.fixture(autouse=True)
def _switches_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it is asked, the system counts another switch: with several threads there always are some."""
    count = iter(range(10**9))
    monkeypatch.setattr(SystemClock, "switches", lambda _: next(count))


def test_a_neighbour_on_any_core_disturbs_and_is_waited_for() -> None:
    host = Host({1: [(1.0, 1.5)], 0: [(3.0, 3.2)]})
    clock = host.clock()
    assert clock.least_s == PROBE_S
    host.time = 0.5
    assert not take_sample(lambda: host.run(0.2), clock).disturbed
    host.time = 0.9
    assert take_sample(lambda: host.run(0.2), clock).disturbed
    assert 1.5 <= host.time < 1.51 and clock.found_busy == 1
    assert not take_sample(lambda: host.run(0.2), clock).disturbed
    host.time = 2.9
    assert take_sample(lambda: host.run(0.2), clock).disturbed
    assert clock.waited_s == pytest.approx(0.6, abs=0.15)


def test_cores_that_are_far_apart_disturb_and_are_waited_for() -> None:
    host = Host({}, far=(1.0, 1.5))
    clock = host.clock(quiet=QuietLevels(probe_s=PROBE_S, stream_s=1.0, handing_over_s=NEAR_S))
    host.time = 0.5
    assert not take_sample(lambda: host.run(0.2), clock).disturbed  # 1.6 times the least is near
    host.time = 0.9
    assert take_sample(lambda: host.run(0.2), clock).disturbed
    assert 1.5 <= host.time < 1.51
    assert not take_sample(lambda: host.run(0.2), clock).disturbed
    assert clock.quiet_levels == QuietLevels(probe_s=PROBE_S, stream_s=0.0, handing_over_s=NEAR_S)


def test_cores_that_were_always_far_apart_are_a_machine_like_that() -> None:
    host = Host({}, far=(0.0, 99.0))
    assert not take_sample(lambda: host.run(0.2), host.clock()).disturbed


@pytest.mark.parametrize(("waiting_s", "disturbed"), [(0.0009, False), (0.0011, True)])
def test_a_run_whose_threads_waited_for_a_core_is_disturbed(waiting_s: float, disturbed: bool) -> None:
    """The limit is 1 % of the run. What is waited between runs counts for none."""
    host = Host({})
    clock = host.clock()
    host.run(5.0, 5.0)
    assert take_sample(lambda: host.run(0.1, waiting_s), clock).disturbed is disturbed
    assert clock.found_busy == 0


def test_where_nobody_tells_who_waited_switches_count() -> None:
    clock = WatchedClock(threads=2, cores=(0, 1), look=Host({}).look, kept=lambda: None)
    assert take_sample(lambda: None, clock).disturbed


def test_a_quiet_level_is_of_a_core_by_itself() -> None:
    """A neighbour on one core all the time: the other says what quiet is."""
    host = Host({1: [(0.0, 99.0)]})
    clock = host.clock(patience_s=0.0)
    assert clock.least_s == PROBE_S
    assert take_sample(lambda: host.run(0.2), clock).disturbed
    known = Host({0: [(0.0, 99.0)], 1: [(0.0, 99.0)]}).clock(
        patience_s=1.0, quiet=QuietLevels(probe_s=PROBE_S, stream_s=1.0, handing_over_s=NEAR_S)
    )
    known.switches()
    assert known.found_busy == 1 and known.patience_s == 0.0


def test_levels_of_a_look_at_one_core_say_nothing_here() -> None:
    clock = Host({}).clock(quiet=QuietLevels(probe_s=PROBE_S / 10, stream_s=1.0))
    assert clock.least_s == PROBE_S and clock.quiet is not None and clock.quiet.stream_s == 1.0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads are bound to cores on Linux alone")
def test_lookouts_stay_on_their_cores_and_leave() -> None:
    cores = sorted(os.sched_getaffinity(0))
    before = threading.active_count()
    together = threading.Barrier(len(cores))

    def which() -> float:
        (core,) = os.sched_getaffinity(0)
        return float(core)

    def which_with_all() -> float:
        together.wait(60.0)  # nobody goes on before all are there
        return which()

    lookouts = Lookouts(cores, which)
    assert lookouts.alone() == cores == lookouts.at_once()
    others = Lookouts(cores, which_with_all)
    assert others.at_once() == cores
    others.close()
    assert 0.0 < lookouts.handing_over_s() < 1.0
    first, *rest = lookouts._all
    assert all((one._taken == one._given).all() for one in rest or [first])  # what came over is what was written
    assert sorted(os.sched_getaffinity(0)) == cores
    lookouts.close()
    assert threading.active_count() == before and lookouts.at_once() == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how long threads waited")
def test_two_threads_on_one_core_keep_each_other_waiting() -> None:
    """While both compute, one of them waits: about as long, together, as both compute (hashing holds no lock)."""
    core, data = min(os.sched_getaffinity(0)), bytes(40 << 20)
    begin, computed, over = threading.Barrier(3), threading.Barrier(3), threading.Event()
    spent: list[float] = []

    def work() -> None:
        os.sched_setaffinity(0, (core,))
        begin.wait(60.0)
        began = time.thread_time()
        hashlib.sha256(data)
        spent.append(time.thread_time() - began)
        computed.wait(60.0)
        over.wait(60.0)  # a thread that has ended tells no more

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    before = kept_waiting_s()
    begin.wait(60.0)
    computed.wait(60.0)
    after = kept_waiting_s()
    over.set()
    for thread in threads:
        thread.join()
    assert before is not None and after is not None
    assert after - before > 0.5 * min(spent)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores have names on Linux alone")
def test_on_this_machine() -> None:
    cores = os.sched_getaffinity(0)
    before = threading.active_count()
    with watched(SystemClock(), threads=len(cores), patience_s=0.0) as clock:
        assert isinstance(clock, WatchedClock)
        assert 1e-5 < clock.least_s < 0.1 and clock.switches() >= 0
        assert threading.active_count() == before + (len(cores) if 1 < len(cores) <= 16 else 0)
    assert threading.active_count() == before and os.sched_getaffinity(0) == cores
