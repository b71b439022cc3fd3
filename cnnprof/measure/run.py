"""Measure one model: choose the runner, take the samples, judge the noise, attribute the time to layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnnprof.errors import CnnprofError, UsageError
from cnnprof.ir import Graph
from cnnprof.measure.clock import MachineState
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.noise import judge
from cnnprof.measure.runner import Runner, attribute
from cnnprof.measure.session import Plan, run_session
from cnnprof.measure.statistics import summarise

__all__ = ["RUNNERS", "measure", "runner_for"]

RUNNERS = ("torch", "torch-compile", "onnxruntime")
_PASSES = 5


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


def measure(
    runner: Runner,
    graph: Graph,
    *,
    plan: Plan | None = None,
    layers: bool = True,
    anchor: Callable[[], object] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Measurement:
    """Measure what ``runner`` runs. Ctrl-C keeps the samples there are (at least one visit), else raises.

    Raises :class:`CnnprofError` if nothing was measured.
    """
    clock = runner.clock()
    session = run_session({graph.source.name: runner.run}, clock, plan or Plan(), anchor=anchor, progress=progress)
    visits = [visit for visit in session.visits.get(graph.source.name, []) if visit]
    if not visits:
        raise CnnprofError(f"{graph.source.name}: interrupted before anything was measured", "run it again")
    statistics = summarise(visits, single_thread=runner.single_thread)
    noise = judge(
        statistics,
        session.before or MachineState(wall_s=0.0),
        session.after or clock.machine(),
        own_cpu_s=session.own_cpu_s,
        single_thread=runner.single_thread,
        anchor_s=session.anchor_s,
    )
    warnings = []
    if session.interrupted:
        warnings.append(f"interrupted: {statistics.visits} of {(plan or Plan()).visits} visits were measured")
    if not all(session.steady.values()):
        warnings.append("warm-up never became steady: three runs in a row differed by more than 5 %")
    times = None
    if layers and not session.interrupted:
        times = runner.layer_times(_PASSES)
    attribution = None if times is None or not times.seconds else attribute(times, statistics.latency_s)
    if attribution is not None and attribution.scaled:
        warnings.append(
            "instruments slow small layers: their times were scaled so that they sum to the end-to-end time"
        )
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
        warnings=tuple(warnings),
    )
