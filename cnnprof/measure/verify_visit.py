"""One measurement of ``cnnprof verify``: what is asked of the process that it has to itself, and how long it looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.sources import load_graph
from cnnprof.measure.fresh import in_fresh_process
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.neighbours import PATIENCE_S, QuietLevels
from cnnprof.measure.run import anchor_for, measure, runner_for
from cnnprof.measure.session import Plan

__all__ = [
    "GRAPH",
    "Plans",
    "Visit",
    "compares_layers",
    "measure_apart",
    "measure_visit",
    "plans_for",
    "quiet_levels",
    "visit_of",
]

GRAPH = "-cuda-graph"  # ends the name of a runner that runs what was captured


@dataclass(frozen=True, slots=True)
class Plans:
    """Of the first round, of the second, and of what was too noisy in both: a long network is beside some neighbour in
    most of its runs and has to wait for the others."""

    first: Plan
    again: Plan
    patient: Plan


_ON_CUDA = Plans(
    Plan(visits=3, samples=12, seconds=0.25, longest_s=4.0),
    Plan(visits=3, samples=8, seconds=0.15, longest_s=2.0),
    Plan(visits=3, samples=12, seconds=0.25, longest_s=12.0),
)
# What the neighbours leave of the cache and the memory changes within seconds. Of runs as many, in more and shorter
# visits: what visits differ by is then known better (Student's factor is 2.4 for eight and 4.3 for three).
_ON_CPU = Plans(
    Plan(visits=8, samples=6, seconds=0.1, longest_s=3.0),
    Plan(visits=6, samples=6, seconds=0.1, longest_s=2.0),
    Plan(visits=8, samples=6, seconds=0.1, longest_s=5.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What is asked of a process that measures one network: its reference (a file for onnxruntime), and how.
    ``quiet``: what the calibration saw of the machine; ``patience_s``: how long to wait for it, as ``measure`` does."""

    reference: str
    runner: str
    on: str
    threads: int
    plan: Plan
    layers: bool
    inputs: tuple[InputSpec, ...] = ()
    batch: int | None = None
    anchor: Callable[[], object] | None = None
    quiet: QuietLevels | None = None
    patience_s: float = PATIENCE_S


def visit_of(
    device: CalibratedDevice, inputs: Sequence[InputSpec], batch: int | None, anchor: Callable[[], object] | None
) -> Visit:
    """A first visit of a network with no name yet, on what ``device`` is the profile of."""
    on = "cuda" if device.kind == "gpu" else "cpu"
    return Visit(
        reference="", runner=device.runner, on=on, threads=device.threads or 1,
        plan=plans_for(on).first, layers=compares_layers(device), inputs=tuple(inputs), batch=batch, anchor=anchor,
        quiet=quiet_levels(device),
    )  # fmt: skip


def compares_layers(device: CalibratedDevice) -> bool:
    """Whether layers are predicted as they are measured. On a GPU that the host feeds a layer's prediction has its wait
    in it, its measurement is its kernels' time: there are none to compare there (there are where a CUDA graph runs)."""
    return device.kind != "gpu" or device.runner.endswith(GRAPH)


def plans_for(on: str) -> Plans:
    """How long to look in each round, on ``cpu`` or ``cuda``."""
    return _ON_CPU if on == "cpu" else _ON_CUDA


def quiet_levels(device: CalibratedDevice) -> QuietLevels | None:
    """What the calibration of ``device`` saw of its machine; None where it didn't look. Earlier ones timed a loop,
    under another name, which says nothing of hashing."""
    noise = device.data.get("noise", {})
    if "stream_s" not in noise:
        return None
    return QuietLevels(
        probe_s=float(noise.get("hashing_s", 0.0)),
        stream_s=float(noise["stream_s"]),
        handing_over_s=float(noise.get("handing_over_s", 0.0)),
    )


def measure_apart(visit: Visit) -> Measurement:
    """Measure what ``visit`` asks for in a process of its own."""
    return in_fresh_process(measure_visit, visit)


def measure_visit(visit: Visit) -> Measurement:
    """Measure what ``visit`` asks for in this process."""
    graph = load_graph(visit.reference, inputs=visit.inputs, batch=visit.batch)
    runner = runner_for(
        visit.reference, graph, runner=visit.runner.removesuffix(GRAPH), device=visit.on, threads=visit.threads,
        options={"inputs": visit.inputs, "batch": visit.batch}, cuda_graph=visit.runner.endswith(GRAPH),
    )  # fmt: skip
    try:
        on = anchor_for(runner) if visit.on == "cuda" and visit.anchor is not None else visit.anchor
        return measure(
            runner, graph, plan=visit.plan, layers=visit.layers, anchor=on, quiet=visit.quiet,
            patience_s=visit.patience_s,
        )  # fmt: skip
    finally:
        runner.close()
