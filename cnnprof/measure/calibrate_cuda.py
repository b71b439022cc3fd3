"""Synthetic networks on CUDA, eager, and as CUDA graphs beside: one run of the suite makes two profiles.

Totals are by events, from an idle device to an idle device; a kernel's time is the profiler's. An eager run is a queue
that the host fills (:mod:`cnnprof.predict.queue`): what each class costs the host is fitted on the totals
(:mod:`cnnprof.measure.queue_fit`). A graph's replay waits for nobody: its total is near the kernels' sum.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

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
from cnnprof.measure.clock import Clock
from cnnprof.measure.cuda import Cuda, CudaClock, CudaFacts, graph_replay_s
from cnnprof.measure.cuda_torch import TorchCuda, anchor_on
from cnnprof.measure.gpu_trace import seconds_by_op
from cnnprof.measure.profiler_torch import Profiled, profiled
from cnnprof.measure.queue_fit import fit_queue, queue_errors
from cnnprof.measure.runner_torch import two_ways
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.session import take_sample
from cnnprof.measure.statistics import Sample, total_s
from cnnprof.measure.synthetic_torch import SyntheticModule
from cnnprof.predict.calibrated import effective_kernels
from cnnprof.predict.lower import lower
from cnnprof.predict.queue import in_queue

__all__ = ["GRAPH_RUNNER", "CudaNetworks", "calibrate_cuda", "cuda_profile_name"]

GRAPH_RUNNER = "torch-cuda-graph"
_LEAST_RUNS = 15
_LEAST_S = 0.05
_PASSES = 7
_LEAST_KERNEL_S = 1e-8  # a view has no kernel; fits are in logarithms
_WARM_S = 0.5  # a GPU's clock needs that long to go up
_WARM_RUNS = 5000
_UNKNOWN_80, _UNKNOWN_90 = (-0.10, 0.10), (-0.13, 0.13)  # of kernels, where no graph could be captured to see


def cuda_profile_name(facts: CudaFacts) -> str:
    """The key: GPU, driver, torch, dtype."""
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", facts.name).strip("-").lower()[:40] or "gpu"
    return f"{gpu}-driver-{facts.driver}-torch-{torch.__version__}-float32".replace("+", "_").replace(" ", "-")


class CudaNetworks:
    """Measures one network after the other; keeps what they are as CUDA graphs in ``graphs`` (those that can be
    captured). ``kept`` is called with these whenever there's a new one."""

    def __init__(
        self,
        cuda: Cuda,
        graphs: Sequence[NetSample] = (),
        kept: Callable[[Sequence[NetSample]], None] = lambda _samples: None,
    ) -> None:
        self._cuda, self._kept = cuda, kept
        self.graphs: list[NetSample] = list(graphs)

    def __call__(self, index: int, graph: Graph, clock: Clock) -> NetSample:
        """Raises :class:`DeviceError` where the profiler sees no kernels, or the device fails."""
        try:
            return self._measured(index, graph, clock)
        except RuntimeError as error:
            raise DeviceError(
                f"calibrate: network {graph.source.name} failed on CUDA: {first_line(error)}",
                "make room on the device, then go on with --resume",
            ) from error

    def _measured(self, index: int, graph: Graph, clock: Clock) -> NetSample:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(index)
            module = SyntheticModule(graph).eval()
            shape = graph.tensors[graph.inputs[0]].shape or ()
            x = torch.rand(shape)
        traced = trace(module, [shape])
        kernels = lower(traced, "torch")
        run, watched = two_ways(self._cuda.put(module), self._cuda.put(x))
        run()
        run()
        samples: list[Sample] = []
        began = clock.wall_s()
        while len(samples) < _LEAST_RUNS or clock.wall_s() - began < _LEAST_S:
            samples.append(take_sample(run, clock))
        found = profiled(traced, self._cuda.profiler, plain=run, watched=watched, passes=_PASSES)
        if not found.seen:
            raise DeviceError(
                "calibrate: the profiler saw no kernels on CUDA",
                "let the process use CUPTI (in a container: --cap-add SYS_ADMIN, or the driver's own setting)",
            )
        names = [op.name for op in traced.ops]
        eager = NetSample(
            network=index,
            total_s=total_s(samples, single_thread=False),
            disturbed=sum(sample.disturbed for sample in samples) / len(samples),
            kernels=kernels,
            seconds=_seconds(found, names, [kernel.name for kernel in kernels]),
        )
        replay = graph_replay_s(self._cuda, run)
        if replay is not None:
            # A network may be measured a second time: the later one counts.
            self.graphs = [sample for sample in self.graphs if sample.network != index]
            self.graphs.append(replace(eager, total_s=replay, disturbed=0.0))
            self._kept(self.graphs)
        return eager


