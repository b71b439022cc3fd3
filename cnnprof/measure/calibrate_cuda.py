"""Synthetic networks on CUDA, eager, and as CUDA graphs beside: one run of the suite makes two profiles.

Totals are by events, from an idle device to an idle device; a kernel's time is the profiler's, in a process of its own:
once a profiler has looked, launching takes a third longer for as long as the process lives (seen on an H200). An eager
run is a queue that the host fills (:mod:`cnnprof.predict.queue`): what each op costs the host is timed where it stands
(:mod:`cnnprof.measure.queue_fit`). A graph's replay waits for nobody: its total is near the kernels' sum.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from cnnprof import __version__
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import samples_path, save_profile
from cnnprof.errors import CnnprofError, DeviceError, UsageError, first_line
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph
from cnnprof.measure.calibrate import Calibration, calibrate, keep
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_suite import network_of, suite_style
from cnnprof.measure.clock import Clock
from cnnprof.measure.cuda import Cuda, CudaClock, CudaFacts, graph_replay_s
from cnnprof.measure.cuda_torch import TorchCuda, anchor_on
from cnnprof.measure.fresh import in_standing_process
from cnnprof.measure.gpu_trace import seconds_by_op
from cnnprof.measure.profiler_torch import profiled
from cnnprof.measure.queue_fit import check_host_times, fit_queue, queue_errors
from cnnprof.measure.runner_torch import two_ways
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.session import Plan, take_visit
from cnnprof.measure.statistics import total_s
from cnnprof.measure.synthetic_torch import SyntheticModule
from cnnprof.predict.lower import lower
from cnnprof.predict.queue import in_queue
from cnnprof.predict.spread import effective_kernels, spread_of

__all__ = ["GRAPH_RUNNER", "CudaNetworks", "calibrate_cuda", "cuda_profile_name"]

GRAPH_RUNNER = "torch-cuda-graph"
Run = Callable[[], object]
_LEAST_RUNS = 12
_LEAST_S = 0.05
_LONGEST_S = 1.0  # of plain runs: then those beside a neighbour of the host's have to do
_PASSES = 7
_HOST_RUNS = 11
_LEAST_KERNEL_S = 1e-8  # a view has no kernel; fits are in logarithms
_WARM_S = 0.5  # a GPU's clock needs that long to go up
_WARM_RUNS = 5000
_UNKNOWN_80, _UNKNOWN_90 = (-0.10, 0.10), (-0.13, 0.13)  # of kernels, where no graph could be captured to see


def cuda_profile_name(facts: CudaFacts) -> str:
    """The key: GPU, driver, torch, dtype."""
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", facts.name).strip("-").lower()[:40] or "gpu"
    return f"{gpu}-driver-{facts.driver}-torch-{torch.__version__}-float32".replace("+", "_").replace(" ", "-")


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
def _kernels_apart(cuda: Cuda, seed: int) -> Iterator[KernelSeconds | None]:
    """:func:`_kernel_seconds` in a process of its own; None on a device that isn't real: it has no profiler that
    slows it down."""
    if not cuda.on_hardware:
        yield None
        return
    with in_standing_process() as call:
        yield lambda index, _graph: call(_kernel_seconds_of, seed, index)


def calibrate_cuda(
    *,
    runner: str,
    budget_s: float,
    threads: int = 1,
    seed: int = 0,
    name: str | None = None,
    resume: bool = False,
    cuda: Cuda | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Calibration:
    """Calibrate torch on a CUDA device; the profile of CUDA graphs is the result's ``graph``, saved beside the eager
    one as NAME-graph (None where fewer networks than a fit needs could be captured).

    Raises :class:`DeviceError` without CUDA or a view of its kernels, :class:`UsageError` for another runner.
    """
    if runner != "torch":
        raise UsageError(f"calibrate: {runner} on CUDA can't be calibrated", "use --runner torch, or --device cpu")
    cuda = cuda or TorchCuda()
    facts = cuda.facts()
    key = name or cuda_profile_name(facts)
    partial_graphs = samples_path(f"{key}-graph.partial")
    resumed = resume and partial_graphs.exists()
    before = from_csv(partial_graphs.read_text("utf-8"), origin=str(partial_graphs)) if resumed else ()
    check_host_times(before)  # now, and not when all has been measured
    with _kernels_apart(cuda, seed) as kernel_seconds:
        networks = CudaNetworks(
            cuda, before, lambda samples: keep(partial_graphs.name, samples), kernel_seconds=kernel_seconds
        )
        anchor = anchor_on(cuda)
        clock = CudaClock(cuda.events, on_hardware=cuda.on_hardware)
        began = clock.wall_s()
        for _ in range(_WARM_RUNS):
            anchor()
            if clock.wall_s() - began >= _WARM_S:
                break
        fits = _Fits(networks)
        result = calibrate(
            runner=runner, device="cuda", threads=threads, budget_s=budget_s, seed=seed, name=key, resume=resume,
            clock=clock, measure_network=networks, progress=progress, anchor=anchor, fit=fits,
            about={"hardware": facts.hardware(), "versions": {**facts.versions(), "cnnprof": __version__}},
        )  # fmt: skip
    graph = _graph_profile(result.profile, networks.graphs, fits.of_graphs)
    partial_graphs.unlink(missing_ok=True)
    eager = _queued(result.profile, result.samples, graph)
    save_profile(eager, to_csv(result.samples))
    return replace(result, profile=eager, graph=graph)


class _Fits:
    """One fit for both profiles, on the networks as graphs: kernels are the same, and an eager run's total is fitted
    as a queue. Where too few could be captured, on the eager ones (``of_graphs`` is None then)."""

    def __init__(self, networks: CudaNetworks) -> None:
        self._networks = networks
        self.of_graphs: dict[str, Any] | None = None

    def __call__(self, samples: Sequence[NetSample], *, seed: int, mapped_s_per_byte: float) -> dict[str, Any]:
        fit = partial(
            fit_profile, seed=seed, mapped_s_per_byte=mapped_s_per_byte, style_of=partial(suite_style, "torch")
        )
        try:
            self.of_graphs = fit(self._networks.graphs)
        except CnnprofError:
            return fit(samples)
        return self.of_graphs


def _queued(
    profile: CalibratedDevice, samples: Sequence[NetSample], graph: CalibratedDevice | None
) -> CalibratedDevice:
    """The eager profile with the host's times in it, and the intervals and the coherence of that."""
    queue = fit_queue(samples)
    missed, kernels = queue_errors(samples), _kernel_quantiles(graph, samples)
    quantiles = {}
    for level, tail in (("80", 0.10), ("90", 0.05)):
        # The host's errors and those of kernels that no fit has seen are independent: their squares add up.
        low, high = min(0.0, float(np.quantile(missed, tail))), max(0.0, float(np.quantile(missed, 1 - tail)))
        quantiles[level] = [-math.hypot(low, kernels[level][0]), math.hypot(high, kernels[level][1])]
    total = {
        **profile.data["total"], "queue": queue, "log_quantiles": quantiles, "spread_exponent": 0.0,
        "spread_time_exponent": 0.0,
    }  # fmt: skip
    coherence = statistics.median(sum(in_queue(s.kernels, s.seconds, queue, s.calls)) / s.total_s for s in samples)
    gates = []
    for gate in profile.data["gates"]:
        if gate["name"] == "coherence":
            passed = gate["low"] <= coherence <= gate["high"]
            gates.append({**gate, "value": coherence, "passed": passed})
        else:
            gates.append(gate)
    return CalibratedDevice({**profile.data, "total": total, "gates": gates})


