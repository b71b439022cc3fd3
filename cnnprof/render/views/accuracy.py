"""What a page of prediction against measurement shows, from a saved accuracy record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.render.quantities import nbytes, plain
from cnnprof.render.views.accuracy_figures import Figure, Gate, figures, gates
from cnnprof.render.views.accuracy_record import is_sweep

__all__ = ["AccuracyView", "ClassError", "Network", "WorstLayer", "accuracy_view"]

_ENOUGH = 5  # layers of a class: fewer say little about it
_BASELINES = ("flops_at_peak", "roofline_at_peaks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network, predicted and measured. Errors are relative to the measurement: 0.1 is 10 % too slow a prediction.

    ``half_width`` is that of the measurement's own interval; ``again`` how far the second measurement was from the
    first; ``inside`` whether the measurement lies in the predicted interval; ``known_share`` the share of the
    predicted time that lies in the calibrated range; ``reasons`` why it was too noisy.
    """

    key: str
    name: str
    collection: str
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    error: float
    half_width: float
    again: float | None
    known_share: float
    quiet: bool
    reasons: tuple[str, ...]

    @property
    def inside(self) -> bool:
        return self.low_s <= self.measured_s <= self.high_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassError:
    """All layers of one class that take more than 1 % of their network's time. ``fraction`` is the length of its bar:
    of the largest median error among classes with enough layers to have one."""

    name: str
    layers: int
    median_error: float
    bias: float
    fraction: float

    @property
    def few(self) -> bool:
        return self.layers < _ENOUGH


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstLayer:
    """A layer whose share of its network's time was predicted worst. ``bound`` is what limits it, ``flops_per_byte``
    its intensity, ``inside`` whether its size lies in the calibrated range; None where the record doesn't say."""

    model: str
    layer: str
    cls: str
    bound: str | None
    flops_per_byte: float | None
    inside: bool | None
    measured_share: float
    predicted_share: float

    @property
    def points(self) -> float:
        """Predicted less measured share."""
        return self.predicted_share - self.measured_share


@dataclass(frozen=True, kw_only=True)
class AccuracyView:
    """``figures`` is empty where every measurement was too noisy. ``networks`` are the judged ones, by error from too
    fast to too slow; ``batch`` is None
    where it varies with the input; ``times_better`` the best baseline's mean error over the prediction's."""

    device: str
    title: str
    runner: str
    threads: int
    batch: int | None
    facts: tuple[tuple[str, str], ...]
    baselines: tuple[str, ...]
    figures: tuple[Figure, ...]
    networks: tuple[Network, ...]
    noisy: tuple[Network, ...]
    failed: tuple[tuple[str, str], ...]
    classes: tuple[ClassError, ...]
    worst: tuple[WorstLayer, ...]
    compared_layers: int
    gates: tuple[Gate, ...]
    calibration: Mapping[str, Any]
    coincidence: tuple[int, int] | None
    times_better: float | None
    interrupted: bool

    def figure(self, key: str) -> Figure | None:
        return next((row for row in self.figures if row.key == key), None)

    @property
    def met(self) -> int:
        return sum(row.met is True for row in self.figures)

    @property
    def targets(self) -> int:
        return sum(row.met is not None for row in self.figures)

    @property
    def failed_gates(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.passed)


