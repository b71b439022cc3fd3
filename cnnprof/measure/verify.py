"""Calibrate, then predict and measure the committed list of networks, and compare.

Networks are measured in two rounds, the second in reverse order: what counts is the middle of the two, and the distance
between them is the noise floor. What a noisy machine spoilt in both is measured again, some times, and its quietest run
kept; what stays noisy is listed and counts for nothing. Ctrl-C keeps what was measured.

Each measurement has a process of its own (:mod:`~cnnprof.measure.verify_visit`). For onnxruntime every reference is
exported to ONNX once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import CnnprofError, UsageError
from cnnprof.frontends.inputs import InputSpec, parse_input
from cnnprof.frontends.sources import is_torch_reference, load_graph
from cnnprof.measure.accuracy import Compared, report
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.verify_visit import Visit, compares_layers, measure_apart, plans_for, visit_of
from cnnprof.predict.front import predict
from cnnprof.predict.lower import lower
from cnnprof.predict.prediction import Prediction

__all__ = ["case_of", "compared", "verify"]

_LONG_PATIENCE_S = 30.0
_ATTEMPTS = 3
Progress = Callable[[int, int, str], None]


def verify(
    device: CalibratedDevice,
    models: Sequence[str],
    *,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    anchor: Callable[[], object] | None = None,
    progress: Progress | None = None,
    measure_one: Callable[[Visit], Measurement] | None = None,
    keep: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """The accuracy report of ``device`` over ``models`` (see :func:`case_of`). One that fails is listed with why.

    ``measure_one`` measures a visit; by default in a fresh process. ``keep`` is given the report so far after every
    measurement: it says that it was interrupted.
    """
    visit = visit_of(device, inputs, batch, anchor)
    with tempfile.TemporaryDirectory(prefix="cnnprof-") as folder:
        run = _Run(device, visit, _Sources(visit, Path(folder)), measure_one or measure_apart)
        interrupted = False
        try:
            for done, steps, name in run.steps(models):
                if progress is not None:
                    progress(done, steps, name)
                if keep is not None:
                    keep(run.record(interrupted=True))
        except KeyboardInterrupt:
            interrupted = True
    return {**run.record(interrupted=interrupted), "coincidence": coincidence(models, device, inputs)}


class _Run:
    """What was predicted and measured so far."""

    def __init__(
        self,
        device: CalibratedDevice,
        visit: Visit,
        source: Callable[[str], Visit],
        take: Callable[[Visit], Measurement],
    ) -> None:
        self._device, self._visit, self._source, self._take = device, visit, source, take
        self._plans = plans_for(visit.on)
        self._predictions: dict[str, Prediction] = {}
        self._measured: dict[str, Measurement] = {}
        self._again: dict[str, Measurement] = {}
        self._failed: dict[str, str] = {}

    def steps(self, models: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """Measure, one network after the other; (how many are done, of how many, which one) after each."""
        rounds = [(name, self._first) for name in models] + [(name, self._second) for name in reversed(models)]
        for done, (name, step) in enumerate(rounds, 1):
            if name in self._failed:
                continue
            try:
                step(name)
            except CnnprofError as error:
                self._failed[name] = str(error)
                continue
            yield done, len(rounds), name
        for attempt in range(_ATTEMPTS):
            noisy = [name for name, found in self._measured.items() if not found.noise.quiet]
            for done, name in enumerate(noisy, 1):
                with suppress(CnnprofError):  # what was measured before stays, and says that it was noisy
                    self._patiently(name)
                    yield done, len(noisy), f"{name} (again, {attempt + 1})"

    def _first(self, name: str) -> None:
        own = self._source(name)
        graph = load_graph(own.reference, inputs=own.inputs, batch=own.batch)
        self._predictions[name] = predict(graph, self._device)
        del graph
        self._measured[name] = self._take(own)

    def _second(self, name: str) -> None:
        found = self._take(replace(self._source(name), plan=self._plans.again))
        if self._measured[name].noise.quiet:
            self._again[name] = found
        elif found.noise.quiet:
            self._measured[name] = found

    def _patiently(self, name: str) -> None:
        patient = replace(self._source(name), plan=self._plans.patient, patience_s=_LONG_PATIENCE_S)
        found = self._take(patient)
        if found.noise.quiet or _restlessness(found) < _restlessness(self._measured[name]):
            self._measured[name] = found

    def record(self, *, interrupted: bool) -> dict[str, Any]:
        """The report so far."""
        device = self._device
        rows = [
            compared(name, self._predictions[name], found, self._again.get(name), device)
            for name, found in self._measured.items()
        ]
        return report(
            rows,
            {
                "device": device.name,
                "hardware": dict(device.data["hardware"]),
                "versions": dict(device.versions),
                "runner": device.runner,
                "threads": device.threads,
                "batch": self._visit.batch or 1,
                "calibration": {
                    key: device.data.get(key) for key in ("networks", "samples", "seed", "budget_s", "gates")
                },
                "failed": dict(self._failed),
                "interrupted": interrupted,
            },
        )


def case_of(name: str) -> tuple[str, tuple[InputSpec, ...]]:
    """(reference, inputs) of a listed model: ``REFERENCE``, or ``REFERENCE SHAPE`` for one with an input of its own."""
    reference, _, shape = name.rpartition(" ")
    try:
        return (reference, (parse_input(shape),)) if reference else (name, ())
    except UsageError:  # a path with a blank
        return name, ()


class _Sources:
    """The visit of a reference: of itself, or for onnxruntime of its export, made at first need."""

    def __init__(self, visit: Visit, folder: Path) -> None:
        self._visit, self._folder = visit, folder
        self._files: dict[str, str] = {}

    def __call__(self, name: str) -> Visit:
        reference, own = case_of(name)
        visit = replace(self._visit, inputs=own or self._visit.inputs)
        if visit.runner != "onnxruntime" or Path(reference).exists() or not is_torch_reference(reference):
            return replace(visit, reference=reference)
        if name not in self._files:
            from cnnprof.measure.export_torch import export

            target = self._folder / str(len(self._files)) / "model.onnx"
            target.parent.mkdir()
            export(reference, target, inputs=visit.inputs, batch=visit.batch)
            self._files[name] = str(target)
        return replace(visit, reference=self._files[name], inputs=(), batch=None)


def _restlessness(found: Measurement) -> float:
    """How far a measurement is from a quiet one: the interval's half-width and the cache's contention."""
    return found.statistics.half_width + max(0.0, found.noise.contention or 0.0)


def compared(
    name: str, prediction: Prediction, measured: Measurement, again: Measurement | None, device: CalibratedDevice
) -> Compared:
    """A network's row; measured twice in quiet, the middle (in logarithms) is its latency, and its layers' times are
    the means."""
    roof = device.data["roof"]
    flops = sum(layer.flops_per_s * layer.time.latency_s for layer in prediction.layers)
    moved = sum(
        layer.flops_per_s * layer.time.latency_s / layer.intensity for layer in prediction.layers if layer.intensity
    )
    first_s = measured.statistics.latency_s
    again_s = None if again is None else again.statistics.latency_s
    both = again is not None and again.noise.quiet and measured.noise.quiet
    layers = _layers_of(measured, device)
    others = _layers_of(again, device) if both and again is not None else {}
    return Compared(
        model=name,
        measured_s=(first_s * again_s) ** 0.5 if both and again_s is not None else first_s,
        first_s=first_s,
        predicted_s=prediction.latency_s,
        low_s=prediction.total.low90_s,
        high_s=prediction.total.high90_s,
        half_width=measured.statistics.half_width,
        quiet=measured.noise.quiet,
        reasons=measured.noise.reasons,
        contention=measured.noise.contention,
        again_s=again_s,
        baselines={
            "flops_at_peak": flops / float(roof["flops_per_s"]),
            "roofline_at_peaks": flops / float(roof["flops_per_s"]) + moved / float(roof["bytes_per_s"]),
        },
        measured_layers={name: (layers[name] + others.get(name, layers[name])) / 2 for name in layers},
        layer_looks=(layers, others) if layers and others else None,
        predicted_layers={layer.name: layer.time.latency_s for layer in prediction.layers},
        classes={layer.name: layer.cls for layer in prediction.layers},
        features={
            layer.name: {"bound": layer.bound, "flops_per_byte": layer.intensity, "inside": layer.inside}
            for layer in prediction.layers
        },
        inside_share=prediction.inside_share,
    )


def _layers_of(measured: Measurement, device: CalibratedDevice) -> dict[str, float]:
    """Seconds by layer, where there are any to compare."""
    return dict(measured.attribution.seconds) if measured.attribution is not None and compares_layers(device) else {}


def coincidence(models: Sequence[str], device: CalibratedDevice, inputs: Sequence[InputSpec]) -> dict[str, float]:
    """How many of the judged networks' kernels (with work) are also in the calibration's suite, exactly."""
    from cnnprof.measure.calibrate_suite import network_of

    seen = set()
    for index in range(int(device.data.get("suite", device.data.get("networks", 0)))):
        graph = network_of(device.runner, int(device.data.get("seed", 0)), index)
        seen |= {_configuration(kernel) for kernel in lower(graph, "torch") if kernel.cls.startswith(("conv", "gemm"))}
    total = same = 0
    for name in models:
        try:
            reference, own = case_of(name)
            graph = load_graph(reference, inputs=own or inputs)
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