def _seconds(found: Profiled, ops: Sequence[str], names: Sequence[str]) -> tuple[float, ...]:
    """Kernel seconds by kernel of the lowering, the medians over passes."""
    rows = []
    for one in found.passes:
        own = [kernel.duration_ns * 1e-9 for kernel in one.kernels]
        rows.append(seconds_by_op(one.kernels, own, found.owners, ops)[0])
    return tuple(max(statistics.median(row[name] for row in rows), _LEAST_KERNEL_S) for name in names)


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
    partial = samples_path(f"{key}-graph.partial")
    before = from_csv(partial.read_text("utf-8"), origin=str(partial)) if resume and partial.exists() else ()
    networks = CudaNetworks(cuda, before, lambda samples: keep(partial.name, samples))
    anchor = anchor_on(cuda)
    clock = CudaClock(cuda.events)
    began = clock.wall_s()
    for _ in range(_WARM_RUNS):
        anchor()
        if clock.wall_s() - began >= _WARM_S:
            break
    versions = {**facts.versions(), "cnnprof": __version__}
    result = calibrate(
        runner=runner, device="cuda", threads=threads, budget_s=budget_s, seed=seed, name=key, resume=resume,
        clock=clock, measure_network=networks, progress=progress, anchor=anchor,
        about={"hardware": facts.hardware(), "versions": versions},
    )  # fmt: skip
    graph = _graph_profile(result.profile, networks.graphs, seed)
    partial.unlink(missing_ok=True)
    eager = _queued(result.profile, result.samples, graph)
    save_profile(eager, to_csv(result.samples))
    return replace(result, profile=eager, graph=graph)


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
        "spread_kernels": 1.0,
    }  # fmt: skip
    coherence = statistics.median(sum(in_queue(s.kernels, s.seconds, queue)) / s.total_s for s in samples)
    gates = []
    for gate in profile.data["gates"]:
        if gate["name"] == "coherence":
            passed = gate["low"] <= coherence <= gate["high"]
            gates.append({**gate, "value": coherence, "passed": passed})
        else:
            gates.append(gate)
    return CalibratedDevice({**profile.data, "total": total, "gates": gates})


def _kernel_quantiles(graph: CalibratedDevice | None, samples: Sequence[NetSample]) -> Mapping[str, Sequence[float]]:
    """How far sums of kernels are missed by fits that hadn't seen them: the graphs', at a usual number of kernels."""
    if graph is None:
        return {"80": _UNKNOWN_80, "90": _UNKNOWN_90}
    total = graph.data["total"]
    usual = statistics.median(effective_kernels(np.array(sample.seconds)) for sample in samples)
    shrunk = min(usual, total["spread_kernels"]) ** -total["spread_exponent"]
    return {level: [edge * shrunk for edge in total["log_quantiles"][level]] for level in ("80", "90")}


def _graph_profile(eager: CalibratedDevice, samples: Sequence[NetSample], seed: int) -> CalibratedDevice | None:
    """The same networks as CUDA graphs: another runner, its own fit and gates."""
    try:
        fitted = fit_profile(samples, seed=seed)
    except CnnprofError:  # too few of the networks could be captured
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