def accuracy_view(record: Mapping[str, Any]) -> AccuracyView:
    """``record`` as :func:`~cnnprof.render.views.accuracy_record.accuracy_record` reads it."""
    hardware = record.get("hardware") or {}
    device = plain(str(record["device"]))
    there = record.get("baselines") or {}
    baselines = tuple(sorted(there, key=lambda name: (name not in _BASELINES, name)))
    rows = sorted((_network(at, row) for at, row in enumerate(record["models"])), key=lambda n: (n.error, n.key))
    layers = record.get("layers") or {}
    same = record.get("coincidence") or {}
    beaten = min((float(there[name]["mean"]) for name in baselines), default=0.0)
    mean = float(record["errors"]["mean"]) if "errors" in record else 0.0
    return AccuracyView(
        device=device,
        title=plain(str(hardware.get("processor") or hardware.get("title") or device)),
        runner=plain(str(record["runner"])),
        threads=int(record["threads"] or 1),
        batch=None if is_sweep(record) else int(record.get("batch") or 1),
        facts=_facts(record, hardware, device),
        baselines=tuple(plain(name) for name in baselines),
        figures=figures(record, baselines),
        networks=tuple(row for row in rows if row.quiet),
        noisy=tuple(row for row in rows if not row.quiet),
        failed=tuple((plain(str(k)), plain(str(v))) for k, v in sorted((record.get("failed") or {}).items())),
        classes=_classes(layers.get("by_class") or {}),
        worst=tuple(_worst(row) for row in layers.get("worst") or ()),
        compared_layers=int(layers.get("count") or 0),
        gates=gates(record),
        calibration=record["calibration"],
        coincidence=(int(same["in_calibration"]), int(same["kernels"])) if same.get("kernels") else None,
        times_better=beaten / mean if mean > 0 and beaten else None,
        interrupted=bool(record.get("interrupted")),
    )


def _facts(record: Mapping[str, Any], hardware: Mapping[str, Any], device: str) -> tuple[tuple[str, str], ...]:
    """(translation key, text) of the page's head."""
    versions = record.get("versions") or {}
    order = ("torch", "onnxruntime", "cuda", "cudnn", "driver", "python", "cnnprof")
    names = sorted(versions, key=lambda name: (order.index(name) if name in order else len(order), name))
    system = " ".join(str(hardware[key]) for key in ("system", "machine") if hardware.get(key))
    found = [
        ("device", device),
        ("cores", plain(str(hardware.get("cores", "")))),
        ("memory", nbytes(int(hardware["memory_bytes"])) if hardware.get("memory_bytes") else ""),
        ("host", plain(str(hardware.get("host", "")))),
        ("system", plain(system)),
        ("versions", ", ".join(plain(f"{name} {versions[name]}") for name in names)),
    ]
    return tuple((key, text) for key, text in found if text)


def _network(at: int, row: Mapping[str, Any]) -> Network:
    collection, _, name = str(row["model"]).rpartition(":")
    measured = _finite(row["measured_s"])
    if measured <= 0:
        raise ValueError(f"{row['model']}: measured_s {measured!r}")
    return Network(
        key=f"c{at}",
        name=plain(name),
        collection=plain(collection),
        measured_s=measured,
        predicted_s=_finite(row["predicted_s"]),
        low_s=_finite(row["low_s"]),
        high_s=_finite(row["high_s"]),
        error=_finite(row["error"]),
        half_width=float(row["half_width"]),
        again=float(row["again_s"]) / float(row.get("first_s") or measured) - 1.0
        if row.get("again_s") is not None
        else None,
        known_share=float(row.get("inside_share", 1.0)),
        quiet=bool(row["quiet"]),
        reasons=tuple(plain(str(reason)) for reason in row.get("reasons") or ()),
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value!r}")
    return number


def _classes(by_class: Mapping[str, Mapping[str, Any]]) -> tuple[ClassError, ...]:
    rows = list(by_class.values())
    enough = [row for row in rows if int(row["count"]) >= _ENOUGH] or rows
    most = max((float(row["median_error"]) for row in enough), default=0.0)
    found = [
        ClassError(
            name=plain(str(name)),
            layers=int(row["count"]),
            median_error=float(row["median_error"]),
            bias=float(row["bias"]),
            fraction=min(1.0, float(row["median_error"]) / most) if most else 0.0,
        )
        for name, row in by_class.items()
    ]
    return tuple(sorted(found, key=lambda row: (-row.layers, row.name)))


def _worst(row: Mapping[str, Any]) -> WorstLayer:
    features = row.get("features") or {}
    return WorstLayer(
        model=plain(str(row["model"])),
        layer=plain(str(row["layer"])),
        cls=plain(str(row["class"])),
        bound=plain(str(features["bound"])) if features.get("bound") else None,
        flops_per_byte=None if features.get("flops_per_byte") is None else float(features["flops_per_byte"]),
        inside=None if features.get("inside") is None else bool(features["inside"]),
        measured_share=float(row["measured_share"]),
        predicted_share=float(row["predicted_share"]),
    )
