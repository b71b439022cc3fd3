"""Which measurements count: of networks measured twice, and of all networks of a calibration."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from fake_machine import Machine, WorkingClock

from cnnprof.ir import Graph
from cnnprof.measure.calibrate_calm import apart, is_calm, together, undisturbed
from cnnprof.measure.calibrate_run import SuiteRun
from cnnprof.measure.samples import NetSample, quiet_level_s


def _sample(index: int, stream_s: float, disturbed: float = 0.0) -> NetSample:
    return NetSample(network=index, total_s=1.0, disturbed=disturbed, kernels=(), seconds=(), stream_s=stream_s)


def test_networks_measured_beside_neighbours_are_left_out_but_never_most_of_them() -> None:
    calm = [_sample(i, 1.0 + 0.001 * i) for i in range(20)]
    assert quiet_level_s(calm) == pytest.approx(1.00057)  # 3 % into 1.000 ... 1.019
    assert undisturbed(calm) == calm
    some = [*calm, *(_sample(20 + i, 1.5) for i in range(4)), _sample(24, 1.0, disturbed=0.6)]
    assert undisturbed(some) == calm
    # Quiet level 1.027, limit 1.18: two of ten. Four fifths are kept, the one beside a neighbour not among them.
    most = [_sample(i, 1.0 + 0.1 * i, disturbed=0.9 if i == 1 else 0.4) for i in range(10)]
    assert [s.network for s in undisturbed(most)] == [0, 2, 3, 4, 5, 6, 7, 8]
    assert undisturbed([]) == []
    # An extension never leaves fewer than there were, however they compare with the new ones.
    assert len(undisturbed(most, fewest=9)) == 9 and undisturbed(most, fewest=10) == most
    # While the machine was slow: left out first, and back only where too few are left.
    assert [s.network for s in undisturbed(calm, {3, 4, 19})] == [i for i in range(20) if i not in (3, 4, 19)]
    assert [s.network for s in undisturbed(calm, range(10))] == [*range(6), *range(10, 20)]


def test_both_are_averaged_or_the_calmer_one_taken() -> None:
    first = replace(_sample(3, 1.0, 0.2), total_s=2.0, seconds=(0.5, 1.0))
    second = replace(_sample(3, 1.1, 0.4), total_s=3.0, seconds=(0.7, 2.0))
    both = together(first, second, 1.2)
    assert (both.total_s, both.stream_s, both.network) == (2.5, pytest.approx(1.05), 3)
    assert both.disturbed == pytest.approx(0.3) and both.seconds == pytest.approx((0.6, 1.5))
    assert [apart(first, second), apart(second, first)] == pytest.approx([math.log(1.5)] * 2)
    contended, beside = replace(second, stream_s=1.3), replace(second, disturbed=0.6)
    assert together(first, contended, 1.2) is first and together(contended, first, 1.2) is first
    assert together(beside, first, 1.2) is first
    # Neither is calm: the one on a busy core is worse off, and isn't made calm by the other's quiet cache.
    assert together(beside, contended, 1.2) is contended
    assert not is_calm(together(beside, contended, 1.2), 1.2)


class _Twice:
    """Takes five seconds a network, and a tenth longer the second time."""

    def __init__(self, clock: WorkingClock, interrupt_at: int | None = None) -> None:
        self.clock, self.machine, self.seen, self.interrupt_at = clock, Machine(clock), [], interrupt_at

    def __call__(self, index: int, graph: Graph, clock: object) -> NetSample:
        if len(self.seen) == self.interrupt_at:
            raise KeyboardInterrupt
        sample = self.machine(index, graph, clock)
        self.seen.append(index)
        return replace(sample, total_s=1.0 + 0.1 * (self.seen.count(index) - 1))


def _measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget_s: float, **options: int
) -> tuple[SuiteRun, _Twice]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    clock = WorkingClock()
    measure_one = _Twice(clock, **options)
    suite = SuiteRun("torch", 0, clock, measure_one, lambda: None, "box.partial", budget_s, twice=True)
    suite.measure((), 0, afresh=True, progress=None)
    return suite, measure_one


def test_ten_networks_are_measured_again_before_the_next_ten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite, measure_one = _measured(monkeypatch, tmp_path, 170.0)
    assert measure_one.seen == [*range(10), *range(10), *range(10, 20), *range(10, 14)]  # 34 at 5 s
    assert [sample.network for sample in suite.samples] == list(range(20))
    assert [sample.total_s for sample in suite.samples] == pytest.approx([1.05] * 14 + [1.0] * 6)
    noise = suite.noise(suite.samples)
    assert noise["twice"] == 14 and noise["twice_apart"] == pytest.approx(math.log(1.1))


def test_an_interrupt_keeps_what_was_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite, _ = _measured(monkeypatch, tmp_path, 1000.0, interrupt_at=13)
    assert suite.interrupted and [sample.network for sample in suite.samples] == list(range(10))
    assert [sample.total_s for sample in suite.samples] == pytest.approx([1.05] * 3 + [1.0] * 7)