def _kernel_quantiles(graph: CalibratedDevice | None, samples: Sequence[NetSample]) -> Mapping[str, Sequence[float]]:
    """How far sums of kernels are missed by fits that hadn't seen them: the graphs', for a usual network."""
    if graph is None:
        return {"80": _UNKNOWN_80, "90": _UNKNOWN_90}
    total = graph.data["total"]
    shrunk = statistics.median(spread_of(total, effective_kernels(np.array(s.seconds)), s.total_s) for s in samples)
    return {level: [edge * shrunk for edge in total["log_quantiles"][level]] for level in ("80", "90")}


def _graph_profile(
    eager: CalibratedDevice, samples: Sequence[NetSample], fitted: dict[str, Any] | None
) -> CalibratedDevice | None:
    """The same networks as CUDA graphs: another runner, its own total and gates."""
    if fitted is None:
        return None
    drift = next((gate["value"] for gate in eager.data["gates"] if gate["name"] == "drift"), None)
    profile = CalibratedDevice(
        {
            **eager.data,
            "name": f"{eager.name}-graph",
            "runner": GRAPH_RUNNER,
            "networks": len(samples),
            "samples": sum(len(sample.kernels) for sample in samples),
            "gates": gates_of(samples, fitted["total"], drift),
            **fitted,
        }
    )
    save_profile(profile, to_csv(samples))
    return profile
