"""The parts of ``make gpu-check``: is the timing right, how good are predictions, how much memory does a model take.

Each takes a :class:`~cnnprof.measure.cuda.Cuda` and gives plain data for the report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from cnnprof.analyses.memory import memory
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.catalogue import catalogue
from cnnprof.frontends.sources import load_graph
from cnnprof.frontends.torch.references import load_module
from cnnprof.measure.accuracy import Compared
from cnnprof.measure.cuda import Cuda, CudaClock
from cnnprof.measure.gpu_trace import PASS, passes_of, totals
from cnnprof.measure.run import measure
from cnnprof.measure.runner_torch import TorchRunner
from cnnprof.measure.session import Plan, run_session
from cnnprof.measure.statistics import summarise
from cnnprof.measure.verify import compared
from cnnprof.predict.front import predict

__all__ = ["Profiles", "Work", "check_memory", "check_timing", "judge_model", "measured_again", "works"]

Run = Callable[[], object]
ROUNDING_BYTES = 512  # of torch's CUDA allocator
_IN_A_ROW = 20
_TIMING = Plan(visits=3, samples=20, seconds=0.1, longest_s=2.0)
_MODEL = Plan(visits=3, samples=12, seconds=0.15, longest_s=2.0)
_AGAIN = Plan(visits=3, samples=8, seconds=0.1, longest_s=1.0)
_AGREE = 0.05  # a session's median against events by hand
_KERNELS = (0.85, 1.03)  # the sum of kernels against events by hand: launches in a row hide all but the first
_ROOF = 1.05  # no work is done faster than the peak; clocks boost a little above the datasheet's


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run of known size: ``flops`` a run (2 a multiply-accumulate); ``tf32``: may use the tensor cores."""

    name: str
    flops: int
    run: Run
    tf32: bool


def works(cuda: Cuda, side: int = 4096, channels: int = 256, spatial: int = 56, batch: int = 64) -> tuple[Work, ...]:
    """A product of ``side``³ and a 3x3 convolution: milliseconds even on a large GPU, so that launches don't count."""
    allowed = cuda.facts().tf32
    with torch.random.fork_rng(devices=[]):
        product = nn.Linear(side, side, bias=False).eval()
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
        given = {"matmul": torch.rand(side, side), "conv": torch.rand(batch, channels, spatial, spatial)}
    flops = {"matmul": 2 * side**3, "conv": 2 * batch * spatial**2 * channels * channels * 9}

    def ready(name: str, module: nn.Module) -> Work:
        own, x = cuda.put(module), cuda.put(given[name])

        def run() -> None:
            with torch.inference_mode():
                own(x)

        return Work(name=name, flops=flops[name], run=run, tf32=name in allowed)

    return ready("matmul", product), ready("conv", convolution)


def check_timing(cuda: Cuda, work: Work) -> dict[str, Any]:
    """The same work by three clocks: events by hand around many runs in a row, our session, the profiler's kernels.

    ``passed``: session and events agree within 5 %, kernels are 85 to 103 % of it, and nothing is above the peak.
    """
    by_hand = _by_hand(cuda, work.run)
    session = run_session({work.name: work.run}, CudaClock(cuda.events), _TIMING)
    statistics = summarise(session.visits[work.name], single_thread=False)
    kernel_s = _kernel_s(cuda, work.run)
    peak = _peak_flops_per_s(cuda.facts().name, tf32=work.tf32)
    rate = work.flops / by_hand
    ratio = statistics.latency_s / by_hand
    tests = {
        "session agrees with events": abs(ratio - 1) <= _AGREE,
        "kernels agree with events": kernel_s is not None and _KERNELS[0] <= kernel_s / by_hand <= _KERNELS[1],
        "not above the peak": peak is None or rate <= _ROOF * peak,
    }
    return {
        "name": work.name,
        "flops": work.flops,
        "events_by_hand_s": by_hand,
        "session_s": statistics.latency_s,
        "session_half_width": statistics.half_width,
        "session_over_events": ratio,
        **({} if kernel_s is None else {"kernel_s": kernel_s, "kernels_over_events": kernel_s / by_hand}),
        "flops_per_s": rate,
        **({} if peak is None else {"peak_flops_per_s": peak, "share_of_peak": rate / peak}),
        "tf32": work.tf32,
        "failed": [name for name, held in tests.items() if not held],
        "passed": all(tests.values()),
    }


