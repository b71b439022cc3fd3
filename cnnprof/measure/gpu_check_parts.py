"""The parts of ``make gpu-check``: is the timing right, how good are predictions, how much memory does a model take.

Each takes what it is asked and a :class:`~cnnprof.measure.cuda.Cuda`, and gives plain data for the report. On a real
device each runs in a process of its own (:func:`apart`): a profiler that has looked once, a library's workspace and
what networks leave in caches are gone with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

import torch
from torch import nn

from cnnprof.analyses.memory import memory
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.catalogue import catalogue
from cnnprof.errors import CnnprofError, DeviceError, ModelError, one_line
from cnnprof.frontends.sources import load_graph
from cnnprof.frontends.torch.references import load_module
from cnnprof.measure.accuracy import Compared
from cnnprof.measure.cuda import Cuda, CudaClock
from cnnprof.measure.cuda_torch import TorchCuda, anchor_on
from cnnprof.measure.fresh import in_fresh_process
from cnnprof.measure.gpu_trace import PASS, passes_of, totals
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.run import measure
from cnnprof.measure.runner_torch import TorchRunner
from cnnprof.measure.session import Plan, run_session
from cnnprof.measure.statistics import summarise
from cnnprof.measure.verify import compared
from cnnprof.measure.verify_visit import quiet_levels
from cnnprof.predict.front import predict

__all__ = [
    "Profiles", "Work", "apart", "check_memory", "check_timing", "check_work", "judge_model", "measured_again", "works",
]  # fmt: skip

Run = Callable[[], object]
Result = TypeVar("Result")
ROUNDING_BYTES = 512  # of torch's CUDA allocator
_IN_A_ROW = 20
_CONVOLUTIONS = 4  # a run
_TIMING = Plan(visits=3, samples=20, seconds=0.1, longest_s=2.0)
# More visits than seconds: the interval is of visits, which a host's pace tells apart.
_MODEL = Plan(visits=6, samples=10, seconds=0.06, longest_s=1.0)
_AGAIN = Plan(visits=5, samples=6, seconds=0.04, longest_s=0.6)
_PATIENCE_S = 4.0  # of waiting for a quiet host, each time
_AGREE = 0.05  # a session's median against events by hand around single runs
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
    """A product of ``side``³ and some 3x3 convolutions in a row: milliseconds even on a large GPU, so that what a host
    with neighbours takes for the first launch is a percent or two."""
    allowed = cuda.facts().tf32
    with torch.random.fork_rng(devices=[]):
        product = nn.Linear(side, side, bias=False).eval()
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).eval()
        given = {"matmul": torch.rand(side, side), "conv": torch.rand(batch, channels, spatial, spatial)}
    flops = {"matmul": 2 * side**3, "conv": 2 * batch * spatial**2 * channels * channels * 9}

    def ready(name: str, module: nn.Module, times: int) -> Work:
        own, x = cuda.put(module), cuda.put(given[name])

        def run() -> None:
            with torch.inference_mode():
                for _ in range(times):
                    own(x)

        return Work(name=name, flops=times * flops[name], run=run, tf32=name in allowed)

    return ready("matmul", product, 1), ready("conv", convolution, _CONVOLUTIONS)


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """``function(*arguments, cuda)`` on torch's own device, in a process of its own. Raises what it raises of
    :class:`CnnprofError`, anything else as :class:`DeviceError`."""
    return in_fresh_process(_on_torch, function, arguments)  # type: ignore[no-any-return]


def _on_torch(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments, TorchCuda())
    except CnnprofError:
        raise
    except Exception as error:
        raise DeviceError(one_line(error), "it failed on the device") from error


def check_work(name: str, sizes: Mapping[str, int], cuda: Cuda) -> dict[str, Any]:
    """:func:`check_timing` of the one of :func:`works` that is called ``name``."""
    return check_timing(cuda, next(work for work in works(cuda, **sizes) if work.name == name))


def check_timing(cuda: Cuda, work: Work) -> dict[str, Any]:
    """The same work by three clocks: events by hand, our session, the profiler's kernels.

    ``passed``: the session agrees within 5 % with events around single runs, from an idle device (the first launch is
    part of both); kernels are 85 to 103 % of events around many runs in a row; and nothing is above the peak.
    """
    by_hand, alone = _by_hand(cuda, work.run), _alone_by_hand(cuda, work.run)
    session = run_session({work.name: work.run}, CudaClock(cuda.events), _TIMING)
    statistics = summarise(session.visits[work.name], single_thread=False)
    kernel_s = _kernel_s(cuda, work.run)
    # The device's clock moves by some percent under load: half of what is timed by hand comes before, half after.
    by_hand = (by_hand + _by_hand(cuda, work.run)) / 2
    alone = (alone + _alone_by_hand(cuda, work.run)) / 2
    peak = _peak_flops_per_s(cuda.facts().name, tf32=work.tf32)
    rate = work.flops / by_hand
    ratio = statistics.latency_s / alone
    tests = {
        "session agrees with events": abs(ratio - 1) <= _AGREE,
        "kernels agree with events": kernel_s is not None and _KERNELS[0] <= kernel_s / by_hand <= _KERNELS[1],
        "not above the peak": peak is None or rate <= _ROOF * peak,
    }
    return {
        "name": work.name,
        "flops": work.flops,
        "events_by_hand_s": by_hand,
        "events_alone_s": alone,
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


def _alone_by_hand(cuda: Cuda, run: Run) -> float:
    """The median of single runs between two events, each from an idle device."""
    spent = []
    for _ in range(_IN_A_ROW):
        began = cuda.events.record()
        run()
        spent.append(cuda.events.elapsed_s(began, cuda.events.record()))
    return median(spent)


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


def judge_model(reference: str, profiles: Profiles, cuda: Cuda) -> tuple[Compared, Compared | None]:
    """Predicted and measured, eager and as a CUDA graph (None where there's no profile of it, or no capture). The
    graph's replays first: with an eager run's layers the profiler comes, and slows the host down from there."""
    graph = load_graph(reference)
    loaded = load_module(reference)
    module = loaded.module if loaded.rebuild is None else loaded.rebuild()
    anchor, quiet = anchor_on(cuda), quiet_levels(profiles.eager)

    def measured(*, cuda_graph: bool) -> Measurement:
        runner = TorchRunner(reference, graph, device="cuda", module=module, cuda=cuda, cuda_graph=cuda_graph)
        try:
            return measure(
                runner, graph, plan=_MODEL, layers=not cuda_graph, anchor=anchor, quiet=quiet, patience_s=_PATIENCE_S
            )
        finally:
            runner.close()

    replayed = None
    if profiles.graph is not None:
        with suppress(ModelError):  # it can't be captured
            replayed = measured(cuda_graph=True)
    eager = measured(cuda_graph=False)
    row = compared(reference, predict(graph, profiles.eager), eager, None, profiles.eager)
    if replayed is None or profiles.graph is None:
        return row, None
    # The kernels are the same ones: their times by layer are the eager run's.
    replayed = replace(replayed, attribution=eager.attribution)
    return row, compared(reference, predict(graph, profiles.graph), replayed, None, profiles.graph)


def measured_again(reference: str, row: Compared, profile: CalibratedDevice, cuda: Cuda) -> Compared:
    """``row`` with a second, shorter measurement, minutes later: the middle of two quiet ones (in logarithms) is the
    latency and their distance the noise floor; where only the second was quiet it counts."""
    graph = load_graph(reference)
    runner = TorchRunner(reference, graph, device="cuda", cuda=cuda)
    try:
        found = measure(
            runner, graph, plan=_AGAIN if row.quiet else _MODEL, layers=False, quiet=quiet_levels(profile),
            patience_s=_PATIENCE_S,
        )  # fmt: skip
    finally:
        runner.close()
    seconds = found.statistics.latency_s
    if not found.noise.quiet:
        return row
    if not row.quiet:
        half_width = found.statistics.half_width
        return replace(row, measured_s=seconds, first_s=seconds, half_width=half_width, quiet=True, reasons=())
    return replace(row, measured_s=((row.first_s or row.measured_s) * seconds) ** 0.5, again_s=seconds)


def check_memory(reference: str, cuda: Cuda) -> Mapping[str, Any]:
    """Predicted against measured peak memory of one inference.

    ``error`` is of the prediction with the allocator's rounding against ``torch.cuda.max_memory_allocated``;
    ``error_of_tensors`` leaves out what libraries hold from one call to the next (cuBLAS' workspace).
    """
    result = memory(load_graph(reference), rounding_bytes=ROUNDING_BYTES, advise=False)
    predicted = (result.framework_peak or result.peak).nbytes
    measured = cuda.measure_memory(reference)
    allocated = measured.allocator_peak_bytes or measured.peak_bytes
    return {
        "model": reference,
        "predicted_bytes": predicted,
        "allocated_bytes": allocated,
        "requested_bytes": measured.peak_bytes,
        "held_by_libraries_bytes": measured.held_bytes,
        "error": predicted / allocated - 1.0,
        "error_of_tensors": predicted / max(1, allocated - measured.held_bytes) - 1.0,
    }
