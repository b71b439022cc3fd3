"""A machine made up by hand, whose rates are known, and calibrations of it on a fake clock."""

from __future__ import annotations

import math
import random

from fake_clock import FakeClock

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.ir import Graph
from cnnprof.measure.calibrate import Calibration, calibrate
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.samples import NetSample
from cnnprof.measure.synthetic import synthetic_network
from cnnprof.predict.kernels import MATRIX_CLASSES, Kernel
from cnnprof.predict.lower import lower

FLOPS, BYTES, OVERHEAD, ALPHA, DELTA = 50e9, 10e9, 8e-6, 1.04, 3e-6


def truth(kernel: Kernel) -> float:
    """50 GFLOP/s (a fifth for narrow convolutions), 10 GB/s, 8 µs a call."""
    rate = FLOPS / (5 if kernel.cls in MATRIX_CLASSES and kernel.channels_in < 48 else 1)
    compute, memory = kernel.flops / rate, kernel.bytes_moved / BYTES
    return OVERHEAD + (compute**4 + memory**4) ** 0.25


def fake_sample(index: int, graph: Graph, rng: random.Random, noise: float = 0.02) -> NetSample:
    kernels = lower(graph, "fused")
    seconds = tuple(truth(k) * math.exp(rng.gauss(0, noise)) for k in kernels)
    total = ALPHA * sum(truth(k) - DELTA for k in kernels) * math.exp(rng.gauss(0, 0.01))
    return NetSample(network=index, total_s=total, disturbed=0.0, kernels=kernels, seconds=seconds)


def measured_on(seed: int) -> list[NetSample]:
    """110 networks on the machine made up by hand; another ``seed``, other noise."""
    rng = random.Random(seed)
    return [fake_sample(i, synthetic_network(0, i), rng) for i in range(110)]


def fitted_to(samples: list[NetSample]) -> CalibratedDevice:
    fitted = fit_profile(samples, seed=0)
    return CalibratedDevice({
        "name": "made-up", "kind": "cpu", "hardware": {"processor": "Made Up"}, "versions": {}, "runner": "torch",
        "lowering": "fused", "threads": 1, "dtype": "float32", "gates": gates_of(samples, fitted["total"], 0.01), **fitted,
    })  # fmt: skip


class Machine:
    """Measures a network on the fake clock: five seconds each."""

    def __init__(self, clock: FakeClock, interrupt_at: int | None = None) -> None:
        self.clock, self.interrupt_at, self.seen = clock, interrupt_at, []
        self.rng = random.Random(0)

    def __call__(self, index: int, graph: Graph, _clock: object) -> NetSample:
        if index == self.interrupt_at:
            raise KeyboardInterrupt
        self.seen.append(index)
        self.clock.spend(5.0)
        return fake_sample(index, graph, self.rng)


class WorkingClock(FakeClock):
    """The anchor runs for real; on this clock it takes a millisecond."""

    def cpu_s(self) -> float:
        self.cpu += 0.001
        return self.cpu


def run(machine_clock: FakeClock, machine: Machine, **options: object) -> Calibration:
    return calibrate(runner="torch", clock=machine_clock, measure_network=machine, name="box", budget_s=60.0, **options)
