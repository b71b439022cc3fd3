"""Calibrate, then predict and measure the committed list of networks, and compare.

Networks are measured in two rounds, the second in reverse order: the distance between the rounds is the noise floor.
What a noisy machine spoilt is measured again, up to twice, and its quietest run kept; what stays noisy is listed and
counts for nothing. Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import CnnprofError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.sources import load_graph
from cnnprof.ir import Graph
from cnnprof.measure.accuracy import Compared, report
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.run import measure, runner_for
from cnnprof.measure.session import Plan
from cnnprof.predict.front import predict
from cnnprof.predict.lower import lower
from cnnprof.predict.prediction import Prediction

__all__ = ["verify"]

_PLAN = Plan(visits=3, samples=12, seconds=0.25, longest_s=4.0)
_AGAIN = Plan(visits=3, samples=8, seconds=0.15, longest_s=2.0)
_ATTEMPTS = 2
Progress = Callable[[int, int, str], None]


def verify(
    device: CalibratedDevice,
    models: Sequence[str],
    *,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    anchor: Callable[[], object] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The accuracy report of ``device`` over ``models`` (references). A model that fails is listed with its reason."""
    predictions: dict[str, Prediction] = {}
    measured: dict[str, Measurement] = {}
    again: dict[str, float] = {}
    failed: dict[str, str] = {}
    interrupted = False
    steps = [(name, False) for name in models] + [(name, True) for name in reversed(models)]
    try:
        for done, (name, second) in enumerate(steps, 1):
            if name in failed:
                continue
            try:
                graph = load_graph(name, inputs=inputs, batch=batch)
                if not second:
                    predictions[name] = predict(graph, device)
                found = _measure(
                    name, graph, device, _AGAIN if second else _PLAN, inputs, batch, anchor, layers=not second
                )
            except CnnprofError as error:
                failed[name] = str(error)
                continue
            if second:
                again[name] = found.statistics.latency_s
            else:
                measured[name] = found
            if progress is not None:
                progress(done, len(steps), name)
            del graph
            gc.collect()
        _measure_noisy_again(measured, device, inputs, batch, anchor, progress)
    except KeyboardInterrupt:
        interrupted = True
    rows = [_compared(name, predictions[name], measured[name], again.get(name), device) for name in measured]
    return report(
        rows,
        {
            "device": device.name,
            "hardware": dict(device.data["hardware"]),
            "versions": dict(device.versions),
            "runner": device.runner,
            "threads": device.threads,
            "batch": batch or 1,
            "calibration": {key: device.data.get(key) for key in ("networks", "samples", "seed", "budget_s", "gates")},
            "coincidence": coincidence(models, device, inputs),
            "failed": failed,
            "interrupted": interrupted,
        },
    )


def _measure_noisy_again(
    measured: dict[str, Measurement], device: CalibratedDevice, inputs: Sequence[InputSpec], batch: int | None,
    anchor: Callable[[], object] | None, progress: Progress | None,
) -> None:  # fmt: skip
    for attempt in range(_ATTEMPTS):
        noisy = [name for name, found in measured.items() if not found.noise.quiet]
        for done, name in enumerate(noisy, 1):
            graph = load_graph(name, inputs=inputs, batch=batch)
            found = _measure(name, graph, device, _PLAN, inputs, batch, anchor, layers=True)
            if found.noise.quiet or found.statistics.half_width < measured[name].statistics.half_width:
                measured[name] = found
            if progress is not None:
                progress(done, len(noisy), f"{name} (again, {attempt + 1})")


def _measure(
    name: str, graph: Graph, device: CalibratedDevice, plan: Plan, inputs: Sequence[InputSpec], batch: int | None,
    anchor: Callable[[], object] | None, *, layers: bool,
) -> Measurement:  # fmt: skip
    options = {"inputs": tuple(inputs), "batch": batch}
    runner = runner_for(name, graph, runner=device.runner, device="cpu", threads=device.threads, options=options)
    try:
        return measure(runner, graph, plan=plan, layers=layers, anchor=anchor)
    finally:
        runner.close()


def _compared(
    name: str, prediction: Prediction, measured: Measurement, again: float | None, device: CalibratedDevice
) -> Compared:
    layers = {} if measured.attribution is None else dict(measured.attribution.seconds)
    roof = device.data["roof"]
    flops = sum(layer.flops_per_s * layer.time.latency_s for layer in prediction.layers)
    moved = sum(
        layer.flops_per_s * layer.time.latency_s / layer.intensity for layer in prediction.layers if layer.intensity
    )
    return Compared(
        model=name,
        measured_s=measured.statistics.latency_s,
        predicted_s=prediction.latency_s,
        low_s=prediction.total.low90_s,
        high_s=prediction.total.high90_s,
        half_width=measured.statistics.half_width,
        quiet=measured.noise.quiet,
        reasons=measured.noise.reasons,
        again_s=again,
        baselines={
            "flops_at_peak": flops / float(roof["flops_per_s"]),
            "roofline_at_peaks": flops / float(roof["flops_per_s"]) + moved / float(roof["bytes_per_s"]),
        },
        measured_layers=layers,
        predicted_layers={layer.name: layer.time.latency_s for layer in prediction.layers},
        classes={layer.name: layer.cls for layer in prediction.layers},
        inside_share=prediction.inside_share,
    )


def coincidence(models: Sequence[str], device: CalibratedDevice, inputs: Sequence[InputSpec]) -> dict[str, float]:
    """How many of the judged networks' kernels (with work) are also in the calibration's suite, exactly."""
    from cnnprof.measure.synthetic import synthetic_network

    seen = set()
    for index in range(int(device.data.get("networks", 0))):
        graph = synthetic_network(int(device.data.get("seed", 0)), index)
        seen |= {_configuration(kernel) for kernel in lower(graph, "torch") if kernel.cls.startswith(("conv", "gemm"))}
    total = same = 0
    for name in models:
        try:
            graph = load_graph(name, inputs=inputs)
        except CnnprofError:
            continue
        for kernel in lower(graph, "torch"):
            if kernel.cls.startswith(("conv", "gemm")):
                total += 1
                same += _configuration(kernel) in seen
    return {"kernels": total, "in_calibration": same, "share": same / total if total else 0.0}


def _configuration(kernel: Any) -> tuple[Any, ...]:
    return (
        *(kernel.cls, kernel.channels_in, kernel.channels_out, kernel.groups, kernel.positions, kernel.taps),
        *(kernel.stride, kernel.batch),
    )
