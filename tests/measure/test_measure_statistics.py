"""Statistics on a fake clock: the interval covers the truth as often as it says, and noise is called noise."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from fake_clock import FakeClock, bimodal, drifting, steady, steal_bursts

from cnnprof.measure.clock import MachineState, SystemClock
from cnnprof.measure.noise import LIMITS, NoiseReport, judge
from cnnprof.measure.session import Plan, Session, run_session, take_sample, warm_up
from cnnprof.measure.statistics import Sample, median_interval, quantile, summarise

PLAN = Plan(visits=5, samples=20, seconds=0.05)
TRUE = 0.004
Z20 = -0.8416  # the 20th percentile of a normal


def measured(
    make: Callable[[FakeClock, random.Random], Callable[[], None]], seed: int
) -> tuple[Session, NoiseReport, object]:
    clock, rng = FakeClock(), random.Random(seed)
    anchor = steady(clock, 0.001, rng, jitter=0.002)
    session = run_session({"net": make(clock, rng)}, clock, PLAN, anchor=anchor)
    statistics = summarise(session.visits["net"], single_thread=True, seed=seed)
    assert session.before is not None and session.after is not None
    report = judge(
        statistics,
        session.before,
        session.after,
        own_cpu_s=session.own_cpu_s,
        single_thread=True,
        anchor_s=session.anchor_s,
    )
    return session, report, statistics


@pytest.mark.parametrize(
    ("make", "truth"),
    [
        (lambda c, r: steady(c, TRUE, r), TRUE * (1 + 0.01 * Z20)),
        (lambda c, r: steady(c, TRUE, r, jitter=0.03), TRUE * (1 + 0.03 * Z20)),
        # Disturbed samples are known by their context switches: what is left is the quiet distribution.
        (lambda c, r: steal_bursts(c, TRUE, r), TRUE * (1 + 0.01 * Z20)),
        (lambda c, r: steal_bursts(c, TRUE, r, share=0.7), TRUE * (1 + 0.01 * Z20)),
    ],
    ids=["quiet", "jittery", "steal", "heavy-steal"],
)
def test_interval_covers_the_truth_as_often_as_it_says(make: Callable[..., Callable[[], None]], truth: float) -> None:
    covered, widths, said = 0, [], 0
    for seed in range(120):
        _, report, statistics = measured(make, seed)
        if not report.quiet:
            continue
        said += 1
        covered += statistics.low_s <= truth <= statistics.high_s
        widths.append(statistics.half_width)
    assert said >= 100
    # 95 % of 120 with three standard deviations of a binomial below: 0.95 − 3·sqrt(0.95·0.05/120) = 0.89.
    assert covered / said >= 0.89
    assert np.median(widths) < 0.02  # and not by being wide


def test_switching_clocks_never_pass_unseen_by_more_than_the_interval() -> None:
    """Two clocks 15 % apart: the interval holds what a visit finds in the long run, or the verdict is noise."""
    clock, rng = FakeClock(), random.Random(1)
    run = bimodal(clock, TRUE, TRUE * 1.15, rng)
    long_run = []
    for _ in range(60_000):
        before = clock.cpu
        run()
        long_run.append(clock.cpu - before)
    truth = float(np.median([np.quantile(long_run[i : i + 20], 0.2) for i in range(0, 60_000, 20)]))
    covered = said = 0
    for seed in range(120):
        _, report, statistics = measured(lambda c, r: bimodal(c, TRUE, TRUE * 1.15, r), seed)
        if report.quiet:
            said += 1
            covered += statistics.low_s <= truth <= statistics.high_s
    assert said >= 20
    assert covered / said >= 0.85


@pytest.mark.parametrize(("beside", "kept"), [(True, 1), (False, 2)])
def test_a_neighbour_beside_an_anchor_says_nothing_of_the_pace(beside: bool, kept: int) -> None:
    """The last anchor takes twice as long, every run of it disturbed: it isn't kept, and drift counts as unchecked."""
    clock, rng = FakeClock(), random.Random(0)
    runs: list[int] = []

    def anchor() -> None:
        runs.append(1)
        last = len(runs) > 16  # one to warm up and fifteen that count, before and after
        clock.spend(0.002 if last else 0.001, switches=int(last and beside))

    session = run_session({"net": steady(clock, TRUE, rng)}, clock, PLAN, anchor=anchor)
    assert len(runs) == 32 and len(session.anchor_s) == kept
    assert session.before is not None and session.after is not None
    statistics = summarise(session.visits["net"], single_thread=True)
    report = judge(
        statistics, session.before, session.after, own_cpu_s=1.0, single_thread=True, anchor_s=session.anchor_s
    )
    assert ("anchor" in report.unchecked) is beside
    assert any("the anchor workload drifted by 100%" in reason for reason in report.reasons) is not beside


