"""Neighbours that use the last cache and the memory: seen by copying, waited for, and left out of what counts."""

from __future__ import annotations

import random

import pytest
from fake_clock import FakeClock

from cnnprof.measure.calibrate_suite import looked_at
from cnnprof.measure.clock import SystemClock
from cnnprof.measure.contention import CONTENDED, Copying, calm_visits
from cnnprof.measure.neighbours import QuietLevels, WatchedClock
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import Plan, run_session
from cnnprof.measure.statistics import summarise

PROBE_S, CALM_S = 0.0002, 0.0006
KNOWN = QuietLevels(probe_s=PROBE_S, stream_s=CALM_S)


@pytest.fixture(autouse=True)
def _no_switches_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "switches", lambda _: 0)


class Host:
    """A core that has nobody beside it, and a memory that is used by others at certain times, (from, until): copying
    takes 1.5 times as long then. A look at it takes 10 ms, as fifteen copies do."""

    def __init__(self, used: list[tuple[float, float]]) -> None:
        self.used, self.time, self.looks = used, 0.0, 0

    def is_used(self) -> bool:
        return any(a <= self.time < b for a, b in self.used)

    def copying(self) -> float:
        self.looks += 1
        self.time += 0.01
        return CALM_S * (1.5 if self.is_used() else 1.0)

    def probe(self) -> float:
        self.time += PROBE_S
        return PROBE_S

    def clock(self, **options: object) -> WatchedClock:
        values = {
            "cores": (0,), "probe": self.probe, "now": lambda: self.time, "kept": lambda: 0.0, "quiet": KNOWN,
            "copying": self.copying,
        }  # fmt: skip
        return WatchedClock(**{**values, **options})  # type: ignore[arg-type]


def test_it_waits_for_a_calm_memory_and_its_patience_ends() -> None:
    host = Host([(1.0, 4.0), (10.0, 99.0)])
    clock = host.clock(patience_s=7.0)
    assert clock.until_calm_s(clock.stream_s()) == CALM_S and host.looks == 1 and clock.waited_for_memory_s == 0.0
    host.time = 1.0
    assert clock.until_calm_s(clock.stream_s()) == CALM_S
    assert 4.0 <= host.time < 4.2 and clock.waited_for_memory_s == pytest.approx(3.0, abs=0.2)
    assert host.looks < 32  # ten in a second: looking uses the memory, too
    host.time = 10.0
    assert clock.until_calm_s(clock.stream_s()) == 1.5 * CALM_S
    assert clock.waited_for_memory_s == pytest.approx(7.0, abs=0.2) and clock.memory_patience_s == 0.0
    assert clock.waited_s == 0.0 and clock.patience_s == pytest.approx(
        7.0, abs=0.001
    )  # for a core it may wait as long as ever
    looks = host.looks
    assert clock.until_calm_s(1.5 * CALM_S) == 1.5 * CALM_S and host.looks == looks


def test_who_does_not_know_what_is_calm_waits_for_nothing() -> None:
    host = Host([(0.0, 99.0)])
    for quiet in (None, QuietLevels(probe_s=PROBE_S, stream_s=0.0)):
        clock = host.clock(quiet=quiet)
        assert not clock.watches_memory and clock.until_calm_s(1.0) == 1.0 and host.looks == 0
        session = run_session({"net": lambda: None}, clock, Plan(visits=3, samples=1, seconds=0.0))
        assert session.copying_s == {"net": []} and host.looks == 0
    assert host.clock(memory_patience_s=0.0).until_calm_s(1.0) == 1.0
    assert host.clock(patience_s=3.0, memory_patience_s=5.0).memory_patience_s == 5.0


def test_a_network_of_the_calibration_begins_in_calm() -> None:
    host = Host([(0.0, 3.0)])
    sample = NetSample(network=0, total_s=1.0, disturbed=0.0, kernels=(), seconds=())

    def measured(*_: object) -> NetSample:
        assert host.time >= 3.0
        return sample

    assert looked_at(measured, 0, None, host.clock()).stream_s == CALM_S  # type: ignore[arg-type]


