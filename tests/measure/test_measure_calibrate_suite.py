"""A calibration's networks are measured in processes of their own, and the clock here knows what theirs saw."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from fake_clock import FakeClock

from cnnprof.errors import UsageError
from cnnprof.measure import calibrate_suite
from cnnprof.measure.calibrate_suite import looked_at, network_of, networks
from cnnprof.measure.neighbours import QuietLevels, WatchedClock
from cnnprof.measure.samples import NetSample

pytest.importorskip("torch")


def _watched(**options: Any) -> WatchedClock:
    levels = QuietLevels(probe_s=1.0, stream_s=1.0)  # no probe takes a second: nobody is ever busy
    return WatchedClock(quiet=levels, **options)


def test_a_real_network_comes_back_from_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnprof.predict.lower import lower

    pids: list[int] = []
    in_fresh_process = calibrate_suite.in_fresh_process

    def spied(function: Callable[..., Any], visit: Any) -> Any:
        pids.append(in_fresh_process(os.getpid))
        return in_fresh_process(function, visit)

    monkeypatch.setattr(calibrate_suite, "in_fresh_process", spied)
    graph, clock = network_of("torch", 0, 3), _watched(patience_s=1.0)
    with networks("torch", 1, 0) as measure:
        sample = measure(3, graph, clock)
    clock.close()
    assert pids and os.getpid() not in pids
    assert sample.network == 3 and sample.stream_s > 0.0
    # The same convolutions as in the synthetic graph itself, which no torch has run.
    work = [
        sorted(k.flops for k in kernels if k.cls.startswith("conv"))
        for kernels in (sample.kernels, lower(graph, "torch"))
    ]
    assert work[0] == work[1] and work[0]
    assert all(seconds > 0.0 for seconds in sample.seconds)
    assert 0.2 * sample.sum_s < sample.total_s < 5.0 * sample.sum_s


def test_another_clock_measures_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock tells no time in another process."""
    sample = NetSample(network=3, total_s=1.0, disturbed=0.0, kernels=(), seconds=())
    monkeypatch.setattr(calibrate_suite, "in_fresh_process", lambda *_: pytest.fail("another process"))
    monkeypatch.setattr(calibrate_suite, "_here", lambda *_: nullcontext(lambda *_: sample))
    with networks("torch", 1, 0) as measure:
        assert measure(3, network_of("torch", 0, 3), FakeClock()) is sample


def test_no_such_runner() -> None:
    with pytest.raises(UsageError, match="runner 'tvm'"), networks("tvm", 1, 0):
        pass


def test_the_clock_here_counts_what_the_other_saw() -> None:
    clock = _watched(patience_s=10.0)
    left_s = clock.patience_s
    clock.take_over(waited_s=4.0, found_busy=3, levels=QuietLevels(probe_s=0.0, stream_s=0.0))
    assert (clock.waited_s, clock.found_busy, clock.least_s) == (4.0, 3, 0.0)
    assert clock.patience_s == pytest.approx(left_s - 4.0)
    assert clock.quiet_levels.handing_over_s == 0.0  # nobody looked
    clock.take_over(waited_s=7.0, found_busy=0, levels=QuietLevels(probe_s=0.7, stream_s=0.0, handing_over_s=2e-5))
    assert (clock.patience_s, clock.least_s) == (0.0, 0.0)
    assert clock.quiet_levels == QuietLevels(probe_s=0.0, stream_s=0.0, handing_over_s=2e-5)
    clock.close()


def test_the_slower_of_two_looks_at_the_cache_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _watched()
    looks = iter([0.003, 0.002])
    monkeypatch.setattr(WatchedClock, "stream_s", lambda _: next(looks))
    sample = NetSample(network=0, total_s=1.0, disturbed=0.0, kernels=(), seconds=())
    graph = network_of("torch", 0, 0)
    assert looked_at(lambda *_: sample, 0, graph, clock).stream_s == 0.003
    assert looked_at(lambda *_: sample, 0, graph, FakeClock()).stream_s == 0.0
    clock.close()
