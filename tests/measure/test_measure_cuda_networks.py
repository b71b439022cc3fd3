"""What one synthetic network is on a fake CUDA device: what is found is what the device was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from fake_cuda import FakeCuda

from cnnprof.errors import DeviceError
from cnnprof.measure import cuda_networks as module
from cnnprof.measure.cuda import CudaClock
from cnnprof.measure.cuda_networks import CudaNetworks, kernels_apart
from cnnprof.measure.synthetic import synthetic_network

pytestmark = pytest.mark.usefixtures("quick_cuda")


def test_a_network_s_kernels_sum_to_its_total() -> None:
    cuda = FakeCuda()
    networks = CudaNetworks(cuda)
    state = torch.random.get_rng_state()
    eager = networks(3, synthetic_network(0, 3), CudaClock(cuda.events))
    (graph,) = networks.graphs
    assert torch.equal(torch.random.get_rng_state(), state)
    busy = [s for s in graph.seconds if s > 1e-8]
    # Replayed: 8 µs to launch, the kernels, 1 µs between two of them.
    assert graph.total_s == pytest.approx(sum(busy) + 8e-6 + 1e-6 * (len(busy) - 1))
    assert min(busy) > 2e-6 and eager.seconds == graph.seconds
    assert eager.total_s > sum(busy)


def test_a_device_that_fails_is_one_line() -> None:
    class Full(FakeCuda):
        def capture(self, call: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSet this and that")

    with pytest.raises(
        DeviceError, match=r"network 0-9-fire failed on CUDA: CUDA out of memory. Tried to allocate 2 GiB.;"
    ):
        CudaNetworks(cuda := Full())(9, synthetic_network(0, 9), CudaClock(cuda.events))


def test_a_real_device_s_kernels_are_looked_at_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profiler slows down every launch after it; so the process that takes the totals never starts one."""

    class Real(FakeCuda):
        on_hardware = True

    asked = []
    there = FakeCuda()

    @contextmanager
    def standing() -> Iterator[Any]:
        monkeypatch.setattr(module, "_torch_cuda", lambda: there)

        def call(function: Any, *arguments: Any) -> Any:
            asked.append(arguments)
            return function(*arguments)

        yield call

    monkeypatch.setattr(module, "in_standing_process", standing)
    here, elsewhere = FakeCuda(), Real()
    elsewhere.profiler.trace = lambda _: pytest.fail("a profiler in the process that is timed")  # type: ignore[method-assign]
    graph = synthetic_network(0, 3)
    expected = CudaNetworks(here)(3, graph, CudaClock(here.events))
    with kernels_apart(elsewhere, 0) as kernel_seconds:
        found = CudaNetworks(elsewhere, kernel_seconds=kernel_seconds)(3, graph, CudaClock(elsewhere.events))
    assert asked == [(0, 3)]
    assert found.seconds == expected.seconds and found.total_s == pytest.approx(expected.total_s)
    with kernels_apart(FakeCuda(), 0) as none:
        assert none is None


def test_a_network_that_no_graph_holds() -> None:
    networks = CudaNetworks(cuda := FakeCuda(captures=False))
    networks(9, synthetic_network(0, 9), CudaClock(cuda.events))
    assert networks.graphs == []
