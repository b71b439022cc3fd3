"""What instruments add to an op and a module's call to a network, against networks made of known parts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_machine import fake_sample

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.frontends.torch.trace import trace
from cnnprof.measure.calibrate_fit import fit_profile
from cnnprof.measure.calibrate_total import fit_whole, totals_s
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.synthetic import synthetic_network
from cnnprof.measure.synthetic_torch import SyntheticModule, containers_around
from cnnprof.predict.calibrated import predict_calibrated
from cnnprof.predict.whole import Whole

ALPHA, DELTA_S, CALL_S = 1.03, 3e-6, 4e-6


def made(calls: float, count: int = 60) -> list[NetSample]:
    """Networks whose totals are α·(Σ − δ·ops) + 4 µs for each call beyond one an op; ``calls`` is the most an op."""
    rng = random.Random(0)
    samples = []
    for index in range(count):
        sample = fake_sample(index, synthetic_network(0, index), rng)
        ops = len(sample.kernels)
        called = ops if calls == 1.0 else round(ops * rng.uniform(0.8, calls))
        total = ALPHA * (sample.sum_s - DELTA_S * ops) + CALL_S * (called - ops)
        samples.append(replace(sample, total_s=total, calls=called))
    return samples


def test_the_parts_are_found() -> None:
    whole = fit_whole(made(2.3))
    assert (whole.alpha, whole.delta_s, whole.call_s) == pytest.approx((ALPHA, DELTA_S, CALL_S), rel=1e-6)
    # Networks that all call as many say nothing of it; nor do tables in which nobody counted.
    alike = fit_whole(made(1.0))
    assert (alike.alpha, alike.delta_s) == pytest.approx((ALPHA, DELTA_S), rel=1e-6) and alike.call_s == 0.0
    some = made(2.3)
    some[0] = replace(some[0], calls=0)
    assert fit_whole(some).call_s == 0.0


def test_calls_cost_no_less_than_nothing() -> None:
    ops = [len(sample.kernels) for sample in made(2.3)]
    cheaper = [
        replace(sample, total_s=sample.total_s - 2 * CALL_S * (sample.calls - many))
        for sample, many in zip(made(2.3), ops, strict=True)
    ]
    assert fit_whole(cheaper).call_s == 0.0


def test_a_total_by_hand() -> None:
    """Two networks: 1.1·((2 − 0.5) + (3 − 0.5)) + 0.25·(4 − 2), and 1.1·(1 − 0.5) + 0.25·(1 − 1)."""
    samples = [replace(sample, kernels=sample.kernels[:many], calls=calls) for sample, many, calls in zip(
        made(1.0, 2), (2, 1), (4, 1), strict=True)]  # fmt: skip
    totals = totals_s(Whole(1.1, 0.5, 0.25), np.array([2.0, 3.0, 1.0]), np.array([0, 0, 1]), samples)
    assert totals == pytest.approx([4.9, 0.55])


def test_a_prediction_has_its_calls_in_it() -> None:
    """They stand between the layers; a graph of which nobody counted calls is taken to have one an op."""
    data = {
        "name": "d", "kind": "cpu", "hardware": {}, "versions": {}, "runner": "torch", "threads": 1, "gates": [],
        "dtype": "float32", **fit_profile(made(2.3), seed=0),
    }  # fmt: skip
    device = CalibratedDevice(data)
    graph = synthetic_network(0, 100)
    one, uncounted = (
        predict_calibrated(replace(graph, module_calls=calls), device) for calls in (len(graph.ops), None)
    )
    more = predict_calibrated(replace(graph, module_calls=len(graph.ops) + 100), device)
    assert uncounted.latency_s == one.latency_s
    assert more.latency_s - one.latency_s == pytest.approx(100 * CALL_S, rel=1e-3)
    assert more.between_layers_s - one.between_layers_s == pytest.approx(100 * CALL_S, rel=1e-3)


def test_calls_are_kept_in_the_table() -> None:
    samples = made(2.3, 12)
    assert [sample.calls for sample in from_csv(to_csv(samples), origin="here")] == [s.calls for s in samples]
    uncounted = [replace(sample, calls=0) for sample in samples]
    assert [sample.calls for sample in from_csv(to_csv(uncounted), origin="here")] == [0] * 12


def test_containers_cost_calls_and_change_nothing_else() -> None:
    graph = synthetic_network(0, 3)
    shape = graph.tensors[graph.inputs[0]].shape or ()
    torch.manual_seed(0)
    plain = SyntheticModule(graph).eval()
    torch.manual_seed(0)
    deep = SyntheticModule(graph, around=1.2, seed=3).eval()
    x = torch.rand(shape)
    with torch.inference_mode():
        assert torch.equal(plain(x), deep(x))
    one, other = trace(plain, [shape]), trace(deep, [shape])
    assert one.module_calls == len(plain.layers) + 1
    containers = (other.module_calls or 0) - (one.module_calls or 0)
    assert len(plain.layers) <= containers <= 1.4 * len(plain.layers)
    assert [op.op_type for op in one.ops] == [op.op_type for op in other.ops]
    # The suite has all kinds, in any twelve of one style too.
    assert {containers_around(index) for index in range(12)} == {0.0, 0.6, 1.2}
