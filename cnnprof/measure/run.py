"""Measure one model: choose the runner, take the samples, judge the noise, attribute the time to layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnnprof.errors import CnnprofError, UsageError
from cnnprof.ir import Graph
from cnnprof.measure.clock import Clock, MachineState
from cnnprof.measure.contention import calm_visits
from cnnprof.measure.gpu_trace import GpuTimes
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.neighbours import PATIENCE_S, QuietLevels, WatchedClock, watched
from cnnprof.measure.noise import judge
from cnnprof.measure.runner import Runner, attribute
from cnnprof.measure.session import Plan, fixed_work, run_session
from cnnprof.measure.statistics import summarise

__all__ = ["RUNNERS", "anchor_for", "l2_flush_for", "measure", "runner_for"]

RUNNERS = ("torch", "torch-compile", "onnxruntime")
_PASSES = 20  # instrumented: with five, two measurements agreed on 86 to 90 % of the five slowest layers
_NO_KERNELS = "no layers: the profiler saw no kernels (a container may forbid CUPTI to look)"
_HOST_ALONE = "no layers: this onnxruntime's profile has the host's times alone (built without --enable_cuda_profiling)"


def runner_for(
    reference: str,
    graph: Graph,
    *,
    runner: str,
    device: str,
    threads: int,
    options: Mapping[str, Any],
    cuda_graph: bool = False,
) -> Runner:
    """The runner of ``reference``. Raises :class:`~cnnprof.errors.DependencyError` (not installed),
    :class:`~cnnprof.errors.DeviceError` (no such device), :class:`UsageError` (a model that it can't run)."""
    if graph.mode != "inference":
        raise UsageError("measure: latency is measured for inference", "leave out --training")
    onnx = graph.source.format == "onnx"
    if runner == "onnxruntime":
        if not onnx:
            raise UsageError(
                f"{reference}: onnxruntime runs ONNX files", "export it with torch.onnx.export, or use --runner torch"
            )
        if cuda_graph:
            raise UsageError("--cuda-graph: captures what torch runs", "leave it out, or measure with --runner torch")
        from cnnprof.measure.runner_onnxruntime import OnnxRuntimeRunner

        return OnnxRuntimeRunner(reference, graph, threads=threads, device=device)
    if onnx:
        raise UsageError(f"{reference}: torch doesn't run ONNX files", "use --runner onnxruntime")
    from cnnprof.measure.runner_torch import TorchRunner

    return TorchRunner(
        reference,
        graph,
        threads=threads,
        device=device,
        compiled=runner == "torch-compile",
        cuda_graph=cuda_graph,
        options=options,
    )


def anchor_for(runner: Runner) -> Callable[[], object]:
    """The anchor workload on what ``runner`` computes on, as far as its clock sees that."""
    if runner.device != "cuda" or runner.name == "onnxruntime":
        return fixed_work
    from cnnprof.measure.cuda_torch import TorchCuda, anchor_on

    return anchor_on(TorchCuda())


def l2_flush_for(runner: Runner) -> Callable[[], object]:
    """What empties the L2 cache before a run. Raises :class:`UsageError` where there's none to empty."""
    if runner.device != "cuda" or runner.name == "onnxruntime":
        raise UsageError("--flush-l2: empties a GPU's cache between runs of torch", "add --device cuda --runner torch")
    from cnnprof.measure.cuda_torch import TorchCuda

    return TorchCuda().l2_flush()


def measure(
    runner: Runner,
    graph: Graph,
    *,
    plan: Plan | None = None,
    layers: bool = True,
    anchor: Callable[[], object] | None = None,
    flush_l2: Callable[[], object] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    quiet: QuietLevels | None = None,
    patience_s: float = PATIENCE_S,
) -> Measurement:
    """Measure what ``runner`` runs. Ctrl-C keeps the samples there are (at least one visit), else raises.
    ``flush_l2`` runs before every run, outside of its time. ``quiet``: what its calibration saw of this
    machine; without it a contended cache goes unnoticed. ``patience_s``: how long to wait for a quiet core, in all, and
    as long for a calm memory.

    Raises :class:`CnnprofError` if nothing was measured.
    """
    with watched(runner.clock(), threads=runner.threads, quiet=quiet, patience_s=patience_s) as clock:
        return _measure(
            runner, graph, clock, plan=plan, layers=layers, anchor=anchor, flush_l2=flush_l2, progress=progress
        )


def _measure(
    runner: Runner,
    graph: Graph,
    clock: Clock,
    *,
    plan: Plan | None,
    layers: bool,
    anchor: Callable[[], object] | None,
    flush_l2: Callable[[], object] | None,
    progress: Callable[[int, int, str], None] | None,
) -> Measurement:
    session = run_session(
        {graph.source.name: runner.run}, clock, plan or Plan(), anchor=anchor, before=flush_l2, progress=progress
    )
    taken = [visit for visit in session.visits.get(graph.source.name, []) if visit]
    if not taken:
        raise CnnprofError(f"{graph.source.name}: interrupted before anything was measured", "run it again")
    visits, contention = calm_visits(taken, session.copying_s[graph.source.name], _quiet_copying_s(clock))
    statistics = summarise(visits, single_thread=runner.single_thread)
    noise = judge(
        statistics,
        session.before or MachineState(wall_s=0.0),
        session.after or clock.machine(),
        own_cpu_s=session.own_cpu_s,
        # One thread feeds a GPU: what keeps other cores busy is no reason there either.
        single_thread=runner.single_thread or runner.device == "cuda",
        anchor_s=session.anchor_s,
        contention=contention,
    )
    warnings = []
    if session.interrupted:
        warnings.append(f"interrupted: {len(taken)} of {(plan or Plan()).visits} visits were measured")
    if not all(session.steady.values()):
        warnings.append("warm-up never became steady: three runs in a row differed by more than 5 %")
    times = None
    if layers and not session.interrupted:
        if isinstance(clock, WatchedClock) and clock.watches_memory:
            clock.until_calm_s(clock.stream_s())
        times = runner.layer_times(_PASSES, clock.switches)
    attribution = None if times is None or not times.seconds else attribute(times, statistics.latency_s)
    if attribution is not None and attribution.scaled:
        warnings.append(
            "instruments slow small layers: their times were scaled so that they sum to the end-to-end time"
        )
    if times is not None and runner.device == "cuda" and not times.seconds and times.gpu is None:
        warnings.append(_HOST_ALONE if runner.name == "onnxruntime" else _NO_KERNELS)
    if times is not None and times.seconds and flush_l2 is not None:
        warnings.append("layers were timed one after the other in a warm L2 cache, the end-to-end time in a cold one")
    return Measurement(
        device=runner.device,
        title=runner.title,
        runner=runner.name,
        threads=runner.threads,
        batch=runner.batch,
        versions=runner.versions,
        statistics=statistics,
        noise=noise,
        attribution=attribution,
        fused={} if times is None else times.fused,
        gpu=None
        if times is None or times.gpu is None
        else GpuTimes(end_to_end_s=statistics.latency_s, totals=times.gpu),
        kernels={} if times is None else times.kernels,
        flushed_l2=flush_l2 is not None,
        warnings=tuple(warnings),
    )


def _quiet_copying_s(clock: Clock) -> float | None:
    """What copying takes on the quiet machine; None where that isn't known."""
    return clock.quiet.stream_s if isinstance(clock, WatchedClock) and clock.quiet is not None else None