def _by_hand(cuda: Cuda, run: Run) -> float:
    """Two events around runs in a row; no session, no clock of ours."""
    for _ in range(3):
        run()
    began = cuda.events.record()
    for _ in range(_IN_A_ROW):
        run()
    return cuda.events.elapsed_s(began, cuda.events.record()) / _IN_A_ROW


def _kernel_s(cuda: Cuda, run: Run) -> float | None:
    profiler = cuda.profiler

    def passes() -> None:
        for index in range(5):
            with profiler.range(f"{PASS}{index}"):
                run()
                profiler.synchronize()

    found = [one for one in passes_of(profiler.trace(passes)) if one.kernels]
    return totals(found).kernel_s if found else None


def _peak_flops_per_s(name: str, *, tf32: bool) -> float | None:
    """The float32 peak (TF32's on tensor cores) of the GPU called ``name``, the highest of its variants' datasheets;
    None for one that the catalogue hasn't got."""
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    rates = [
        rate
        for device in catalogue().values()
        if device.kind == "gpu" and words & {device.name.partition("-")[0], *device.aliases}
        for rate in (
            device.vector_flops_per_s.get("float32", 0.0),
            device.matrix_flops_per_s.get("tfloat32", 0.0) if tf32 else 0.0,
        )
    ]
    return max(rates, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """What the calibration made: eager, and as CUDA graphs where there were enough of them."""

    eager: CalibratedDevice
    graph: CalibratedDevice | None


def judge_model(reference: str, cuda: Cuda, profiles: Profiles, anchor: Run) -> tuple[Compared, Compared | None]:
    """Predicted and measured, eager and as a CUDA graph (None where there's no profile of it, or no capture)."""
    graph = load_graph(reference)
    loaded = load_module(reference)
    module = loaded.module if loaded.rebuild is None else loaded.rebuild()
    runner = TorchRunner(reference, graph, device="cuda", module=module, cuda=cuda)
    try:
        eager = measure(runner, graph, plan=_MODEL, anchor=anchor)
    finally:
        runner.close()
    row = compared(reference, predict(graph, profiles.eager), eager, None, profiles.eager)
    if profiles.graph is None or eager.gpu is None or eager.gpu.totals.graph_s is None:
        return row, None
    runner = TorchRunner(reference, graph, device="cuda", module=module, cuda=cuda, cuda_graph=True)
    try:
        # The kernels are the same ones: their times by layer were taken above.
        replayed = measure(runner, graph, plan=_MODEL, layers=False, anchor=anchor)
    finally:
        runner.close()
    replayed = replace(replayed, attribution=eager.attribution)
    return row, compared(reference, predict(graph, profiles.graph), replayed, None, profiles.graph)


def measured_again(reference: str, cuda: Cuda, row: Compared) -> Compared:
    """``row`` with a second, shorter measurement, minutes later: the noise floor."""
    graph = load_graph(reference)
    runner = TorchRunner(reference, graph, device="cuda", cuda=cuda)
    try:
        return replace(row, again_s=measure(runner, graph, plan=_AGAIN, layers=False).statistics.latency_s)
    finally:
        runner.close()


def check_memory(reference: str, cuda: Cuda) -> Mapping[str, Any]:
    """Predicted against measured peak memory of one inference.

    ``error`` is of the prediction with the allocator's rounding against ``torch.cuda.max_memory_allocated``;
    ``error_of_tensors`` leaves out what libraries took before the run and hold (cuBLAS' workspace).
    """
    result = memory(load_graph(reference), rounding_bytes=ROUNDING_BYTES, advise=False)
    predicted = (result.framework_peak or result.peak).nbytes
    measured = cuda.measure_memory(reference)
    allocated = measured.allocator_peak_bytes or measured.peak_bytes
    held = max(0, measured.resident_bytes - result.weight_bytes - result.input_bytes)
    return {
        "model": reference,
        "predicted_bytes": predicted,
        "allocated_bytes": allocated,
        "requested_bytes": measured.peak_bytes,
        "held_by_libraries_bytes": held,
        "error": predicted / allocated - 1.0,
        "error_of_tensors": predicted / max(1, allocated - held) - 1.0,
    }