def test_drift_is_refused_or_covered() -> None:
    """A slow drift lies inside the interval; a fast one is refused by the anchor or by the interval's width."""
    for seed in range(30):
        clock, rng = FakeClock(), random.Random(seed)
        run = drifting(clock, TRUE, 0.05, rng)  # 5 % slower a second: over a run of half a second about 2 %
        session = run_session({"net": run}, clock, PLAN)
        statistics = summarise(session.visits["net"], single_thread=True)
        middle = TRUE * (1 + 0.05 * (clock.wall - 100.0) / 2) * (1 + 0.01 * Z20)
        assert statistics.low_s * 0.995 <= middle <= statistics.high_s * 1.005
    clock, rng = FakeClock(), random.Random(0)
    session = run_session(
        {"net": drifting(clock, TRUE, 1.0, rng)}, clock, PLAN, anchor=drifting(clock, 0.001, 1.0, rng)
    )
    statistics = summarise(session.visits["net"], single_thread=True)
    assert session.before is not None and session.after is not None
    report = judge(
        statistics, session.before, session.after, own_cpu_s=1.0, single_thread=True, anchor_s=session.anchor_s
    )
    assert any("anchor" in reason for reason in report.reasons)
    assert any("wide" in reason for reason in report.reasons)


def _statistics(cpu: float = 0.01, disturbed: float = 0.0, jitter: float = 0.0) -> object:
    rng = random.Random(0)
    visits = [[Sample(cpu, cpu * rng.gauss(1, jitter), rng.random() < disturbed) for _ in range(20)] for _ in range(5)]
    return summarise(visits, single_thread=True)


def _state(**changes: object) -> MachineState:
    values = {
        "wall_s": 0.0,
        "steal_s": 0.0,
        "busy_s": 0.0,
        "throttles": 0,
        "frequency_hz": 3e9,
        "load": 0.1,
        "cores": 2,
    }
    return MachineState(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "single", "anchor", "reason"),
    [
        # 1.2 s stolen in 10 s on two cores: 6 %
        ({"steal_s": 1.2}, True, (), "the hypervisor took 6% of the CPU time"),
        ({"throttles": 3}, True, (), "the CPU throttled 3 times"),
        ({"frequency_hz": 2.4e9}, True, (), "the clock drifted by 20%"),
        ({}, True, (1.0, 1.08), "the anchor workload drifted by 8%"),
        ({"contention": 0.6}, True, (), "neighbours use the cache and the memory: copying took 60% longer"),
        # 18 s of CPU in 10 s, 9 s of them our own: 0.9 cores
        ({"busy_s": 18.0}, False, (), "other processes kept 0.9 cores busy"),
    ],
)
def test_each_check_by_hand(after: dict[str, object], single: bool, anchor: tuple[float, ...], reason: str) -> None:
    state = {"busy_s": 9.0, **after}
    report = judge(
        _statistics(),
        _state(),
        _state(wall_s=10.0, **{name: value for name, value in state.items() if name != "contention"}),
        own_cpu_s=9.0,
        single_thread=single,
        anchor_s=anchor,
        contention=after.get("contention"),
    )
    assert report.reasons == (reason,)
    assert not report.quiet


def test_quiet_is_quiet_and_other_load_is_no_reason_for_one_thread() -> None:
    report = judge(
        _statistics(),
        _state(),
        _state(wall_s=10.0, busy_s=18.0),
        own_cpu_s=9.0,
        single_thread=True,
        anchor_s=(1.0, 1.01),
    )
    assert report.quiet and report.other_busy_cores == pytest.approx(0.9)
    assert report.to_dict()["quiet"] is True


