"""Intervals of whole networks, against errors drawn from a law that is known."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from fake_machine import fake_sample

from cnnprof.measure.calibrate_fit import fit_profile
from cnnprof.measure.calibrate_spread import network_spread
from cnnprof.measure.samples import NetSample
from cnnprof.measure.synthetic import synthetic_network
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.ranges import OUTSIDE_WIDER
from cnnprof.predict.spread import effective_kernels, spread_of
from cnnprof.predict.whole import Whole

_ONE_SECOND = 0.05  # the error's deviation for one kernel of a second


def inside(seconds: object) -> tuple[np.ndarray, np.ndarray]:
    """Kernels all of which the fit's range holds."""
    values = np.array(seconds, dtype=float)
    return values, np.zeros(len(values), dtype=bool)


def drawn(
    rng: np.random.Generator, count: int, *, kernels: float, time: float, disturbance: float, calm: bool = False
) -> tuple[list[NetSample], list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Networks of 1 to 60 equal kernels that take 1 to 300 ms, predicted exactly but for the error."""
    samples, unseen, network = [], [], []
    for index in range(count):
        many = int(rng.integers(1, 61))
        seconds = math.exp(rng.uniform(math.log(1e-3), math.log(0.3)))
        disturbed = 0.0 if calm else float(rng.uniform(0.0, 1.0))
        deviation = _ONE_SECOND * many**-kernels * seconds**-time * math.exp(disturbance * disturbed)
        total = seconds * math.exp(rng.normal(0.0, deviation))
        samples.append(NetSample(network=index, total_s=total, disturbed=disturbed, kernels=(), seconds=()))
        unseen += [seconds / many] * many
        network += [index] * many
    return samples, [inside(unseen)], np.array(network)


def test_the_powers_are_found_and_the_interval_covers_networks_at_rest() -> None:
    rng = np.random.default_rng(0)
    law = {"kernels": 0.3, "time": 0.15, "disturbance": 0.8}
    total = network_spread(*drawn(rng, 3000, **law), whole=Whole(1.0, 0.0))
    assert total["spread_exponent"] == pytest.approx(0.3, abs=0.05)
    assert total["spread_time_exponent"] == pytest.approx(0.15, abs=0.05)
    assert total["spread_disturbance"] == pytest.approx(0.8, abs=0.15)
    assert total["log_quantiles"]["90"][1] == pytest.approx(1.645 * _ONE_SECOND, rel=0.15)  # the normal law's
    for level, said in (("80", 0.80), ("90", 0.90)):
        reach = total["log_quantiles"][level][1]
        # Small and large alike: a reach that didn't know of them would cover one too often, the other too rarely.
        for fewest, most in ((1, 20), (20, 61)):
            covered = []
            for sample, seconds in _fresh(rng, law):
                if fewest <= len(seconds) < most:
                    spread = spread_of(total, effective_kernels(seconds), float(seconds.sum()))
                    covered.append(abs(math.log(sample.total_s / seconds.sum())) <= reach * spread)
            assert np.mean(covered) == pytest.approx(said, abs=0.05)


def _fresh(rng: np.random.Generator, law: dict[str, float]) -> list[tuple[NetSample, np.ndarray]]:
    samples, ((unseen, _),), network = drawn(rng, 2000, **law, calm=True)
    return [(sample, unseen[network == i]) for i, sample in enumerate(samples)]


def test_errors_that_grow_with_size_shrink_nothing() -> None:
    """A power below zero would make small networks surer than they are."""
    total = network_spread(
        *drawn(np.random.default_rng(1), 500, kernels=-0.3, time=-0.1, disturbance=-0.5), whole=Whole(1.0, 0.0)
    )
    assert (total["spread_exponent"], total["spread_time_exponent"], total["spread_disturbance"]) == pytest.approx(
        (0.0, 0.0, 0.0), abs=1e-9
    )


def test_large_batches_are_missed_by_more() -> None:
    """Of one kernel each, missed with a deviation of 3 % times the 0.3rd power of the batch."""
    rng = np.random.default_rng(2)
    kernel = synthetic_kernel()
    samples = []
    for index in range(2000):
        batch = int(rng.choice((1, 1, 2, 4, 8, 16, 32)))
        error = rng.normal(0.0, 0.03 * batch**0.3)
        kernels = (replace(kernel, batch=batch),)
        samples.append(
            NetSample(network=index, total_s=math.exp(error), disturbed=0.0, kernels=kernels, seconds=(1.0,))
        )
    total = network_spread(samples, [inside([1.0] * 2000)], np.arange(2000), Whole(1.0, 0.0))
    assert total["spread_batch_exponent"] == pytest.approx(0.3, abs=0.04)
    reach = total["log_quantiles"]["90"][1]
    for batch in (1, 32):
        errors = [math.log(sample.total_s) for sample in samples if sample.kernels[0].batch == batch]
        spread = spread_of(total, 1.0, 1.0, batch)
        assert np.mean(np.abs(errors) <= reach * spread) == pytest.approx(0.9, abs=0.04)


def synthetic_kernel() -> Kernel:
    return fake_sample(0, synthetic_network(0, 0), random.Random(0)).kernels[0]


def test_networks_that_are_all_alike_have_no_powers() -> None:
    samples = [
        NetSample(network=i, total_s=0.01 * math.exp(0.01 * (-1) ** i), disturbed=0.0, kernels=(), seconds=())
        for i in range(20)
    ]
    total = network_spread(samples, [inside([0.01] * 20)], np.arange(20), Whole(1.0, 0.0))
    assert total["spread_exponent"] == total["spread_time_exponent"] == 0.0
    assert total["log_quantiles"]["90"] == pytest.approx([-0.01, 0.01])


def of_sessions(rng: np.random.Generator, shifts: list[float], count: int, scatter: float) -> float:
    """The deviation found over sessions of ``count`` networks whose errors lie around ``shifts``."""
    errors = np.concatenate([shift + rng.normal(0.0, scatter, count) for shift in shifts])
    samples = [
        NetSample(network=i, total_s=0.01 * math.exp(error), disturbed=0.0, kernels=(), seconds=())
        for i, error in enumerate(errors)
    ]
    session = np.repeat(np.arange(len(shifts)), count)
    unseen = [inside([0.01] * len(samples))]
    total = network_spread(samples, unseen, np.arange(len(samples)), Whole(1.0, 0.0), session)
    return float(total["spread_sessions"])


def test_what_sessions_differ_by() -> None:
    """By hand: medians 2 % either side of the fit have a variance of 2 · 0.02², and so few sessions half as much more.
    Drawn: what a law of 3 % says, none where hours are alike, none of one session or of a few networks."""
    rng = np.random.default_rng(2)
    assert of_sessions(rng, [-0.02, 0.02], 10, 0.0) == pytest.approx(math.sqrt(2 * 0.02**2 * 1.5))
    assert of_sessions(rng, rng.normal(0.0, 0.03, 60).tolist(), 80, 0.1) == pytest.approx(0.03, rel=0.25)
    assert of_sessions(rng, [0.0] * 60, 80, 0.1) < 0.01
    assert of_sessions(rng, [0.05], 200, 0.1) == 0.0
    assert of_sessions(rng, [-0.1, 0.1], 9, 0.01) == 0.0


def test_every_way_of_holding_out_counts_alike() -> None:
    """Twenty networks of a kernel each, missed by 1 to 20 thousandths in one way and by ten times that in the other: of
    the forty errors, 0.001 ... 0.020 and 0.01 ... 0.20, four fifths (and a 21st of that more) are below 0.124."""
    samples = [NetSample(network=i, total_s=0.01, disturbed=0.0, kernels=(), seconds=()) for i in range(20)]
    steps = np.arange(1, 21) * 1e-3
    ways = [inside(0.01 * np.exp(steps)), inside(0.01 * np.exp(10 * steps))]
    total = network_spread(samples, ways, np.arange(20), Whole(1.0, 0.0))
    both = sorted([*steps, *(10 * steps)])
    reach, spread = total["log_quantiles"]["80"][1], 0.01 ** -total["spread_time_exponent"]
    assert reach * spread == pytest.approx(float(np.quantile(both, 0.8 * 21 / 20)), rel=0.05)
    assert network_spread(samples, ways[:1], np.arange(20), Whole(1.0, 0.0))["log_quantiles"]["80"][1] < reach / 3


def half_outside(inside_count: int, outside_count: int, missed: float) -> dict[str, object]:
    """The spread of networks of two equal kernels, missed by 1 %, and of as many more as ``outside_count``, whose
    second kernel is outside of what was seen, by ``missed``."""
    count = inside_count + outside_count
    errors = [0.01] * inside_count + [missed] * outside_count
    samples = [
        NetSample(network=i, total_s=0.02 * math.exp(error), disturbed=0.0, kernels=(), seconds=())
        for i, error in enumerate(errors)
    ]
    outside = np.array([False, False] * inside_count + [False, True] * outside_count)
    ways = [(np.full(2 * count, 0.01), outside)]
    return network_spread(samples, ways, np.repeat(np.arange(count), 2), Whole(1.0, 0.0))


def test_what_lies_outside_counts_for_less_as_its_interval_is_wider() -> None:
    """An interval half as wide again covers what is missed by 1.5 %, so all are as far as their intervals."""
    total = half_outside(20, 10, 0.015)
    assert total["outside_wider"] == OUTSIDE_WIDER
    for level in ("80", "90"):
        assert total["log_quantiles"][level] == pytest.approx([-0.01, 0.01], rel=1e-6)


def test_how_much_wider_is_what_the_errors_say() -> None:
    """Missed by 2.5 % with half of the time outside: 1 + 0.5 · (4 - 1) is 2.5. A few such networks don't tell, and
    luck with those outside makes nothing narrower."""
    total = half_outside(80, 40, 0.025)
    assert total["outside_wider"] == 4.0
    assert total["log_quantiles"]["90"] == pytest.approx([-0.01, 0.01], rel=1e-6)
    assert half_outside(20, 5, 0.025)["outside_wider"] == OUTSIDE_WIDER
    assert half_outside(200, 100, 0.01)["outside_wider"] == OUTSIDE_WIDER


def test_networks_are_held_out_by_style_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three styles: a network is predicted once by a fit that hadn't seen its minutes, once by one without its style."""
    rng = random.Random(0)
    samples = [fake_sample(i, synthetic_network(0, i), rng) for i in range(15)]
    given, folds = [], []

    def spread(_samples: object, unseen: list[tuple[np.ndarray, np.ndarray]], *_: object) -> dict[str, object]:
        given.append([seconds for seconds, _outside in unseen])
        return {}

    def held_out(rows: np.ndarray, residual: np.ndarray, fold: np.ndarray, *_: object, **quick: bool) -> np.ndarray:
        folds.extend([sorted(set(fold.tolist()))] if quick else [])
        return np.where(fold == 2, 0.5, 0.0) if quick and not quick["quick"] else np.zeros(len(rows))

    monkeypatch.setattr("cnnprof.measure.calibrate_fit.network_spread", spread)
    monkeypatch.setattr("cnnprof.measure.calibrate_fit.held_out", held_out)
    plain = fit_profile(samples, seed=0)
    assert len(given[-1]) == 1 and [0, 1, 2] not in folds
    styled = fit_profile(samples, seed=0, style_of=lambda index: "abc"[index % 3])
    assert len(given[-1]) == 2 and [0, 1, 2] in folds
    assert styled["classes"] == plain["classes"] and np.array_equal(given[0][0], given[1][0])
    # Style "c" is fold 2: its networks alone have what that fold's fit says, e^0.5 times the roofline.
    network = np.repeat([s.network for s in samples], [len(s.kernels) for s in samples])
    odd = given[1][1] / given[1][0]
    assert np.median(odd[network % 3 == 2]) == pytest.approx(math.exp(0.5), rel=0.05)
    assert np.median(odd[network % 3 != 2]) == pytest.approx(1.0, rel=0.05)


def test_beyond_what_was_seen_nothing_shrinks_further() -> None:
    total = {"spread_exponent": 0.5, "spread_kernels": 100.0, "spread_time_exponent": 0.1, "spread_s": 0.5}
    assert spread_of(total, 25.0, 0.1) == pytest.approx(25**-0.5 * 0.1**-0.1)  # by hand
    assert spread_of(total, 1e6, 60.0) == pytest.approx(spread_of(total, 100.0, 0.5))
    assert spread_of({**total, "spread_batch_exponent": 0.2}, 25.0, 0.1, 32) == pytest.approx(
        32**0.2 * 25**-0.5 * 0.1**-0.1
    )
    assert spread_of({}, 25.0, 0.1) == 1.0  # a profile from before the powers
    assert effective_kernels(np.array([2.0, 2.0, 2.0])) == pytest.approx(3.0)
    assert effective_kernels(np.array([1.0, 0.0])) == 1.0
