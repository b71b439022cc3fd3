"""The queue between host and GPU, by hand, and its fit on queues made up of known times."""

from __future__ import annotations

import random

import pytest

from cnnprof.measure.queue_fit import fit_queue, queue_errors
from cnnprof.measure.samples import NetSample
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.queue import in_queue

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
    # Views at the end cost the host alone: 7 + 1 done at 8, issued to 10.
    spent = in_queue([kernel("conv_dense"), *[kernel("view")] * 3], [1 * US, 0.0, 0.0, 0.0], queue)
    assert sum(spent) / US == pytest.approx(10)
    assert in_queue([], [], queue) == []


def test_the_host_s_times_are_found_again() -> None:
    """Networks whose end is worked out here, event by event, from the times that the fit doesn't know."""
    host = {"conv_dense": 9 * US, "activation": 4 * US, "view": 1 * US}
    rng = random.Random(0)
    samples = []
    for index in range(40):
        scale = rng.choice((1, 1, 4))
        names = [rng.choice(tuple(host)) for _ in range(rng.randint(30, 90))]
        seconds = [1e-8 if name == "view" else rng.uniform(1, 6) * scale * US for name in names]
        now, free = 10 * US, 0.0
        for name, own in zip(names, seconds, strict=True):
            now += host[name]
            if name != "view":
                free = max(now, free) + own
        samples.append(
            NetSample(network=index, total_s=max(now, free), disturbed=0.0, kernels=tuple(map(kernel, names)),
                      seconds=tuple(seconds))
        )  # fmt: skip
    found = fit_queue(samples)
    assert {name: value / US for name, value in found["host_s"].items()} == pytest.approx(
        {"conv_dense": 9, "activation": 4, "view": 1}, abs=0.3
    )
    assert abs(queue_errors(samples)).max() < 0.03
    assert fit_queue(samples) == found
