"""The queue between host and GPU, by hand, and its fit on queues made up of known times."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from cnnprof.errors import SchemaError
from cnnprof.measure.queue_fit import fit_queue, queue_errors
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.queue import in_queue, issue_key

US = 1e-6


def kernel(cls: str) -> Kernel:
    return Kernel(name=cls, ops=(cls,), cls=cls)


def test_by_hand() -> None:
    """Host: 2 to start, 5 a conv, 3 an activation, 1 a view, 4 anything else. Issued at 7, 10, 11, 15, 20.

    The conv runs 7 to 27; the activation is ready at 10 and waits, 27 to 29; the view has no kernel; "other" follows at
    29 to 30; the last conv too, 30 to 36."""
    queue = {
        "start_s": 2 * US,
        "other_s": 4 * US,
        "host_s": {"conv_dense": 5 * US, "activation": 3 * US, "view": 1 * US},
    }
    kernels = [kernel(c) for c in ("conv_dense", "activation", "view", "other", "conv_dense")]
    spent = in_queue(kernels, [20 * US, 2 * US, 0.0, 1 * US, 6 * US], queue)
    assert [s / US for s in spent] == pytest.approx([27, 2, 0, 1, 6])
    # Short kernels wait for the host: ends at 8, 12, -, 16, 21.
    spent = in_queue(kernels, [1 * US, 2 * US, 0.0, 1 * US, 1 * US], queue)
    assert [s / US for s in spent] == pytest.approx([8, 4, 0, 4, 5])
    # Ten modules at 2 around five ops: 4 more an op, so they're issued at 11, 18, 23, 31, 40.
    spent = in_queue(kernels, [1 * US, 2 * US, 0.0, 1 * US, 1 * US], {**queue, "call_s": 2 * US}, 10)
    assert [s / US for s in spent] == pytest.approx([12, 8, 0, 12, 9])
    # Nobody knows how many: one an op.
    spent = in_queue(kernels, [1 * US, 2 * US, 0.0, 1 * US, 1 * US], {**queue, "call_s": 2 * US})
    assert sum(spent) / US == pytest.approx(31)
    # Views at the end cost the host alone: 7 + 1 done at 8, issued to 10.
    spent = in_queue([kernel("conv_dense"), *[kernel("view")] * 3], [1 * US, 0.0, 0.0, 0.0], queue)
    assert sum(spent) / US == pytest.approx(10)
    assert in_queue([], [], queue) == []


def test_a_bias_is_a_kernel_more() -> None:
    """16 channels to 32, 3x3, 4 bytes: 18 432 bytes of weights, with 32 biases 128 more."""
    conv = Kernel(
        name="c", ops=("c",), cls="conv_dense", channels_in=16, channels_out=32, taps=9, bytes_weights=18_432.0
    )
    biased = replace(conv, bytes_weights=18_560.0)
    assert (issue_key(conv), issue_key(biased)) == ("conv_dense", "conv_dense+bias")
    queue = {"start_s": 0.0, "other_s": 1 * US, "host_s": {"conv_dense": 5 * US}}
    assert in_queue([biased], [1 * US], queue) == pytest.approx([6 * US])  # as without, where none was seen
    seen = {**queue, "host_s": {"conv_dense+bias": 9 * US}}
    assert in_queue([biased], [1 * US], seen) == pytest.approx([10 * US])


def made_up(host: dict[str, float], start: float, call: float, count: int = 40) -> list[NetSample]:
    """Networks whose end is worked out here, event by event, from the times that the fit doesn't know."""
    rng = random.Random(0)
    samples = []
    for index in range(count):
        scale = rng.choice((1, 1, 4))
        names = [rng.choice(tuple(host)) for _ in range(rng.randint(30, 90))]
        seconds = [1e-8 if name == "view" else rng.uniform(1, 6) * scale * US for name in names]
        modules = rng.randint(1, 3)  # around each op
        now, free = start, 0.0
        for name, own in zip(names, seconds, strict=True):
            now += host[name] + modules * call
            if name != "view":
                free = max(now, free) + own
        samples.append(
            NetSample(network=index, total_s=max(now, free), disturbed=0.0, kernels=tuple(map(kernel, names)),
                      seconds=tuple(seconds), host_s=tuple(host[name] for name in names), calls=modules * len(names))
        )  # fmt: skip
    return samples


def test_the_host_s_times_are_found_again() -> None:
    samples = made_up({"conv_dense": 9 * US, "activation": 4 * US, "view": 1 * US}, start=10 * US, call=1.5 * US)
    found = fit_queue(samples)
    assert {name: value / US for name, value in found["host_s"].items()} == pytest.approx(
        {"conv_dense": 9, "activation": 4, "view": 1}
    )
    assert (found["start_s"] / US, found["call_s"] / US) == pytest.approx((10, 1.5), rel=0.02)
    assert abs(queue_errors(samples)).max() < 0.01
    assert fit_queue(samples) == found
    # The machine's pace was another one for a few: they hardly count.
    slowed = [replace(s, total_s=1.5 * s.total_s) if s.network % 10 == 3 else s for s in samples]
    found = fit_queue(slowed)
    assert (found["start_s"] / US, found["call_s"] / US) == pytest.approx((10, 1.5), rel=0.25)


def test_the_table_keeps_what_the_host_took() -> None:
    samples = made_up({"conv_dense": 9 * US, "view": 1 * US}, start=10 * US, call=1.5 * US, count=3)
    again = from_csv(to_csv(samples), origin="test")
    assert [(s.host_s, s.calls, s.total_s) for s in again] == [(s.host_s, s.calls, s.total_s) for s in samples]
    without = [replace(sample, host_s=(), calls=0) for sample in samples]
    assert from_csv(to_csv(without), origin="test")[0].host_s == ()
    assert "host_s" not in to_csv(without)
    # Beside others that have them they stay unknown, and don't become zero.
    assert [bool(s.host_s) for s in from_csv(to_csv([without[0], *samples[1:]]), origin="test")] == [False, True, True]
    with pytest.raises(SchemaError, match="without the host's times"):
        fit_queue(without)