def test_wide_interval_and_disturbed_samples_are_refused() -> None:
    wide = judge(_statistics(jitter=0.6), _state(), _state(wall_s=10.0), own_cpu_s=1.0, single_thread=True)
    assert any("wide" in reason for reason in wide.reasons)
    disturbed = judge(_statistics(disturbed=0.95), _state(), _state(wall_s=10.0), own_cpu_s=1.0, single_thread=True)
    assert any("samples were disturbed" in reason for reason in disturbed.reasons)
    assert LIMITS["disturbed_share"] == 0.80


def test_what_a_system_cannot_tell_is_said_to_be_unchecked() -> None:
    bare = MachineState(wall_s=0.0)
    report = judge(_statistics(), bare, MachineState(wall_s=5.0), own_cpu_s=1.0, single_thread=True)
    assert set(report.unchecked) == {"steal", "throttling", "clock", "other load", "anchor", "contention"}
    assert report.quiet


def test_quantiles_against_numpy() -> None:
    rng = random.Random(3)
    for count in (1, 2, 3, 10, 101):
        values = [rng.random() for _ in range(count)]
        for share in (0.0, 0.2, 0.25, 0.5, 0.9, 1.0):
            assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), abs=1e-15)


def test_median_interval_covers_the_median() -> None:
    """Skewed samples, true median known: exp(0) = 1 of a log-normal."""
    rng = random.Random(7)
    hits = 0
    for _ in range(400):
        low, high = median_interval(sorted(rng.lognormvariate(0, 1) for _ in range(60)))
        hits += low <= 1.0 <= high
    assert 0.92 <= hits / 400 <= 0.995


def test_several_threads_use_the_median_of_wall_time() -> None:
    visits = [[Sample(w, 100.0) for w in (1.0, 2.0, 3.0, 4.0, 100.0)]] * 3
    statistics = summarise(visits, single_thread=False)
    assert statistics.latency_s == 3.0 and statistics.median_s == 3.0 and statistics.minimum_s == 1.0
    assert statistics.statistic == "median of wall time"


def test_interrupt_keeps_what_was_measured() -> None:
    clock, rng = FakeClock(), random.Random(0)
    inner, count = steady(clock, TRUE, rng), {"n": 0}

    def run() -> None:
        count["n"] += 1
        if count["n"] == 50:
            raise KeyboardInterrupt
        inner()

    session = run_session({"net": run}, clock, PLAN)
    assert session.interrupted
    warm = 49 - sum(len(visit) for visit in session.visits["net"])
    assert 3 <= warm <= PLAN.warm_up_runs
    assert summarise(session.visits["net"], single_thread=True).samples == 49 - warm
    assert session.after is not None


def test_runs_are_interleaved_and_the_plan_is_kept() -> None:
    clock, rng, order = FakeClock(), random.Random(0), []
    runs = {name: (lambda name=name: (order.append(name), clock.spend(0.01))) for name in ("a", "b")}
    seen = []
    session = run_session(runs, clock, Plan(visits=2, samples=5, seconds=0.1), progress=lambda *step: seen.append(step))
    # Ten runs of 10 ms make the 0.1 s of a visit (an eleventh where the sum of floats falls short of it).
    assert all(10 <= len(visit) <= 11 for visits in session.visits.values() for visit in visits)
    changes = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert changes == ["a", "b", "a", "b", "a", "b"]  # warm-up, then two rounds
    assert seen == [(1, 4, "a"), (2, 4, "b"), (3, 4, "a"), (4, 4, "b")]
    assert rng is not None


def test_warm_up_waits_until_three_agree() -> None:
    clock = FakeClock()
    times = iter([1.0, 0.5, 0.2, 0.2, 0.2, 9.9])
    assert warm_up(lambda: clock.spend(next(times)), clock, PLAN)
    assert next(times) == 9.9
    growing = iter(range(1, 100))
    assert not warm_up(lambda: clock.spend(2.0 ** next(growing)), clock, Plan(warm_up_runs=10))


def test_the_real_clock_moves() -> None:
    clock = SystemClock()
    before = clock.machine()
    sample = take_sample(lambda: sum(range(200_000)), clock)
    assert 0 < sample.cpu_s <= sample.wall_s * 1.5
    after = clock.machine()
    assert after.wall_s > before.wall_s and after.cores >= 1
    assert before.busy_s is None or after.busy_s >= before.busy_s