def test_visits_that_count() -> None:
    """Hand-worked: the limit is 1.15 times 1.0."""
    visits = ["a", "b", "c", "d"]
    assert CONTENDED == 0.15
    assert calm_visits(visits, [1.0, 1.3, 1.1, 0.9], 1.0) == (["a", "c", "d"], pytest.approx(0.1))
    assert calm_visits(visits, [1.0, 1.3, 1.2, 0.9], 1.0) == (visits, pytest.approx(0.2))  # of 0.9 1.0 1.2 1.3
    assert calm_visits(visits[:2], [1.0, 1.1], 1.0) == (["a", "b"], pytest.approx(0.1))
    assert calm_visits(visits[:2], [1.0, 1.3], 1.0) == (["a", "b"], pytest.approx(0.3))
    # The last one was interrupted: it counts where the others don't suffice.
    assert calm_visits(visits, [1.0, 1.1, 0.9], 1.0) == (["a", "b", "c"], pytest.approx(0.1))
    assert calm_visits(visits[:3], [1.0, 0.9], 1.0) == (["a", "b", "c"], pytest.approx(0.0))
    for unknown in (None, 0.0):
        assert calm_visits(visits, [1.0] * 4, unknown) == (visits, None)
    assert calm_visits(visits, [], 1.0) == (visits, None)


def test_the_latency_is_the_calm_machines_however_long_the_others_compute() -> None:
    """Others for half of the time, in stretches of seconds, cost 12 %: the truth is in the interval as often as it
    says; without looking it's not."""
    covered, blind, truth = 0, 0, 0.04 * (1 - 0.8416 * 0.01)  # the 20th percentile of 40 ms with 1 % of jitter
    for seed in range(60):
        rng = random.Random(seed)
        stretches, at = [], -rng.uniform(0.0, 3.0)
        while at < 400.0:
            length = rng.uniform(1.0, 5.0)
            stretches.append((at, at + length))
            at += 2.0 * length
        for quiet in (KNOWN, QuietLevels(probe_s=PROBE_S, stream_s=0.0)):
            host, fake = Host(stretches), FakeClock()
            clock = host.clock(quiet=quiet, patience_s=60.0)

            def run(host: Host = host, fake: FakeClock = fake, rng: random.Random = rng) -> None:
                spent = 0.04 * max(0.5, rng.gauss(1.0, 0.01)) * (1.12 if host.is_used() else 1.0)
                host.time += spent
                fake.spend(spent)

            clock.cpu_s, clock.wall_s = fake.cpu_s, lambda host=host: host.time  # type: ignore[method-assign]
            session = run_session({"net": run}, clock, Plan(visits=8, samples=6, seconds=0.1))
            visits, contention = calm_visits(session.visits["net"], session.copying_s["net"], quiet.stream_s)
            statistics = summarise(visits, single_thread=True)
            inside = statistics.low_s <= truth <= statistics.high_s
            if quiet is KNOWN:
                covered += inside
                assert contention == 0.0 and len(visits) >= 3
                assert statistics.latency_s == pytest.approx(truth, rel=0.02)
            else:
                blind += inside and statistics.half_width < 0.02
    assert covered / 60 >= 0.95 - 3 * (0.95 * 0.05 / 60) ** 0.5
    assert blind / 60 < 0.8


def test_copying_on_this_machine() -> None:
    """24 MB of traffic take between a terabyte a second and what nothing is as slow as."""
    look = Copying()
    assert 24e6 / 1e12 < look() < 1.0
    assert look._pair is not None
    source = look._pair[0]
    look()
    assert look._pair[0] is source and source.nbytes == 12 << 20  # taken once


def test_a_session_takes_each_look_once() -> None:
    """One between two visits serves both; a run warms the caches up again before each. The first is before anything
    runs: what is copied lies below the runs' memory then, and holds on to nothing of theirs."""
    host, runs = Host([]), []
    session = run_session(
        {"net": lambda: runs.append(host.looks)}, host.clock(), Plan(visits=3, samples=2, seconds=0.0)
    )
    assert session.copying_s == {"net": [CALM_S] * 3} and host.looks == 5
    assert 0 not in runs and runs.count(1) >= 3  # to become steady
    assert [runs.count(looks) for looks in (2, 3, 4)] == [3, 3, 3]  # each visit: one to warm up, two samples
