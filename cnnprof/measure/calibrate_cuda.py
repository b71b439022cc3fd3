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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from cnnprof import __version__
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import samples_path, save_profile
from cnnprof.errors import CnnprofError, UsageError
from cnnprof.measure.calibrate import Calibration, calibrate
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_run import keep
from cnnprof.measure.calibrate_suite import suite_style
from cnnprof.measure.cuda import Cuda, CudaClock, CudaFacts
from cnnprof.measure.cuda_networks import CudaNetworks, kernels_apart
from cnnprof.measure.cuda_torch import TorchCuda, anchor_on
from cnnprof.measure.queue_fit import check_host_times, fit_queue, queue_errors
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.side_by_side import workers_here
from cnnprof.predict.queue import in_queue
from cnnprof.predict.spread import effective_kernels, spread_of

__all__ = ["GRAPH_RUNNER", "calibrate_cuda", "cuda_profile_name"]

GRAPH_RUNNER = "torch-cuda-graph"
_WARM_S = 0.5  # a GPU's clock needs that long to go up
_WARM_RUNS = 5000
_UNKNOWN_80, _UNKNOWN_90 = (-0.10, 0.10), (-0.13, 0.13)  # of kernels, where no graph could be captured to see


def cuda_profile_name(facts: CudaFacts) -> str:
    """The key: GPU, driver, torch, dtype."""
    gpu = re.sub(r"[^A-Za-z0-9]+", "-", facts.name).strip("-").lower()[:40] or "gpu"
    return f"{gpu}-driver-{facts.driver}-torch-{torch.__version__}-float32".replace("+", "_").replace(" ", "-")


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
    with kernels_apart(cuda, seed) as kernel_seconds:
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
            fit_profile, seed=seed, mapped_s_per_byte=mapped_s_per_byte, style_of=partial(suite_style, "torch"),
            workers=workers_here(),
        )  # fmt: skip
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
