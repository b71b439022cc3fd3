"""Neighbours on the core's other thread: seen, waited for, moved away from, and never counted as quiet."""

from __future__ import annotations

import os
import random

import pytest
from fake_clock import FakeClock
from fake_cuda import FakeCuda

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.measure import neighbours
from cnnprof.measure.calibrate_suite import looked_at
from cnnprof.measure.clock import SystemClock
from cnnprof.measure.cuda import CudaClock
from cnnprof.measure.neighbours import QuietLevels, WatchedClock, watched
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import Plan, run_session, take_sample
from cnnprof.measure.statistics import summarise
from cnnprof.measure.verify_visit import quiet_levels

QUIET_S, PROBE_S = 1.0, 0.0002


@pytest.fixture(autouse=True)
def _no_switches_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake host's clocks count neighbours alone, not what else runs beside the tests."""
    monkeypatch.setattr(SystemClock, "switches", lambda _: 0)


class Host:
    """Cores with neighbours at certain times: ``busy[core]`` lists (from, until) in seconds. A probe takes 0.2 ms of
    the fake time, or 1.8 times that beside a neighbour."""

    def __init__(self, busy: dict[int, list[tuple[float, float]]]) -> None:
        self.busy, self.time, self.core = busy, 0.0, 0
        self.pinned: list[tuple[int, ...]] = []

    def has_neighbour(self) -> bool:
        return any(a <= self.time < b for a, b in self.busy.get(self.core, ()))

    def probe(self) -> float:
        found = PROBE_S * (1.8 if self.has_neighbour() else 1.0)
        self.time += found
        return found

    def pin(self, cores: object) -> None:
        self.pinned.append(tuple(cores))  # type: ignore[arg-type]
        self.core = self.pinned[-1][0]

    def clock(self, **options: object) -> WatchedClock:
        values = {
            "cores": (0, 1),
            "probe": self.probe,
            "pin": self.pin,
            "now": lambda: self.time,
            "kept": lambda: 0.0,
            "copying": lambda: QUIET_S,
        }
        return WatchedClock(**{**values, **options})  # type: ignore[arg-type]


def test_it_moves_to_the_core_that_is_quiet() -> None:
    host = Host({0: [(1.0, 99.0)], 1: []})
    clock = host.clock()
    assert clock.least_s == PROBE_S and clock.found_busy == 0
    host.time, host.core = 2.0, 0
    host.pin((0,))
    before = clock.switches()
    assert clock.found_busy == 1 and host.core == 1
    assert clock.switches() == before  # quiet here: nothing new to count
    assert 0.2 <= clock.waited_s < 0.3  # it stayed a moment, in case the neighbour left
    clock.close()
    assert host.pinned[-1] == (0, 1)


def test_a_look_that_is_shorter_than_any_other_makes_nobody_busy() -> None:
    """One look in many thousands is an eighth shorter, and the next one isn't."""
    host, glitches = Host({0: [], 1: []}), [500, 900]
    looks = iter(range(10**6))

    def probe() -> float:
        return host.probe() * (0.86 if next(looks) in glitches else 1.0)

    clock = host.clock(probe=probe)
    for _ in range(1000):
        clock.switches()
    assert next(looks) > 900 and clock.least_s == PROBE_S and clock.found_busy == 0
    # A core that is faster than all before is seen twice, and then it is the measure.
    faster = host.clock(probe=lambda: 0.8 * host.probe(), quiet=QuietLevels(probe_s=PROBE_S, stream_s=QUIET_S))
    faster.switches()
    assert faster.least_s == pytest.approx(0.8 * PROBE_S)


def test_it_waits_and_its_patience_ends() -> None:
    host = Host({0: [(1.0, 4.0), (10.0, 99.0)], 1: [(1.0, 4.0), (10.0, 99.0)]})
    clock = host.clock(patience_s=5.0)
    host.time = 1.5
    clock.switches()
    assert 4.0 <= host.time < 4.1 and 2.4 < clock.waited_s < 2.7
    host.time = 10.0
    clock.switches()
    assert clock.waited_s == pytest.approx(5.0, abs=0.25)
    time = host.time
    seen = clock.found_busy
    clock.switches()
    assert host.time - time < 0.001 and clock.found_busy == seen + 1  # it counts, and waits no more


def test_a_busy_start_is_known_by_what_an_earlier_look_found() -> None:
    everywhere = {core: [(0.0, 1.0)] for core in (0, 1)}
    assert Host(everywhere).clock().least_s == pytest.approx(1.8 * PROBE_S)  # it can't know
    host = Host(everywhere)
    host.clock(quiet=QuietLevels(probe_s=PROBE_S, stream_s=QUIET_S))
    assert host.time >= 1.0  # it waited


def test_fewer_threads_than_cores_stay_where_they_are() -> None:
    host = Host({0: [(1.0, 2.0)]})
    clock = host.clock(threads=2, cores=(0, 1, 2))
    host.time = 1.5
    clock.switches()
    clock.close()
    assert host.pinned == [] and host.time >= 2.0


def test_a_run_beside_a_neighbour_is_disturbed_also_if_he_came_meanwhile() -> None:
    host = Host({0: [(1.0, 1.5)], 1: [(0.0, 99.0)]})
    clock = host.clock()

    def run() -> None:
        host.time += 0.4

    host.time = 0.1
    host.pin((0,))
    assert not take_sample(run, clock).disturbed
    host.time = 0.8
    assert take_sample(run, clock).disturbed
    assert host.time >= 1.5  # the next one starts in quiet
    assert not take_sample(run, clock).disturbed


