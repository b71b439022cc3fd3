"""One synthetic network on CUDA, measured: its eager run's total, its total as a CUDA graph, what issuing each op takes
the host, and each kernel's time, which a process of its own looks at."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from cnnprof.errors import DeviceError, first_line
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph
from cnnprof.measure.calibrate_suite import network_of
from cnnprof.measure.clock import Clock
from cnnprof.measure.cuda import Cuda, graph_replay_s
from cnnprof.measure.cuda_torch import TorchCuda
from cnnprof.measure.fresh import in_standing_process
from cnnprof.measure.gpu_trace import seconds_by_op
from cnnprof.measure.profiler_torch import profiled
from cnnprof.measure.runner_torch import two_ways
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import Plan, take_visit
from cnnprof.measure.statistics import total_s
from cnnprof.measure.synthetic_torch import SyntheticModule
from cnnprof.predict.lower import lower

__all__ = ["CudaNetworks", "KernelSeconds", "kernels_apart"]

Run = Callable[[], object]
_LEAST_RUNS = 12
_LEAST_S = 0.05
_LONGEST_S = 1.0  # of plain runs: then those beside a neighbour of the host's have to do
_PASSES = 7
_HOST_RUNS = 11
_LEAST_KERNEL_S = 1e-8  # a view has no kernel; fits are in logarithms

KernelSeconds = Callable[[int, Graph], Mapping[str, float] | None]


class CudaNetworks:
    """Measures one network after the other; keeps what they are as CUDA graphs in ``graphs`` (those that can be
    captured). ``kept`` is called with these whenever there's a new one; ``kernel_seconds`` stands in for
    :func:`_kernel_seconds` on this device."""

    def __init__(
        self,
        cuda: Cuda,
        graphs: Sequence[NetSample] = (),
        kept: Callable[[Sequence[NetSample]], None] = lambda _samples: None,
        kernel_seconds: KernelSeconds | None = None,
    ) -> None:
        self._cuda, self._kept = cuda, kept
        self._kernel_seconds = kernel_seconds or partial(_kernel_seconds, cuda)
        self.graphs: list[NetSample] = list(graphs)

    def __call__(self, index: int, graph: Graph, clock: Clock) -> NetSample:
        """Raises :class:`DeviceError` where the profiler sees no kernels, or the device fails."""
        try:
            return self._measured(index, graph, clock)
        except RuntimeError as error:
            raise _failed(graph, error) from error

    def _measured(self, index: int, graph: Graph, clock: Clock) -> NetSample:
        built = _built(self._cuda, index, graph)
        traced, run = built.traced, built.run
        kernels = lower(traced, "torch")
        plan = Plan(samples=_LEAST_RUNS, seconds=_LEAST_S, longest_s=_LONGEST_S, fewest=_LEAST_RUNS)
        samples = take_visit(run, clock, plan)
        host_s = _host_s(self._cuda, built)
        replay = graph_replay_s(self._cuda, run)
        seconds = self._kernel_seconds(index, graph)
        if seconds is None:
            raise DeviceError(
                "calibrate: the profiler saw no kernels on CUDA",
                "let the process use CUPTI (in a container: --cap-add SYS_ADMIN, or the driver's own setting)",
            )
        eager = NetSample(
            network=index,
            total_s=total_s(samples, single_thread=False),
            disturbed=sum(sample.disturbed for sample in samples) / len(samples),
            kernels=kernels,
            seconds=tuple(seconds[kernel.name] for kernel in kernels),
            host_s=host_s,
            calls=traced.module_calls or 0,
        )
        if replay is not None:
            # A network may be measured a second time: the later one counts.
            self.graphs = [sample for sample in self.graphs if sample.network != index]
            self.graphs.append(replace(eager, total_s=replay, disturbed=0.0))
            self._kept(self.graphs)
        return eager


@dataclass(frozen=True, slots=True)
class _Built:
    """A network on the device: as traced, its module, and its runs as :func:`two_ways` gives them."""

    traced: Graph
    module: SyntheticModule
    run: Run
    watched: Run


def _built(cuda: Cuda, index: int, graph: Graph) -> _Built:
    """Network ``index`` on the device, run twice before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(index)
        module = SyntheticModule(graph).eval()
        shape = graph.tensors[graph.inputs[0]].shape or ()
        x = torch.rand(shape)
    traced = trace(module, [shape])
    module = cuda.put(module)
    run, watched = two_ways(module, cuda.put(x))
    run()
    run()
    return _Built(traced, module, run, watched)


def _host_s(cuda: Cuda, built: _Built) -> tuple[float, ...]:
    """What issuing each op takes the host, in seconds, the medians over runs; of a layer that is several ops, an equal
    part each."""
    with built.module.timed(cuda.host_s) as spent:
        for _ in range(1 + _HOST_RUNS):  # the first run isn't counted
            built.run()
            cuda.events.record()  # waits: a queue that is full would have the host wait as well
    layers = [int(op.name.partition("/")[0].removeprefix("layer")) for op in built.traced.ops]  # "layer3/conv"
    ops = Counter(layers)
    return tuple(statistics.median(spent[layer][1:]) / ops[layer] for layer in layers)


def _failed(graph: Graph, error: RuntimeError) -> DeviceError:
    return DeviceError(
        f"calibrate: network {graph.source.name} failed on CUDA: {first_line(error)}",
        "make room on the device, then go on with --resume",
    )


def _kernel_seconds(cuda: Cuda, index: int, graph: Graph) -> Mapping[str, float] | None:
    """Kernel seconds by op, the medians over passes; None where the profiler saw none."""
    built = _built(cuda, index, graph)
    traced = built.traced
    found = profiled(traced, cuda.profiler, plain=built.run, watched=built.watched, passes=_PASSES)
    if not found.seen:
        return None
    rows = []
    ops = [op.name for op in traced.ops]
    for one in found.passes:
        own = [kernel.duration_ns * 1e-9 for kernel in one.kernels]
        rows.append(seconds_by_op(one.kernels, own, found.owners, ops)[0])
    return {op: max(statistics.median(row[op] for row in rows), _LEAST_KERNEL_S) for op in ops}


def _kernel_seconds_of(seed: int, index: int) -> Mapping[str, float] | None:
    """The same in a process that looks at kernels alone: it finds the network by its place in the suite."""
    graph = network_of("torch", seed, index)
    try:
        return _kernel_seconds(_torch_cuda(), index, graph)
    except RuntimeError as error:
        raise _failed(graph, error) from error


@cache
def _torch_cuda() -> TorchCuda:
    return TorchCuda()


@contextmanager
def kernels_apart(cuda: Cuda, seed: int) -> Iterator[KernelSeconds | None]:
    """:func:`_kernel_seconds` in a process of its own; None on a device that isn't real: it has no profiler that
    slows it down."""
    if not cuda.on_hardware:
        yield None
        return
    with in_standing_process() as call:
        yield lambda index, _graph: call(_kernel_seconds_of, seed, index)
