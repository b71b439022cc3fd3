"""Synthetic networks on CUDA, eager, and as CUDA graphs beside: one run of the suite makes two profiles.

Totals are by events, from an idle device to an idle device. A kernel's time is the profiler's; what it waited for
before it started (the host, mostly) is its own too, brought down to what waits are without a profiler
(:func:`cnnprof.measure.gpu_trace.in_place`). For the graph's profile kernels count alone: a replay waits for nobody.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from cnnprof import __version__
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import samples_path, save_profile
from cnnprof.errors import CnnprofError, DeviceError, UsageError
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph
from cnnprof.measure.calibrate import Calibration, calibrate, keep
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.clock import Clock
from cnnprof.measure.cuda import Cuda, CudaClock, CudaFacts, first_line, graph_replay_s
from cnnprof.measure.cuda_torch import TorchCuda, anchor_on
from cnnprof.measure.gpu_trace import in_place, seconds_by_op
from cnnprof.measure.profiler_torch import Profiled, profiled
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.session import take_sample
from cnnprof.measure.statistics import Sample, quantile
from cnnprof.measure.synthetic_torch import SyntheticModule
from cnnprof.predict.lower import lower

__all__ = ["GRAPH_RUNNER", "CudaNetworks", "calibrate_cuda", "cuda_profile_name"]

GRAPH_RUNNER = "torch-cuda-graph"
_LEAST_RUNS = 15
_LEAST_S = 0.05
_PASSES = 7
_LEAST_KERNEL_S = 1e-8  # a view has no kernel; fits are in logarithms
_WARM_S = 0.5  # a GPU's clock needs that long to go up
_WARM_RUNS = 5000


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
        module, x = self._cuda.put(module), self._cuda.put(x)

        def run() -> None:
            with torch.inference_mode():
                module(x)

        def watched() -> None:
            # In inference mode the dispatcher hands composites over whole; the tracer saw them taken apart.
            with torch.no_grad():
                module(x)

        run()
        run()
        samples: list[Sample] = []
        began = clock.wall_s()
        while len(samples) < _LEAST_RUNS or clock.wall_s() - began < _LEAST_S:
            samples.append(take_sample(run, clock))
        total = quantile([sample.wall_s for sample in samples], 0.5)
        found = profiled(traced, self._cuda.profiler, plain=run, watched=watched, passes=_PASSES)
        if not found.seen:
            raise DeviceError(
                "calibrate: the profiler saw no kernels on CUDA",
                "let the process use CUPTI (in a container: --cap-add SYS_ADMIN, or the driver's own setting)",
            )
        names = [op.name for op in traced.ops]
        eager = NetSample(
            network=index,
            total_s=total,
            disturbed=sum(sample.disturbed for sample in samples) / len(samples),
            kernels=kernels,
            seconds=_seconds(found, names, [kernel.name for kernel in kernels], total),
        )
        replay = graph_replay_s(self._cuda, run)
        if replay is not None:
            alone = _seconds(found, names, [kernel.name for kernel in kernels], None)
            self.graphs.append(replace(eager, total_s=replay, disturbed=0.0, seconds=alone))
            self._kept(self.graphs)
        return eager


def _seconds(found: Profiled, ops: Sequence[str], names: Sequence[str], total_s: float | None) -> tuple[float, ...]:
    """Seconds by kernel of the lowering, the medians over passes: with their waits so that they sum to ``total_s``, or
    alone (None)."""
    rows = []
    for one in found.passes:
        own = [kernel.duration_ns * 1e-9 for kernel in one.kernels]
        times = own if total_s is None else in_place(one.kernels, total_s)
        rows.append(seconds_by_op(one.kernels, times, found.owners, ops)[0])
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
    return replace(result, graph=graph)


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