def test_the_latency_is_the_quiet_machines_however_long_the_neighbours_work() -> None:
    """Neighbours for 60 % of the time, in stretches of seconds: the truth is in the interval as often as it says."""
    covered, truth = 0, 0.004 * (1 - 0.8416 * 0.01)  # the 20th percentile of 4 ms with 1 % of jitter
    for seed in range(40):
        rng, fake = random.Random(seed), FakeClock()
        stretches, at = [], 0.0
        while at < 400.0:
            length = rng.uniform(0.5, 3.0)
            stretches.append((at, at + length))
            at += length / 0.6
        host = Host({0: stretches})
        clock = host.clock(cores=(0,), patience_s=100.0, quiet=QuietLevels(probe_s=PROBE_S, stream_s=QUIET_S))

        def run(host: Host = host, fake: FakeClock = fake, rng: random.Random = rng) -> None:
            spent = 0.004 * max(0.5, rng.gauss(1.0, 0.01)) * (1.7 if host.has_neighbour() else 1.0)
            host.time += spent
            fake.spend(spent)

        clock.cpu_s, clock.wall_s = fake.cpu_s, lambda host=host: host.time  # type: ignore[method-assign]
        session = run_session({"net": run}, clock, Plan(visits=5, samples=20, seconds=0.05))
        statistics = summarise(session.visits["net"], single_thread=True)
        covered += statistics.low_s <= truth <= statistics.high_s
        assert statistics.latency_s == pytest.approx(truth, rel=0.02)
    assert covered / 40 >= 0.95 - 3 * (0.95 * 0.05 / 40) ** 0.5


def test_a_device_is_timed_by_its_own_clock_and_its_host_watched() -> None:
    """What feeds a GPU is slowed by the host's neighbours; what copying costs the host says nothing of the GPU."""
    cuda = FakeCuda()
    with watched(CudaClock(cuda.events)) as same:
        assert not isinstance(same, WatchedClock)  # a model of a device has no host
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with watched(CudaClock(cuda.events, on_hardware=True), patience_s=0.0) as clock:
        assert isinstance(clock, WatchedClock) and clock.feeds_device
        began = clock.wall_s()
        cuda.launch("kernel", 5_000_000, host_ns=7_000)
        assert clock.wall_s() - began == pytest.approx(5.007e-3)
        assert clock.machine().frequency_hz is None
        session = run_session(
            {"n": lambda: cuda.launch("kernel", 1_000)}, clock, Plan(visits=3, samples=0, seconds=0.0)
        )
    assert session.copying_s == {"n": []}
    assert before is None or os.sched_getaffinity(0) == before
    seen = NetSample(network=4, total_s=1.0, disturbed=0.0, kernels=(), seconds=())
    sample = looked_at(lambda _index, _graph, _clock: seen, 4, None, clock)  # type: ignore[arg-type]
    assert sample.stream_s == 0.0


def test_a_large_machine_is_not_looked_through_core_by_core(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host({})
    monkeypatch.setattr(neighbours, "_allowed", lambda: tuple(range(2, 130)))
    clock = WatchedClock(probe=host.probe, pin=host.pin, now=lambda: host.time, kept=lambda: 0.0)
    assert clock.cores == tuple(range(2, 18)) and host.time < 16 * 0.06
    clock.close()
    assert host.pinned[-1] == tuple(range(2, 130))


def test_what_an_earlier_calibration_timed_is_no_level_of_hashing() -> None:
    """A loop took twice as long as hashing does: held against that, a neighbour would be no neighbour."""
    earlier = {"noise": {"probe_s": 2 * PROBE_S, "stream_s": QUIET_S}}
    levels = quiet_levels(CalibratedDevice(earlier))
    assert levels == QuietLevels(probe_s=0.0, stream_s=QUIET_S)
    host = Host({0: [(1.0, 99.0)], 1: [(1.0, 99.0)]})
    clock = host.clock(quiet=levels, patience_s=0.0)
    assert clock.least_s == PROBE_S
    host.time = 2.0
    clock.switches()
    assert clock.found_busy == 1


@pytest.mark.parametrize(("waiting_s", "disturbed"), [(0.0009, False), (0.0011, True)])
def test_switched_away_from_is_no_disturbance_but_having_waited_is(
    monkeypatch: pytest.MonkeyPatch, waiting_s: float, disturbed: bool
) -> None:
    """The limit is 1 % of the run, here 0.1 s."""
    count, host, waited = iter(range(10**9)), Host({}), [0.0]
    monkeypatch.setattr(SystemClock, "switches", lambda _: next(count))
    clock = host.clock(kept=lambda: waited[0])

    def run() -> None:
        host.time += 0.1
        waited[0] += waiting_s

    assert take_sample(run, clock).disturbed is disturbed


def test_on_this_machine() -> None:
    """The thread's cores come back."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with watched(SystemClock(), patience_s=0.0) as clock:
        assert isinstance(clock, WatchedClock)
        assert 1e-5 < clock.least_s < 0.1
        assert clock.switches() >= 0 and clock.wall_s() > 0
    assert cores is None or os.sched_getaffinity(0) == cores
    fake = FakeClock()
    with watched(fake) as same:
        assert same is fake
