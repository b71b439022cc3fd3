"""The figures of an accuracy record against what they should be, and the gates of its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnprof.render.quantities import plain
from cnnprof.render.views.accuracy_record import is_sweep

__all__ = ["Figure", "Gate", "Target", "figures", "gates"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least ``low``, at most ``high``, both included; None: no limit on that side."""

    low: float | None = None
    high: float | None = None

    def met(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line: the prediction's value, its target if it has one, and the naive baselines' (None: not theirs to have).

    ``unit`` is "count", "share" (0.08 is 8 %), "signed" (a share with its sign), "rank" or "times".
    """

    key: str
    unit: str
    value: float
    target: Target | None = None
    met: bool | None = None
    baselines: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One check of the calibration; ``value`` is None where it couldn't be made."""

    name: str
    unit: str
    value: float | None
    target: Target
    passed: bool


# What the project asks of itself at any setting, of a list (a sweep is a few networks at many sizes), and by (runner,
# several threads, more than one image).
_ALWAYS = {
    "rank_correlation": Target(low=0.99),
    "coverage_90": Target(low=0.87, high=0.95),
    "median_half_width": Target(high=0.10),
    "layers_median_error": Target(high=0.12),
    "top_5_recall": Target(low=0.95),
}
_OF_A_LIST = {"models": Target(low=40)}
_BY_SETTING = {
    ("torch", False, False): {"mean": Target(high=0.04), "within_10": Target(low=0.95)},
    ("torch", True, False): {"mean": Target(high=0.06)},
    ("torch", False, True): {"mean": Target(high=0.07)},
    ("onnxruntime", False, False): {
        "mean": Target(high=0.05), "within_10": Target(low=0.90), "worst": Target(high=0.20),
    },
    ("onnxruntime", False, True): {"mean": Target(high=0.07)},
}  # fmt: skip
_ERRORS = (
    ("mean", "share"), ("median", "share"), ("within_5", "share"), ("within_10", "share"), ("within_20", "share"),
    ("worst", "share"), ("bias", "signed"), ("rank_correlation", "rank"),
)  # fmt: skip
_GATE_UNITS = {"coherence": "ratio", "samples": "count", "disturbed": "share", "drift": "share"}


def figures(record: Mapping[str, Any], baselines: Sequence[str]) -> tuple[Figure, ...]:
    """In the order they are read; empty where nothing was quiet enough to judge."""
    if "errors" not in record:
        return ()
    targets = _targets(record)
    errors, others = record["errors"], [record["baselines"][name] for name in baselines]
    rows = [("models", "count", errors.get("models"), ())]
    rows += [(key, unit, errors.get(key), tuple(other.get(key) for other in others)) for key, unit in _ERRORS]
    intervals, layers = record.get("intervals") or {}, record.get("layers") or {}
    floor, layers_floor = record.get("noise_floor") or {}, layers.get("noise_floor") or {}
    rows += [
        ("coverage_90", "share", intervals.get("coverage_90"), ()),
        ("median_half_width", "share", intervals.get("median_half_width"), ()),
        ("layers_median_error", "share", layers.get("median_error"), ()),
        ("top_5_recall", "share", layers.get("top_5_recall"), ()),
        ("noise_floor", "share", floor.get("median"), ()),
        ("error_over_noise", "times", record.get("error_over_noise"), ()),
        ("layers_noise_floor", "share", layers_floor.get("median_error"), ()),
        ("top_5_noise_floor", "share", layers_floor.get("top_5_recall"), ()),
    ]
    return tuple(
        Figure(
            key=key,
            unit=unit,
            value=float(value),
            target=targets.get(key),
            met=targets[key].met(float(value)) if key in targets else None,
            baselines=beside or (None,) * len(baselines),
        )
        for key, unit, value, beside in rows
        if value is not None
    )


def _targets(record: Mapping[str, Any]) -> Mapping[str, Target]:
    """None for a GPU, for which nothing is promised."""
    if record.get("kind", "cpu") != "cpu" or "gpu_check" in record or "capability" in (record.get("hardware") or {}):
        return {}
    sweep = is_sweep(record)
    setting = (str(record["runner"]), int(record["threads"] or 1) > 1, int(record.get("batch") or 1) > 1 or sweep)
    return {**_ALWAYS, **({} if sweep else _OF_A_LIST), **_BY_SETTING.get(setting, {})}


def gates(record: Mapping[str, Any]) -> tuple[Gate, ...]:
    """The calibration's own checks, in the record's order."""
    return tuple(
        Gate(
            name=plain(str(gate["name"])),
            unit=_GATE_UNITS.get(str(gate["name"]), "ratio"),
            value=None if gate.get("value") is None else float(gate["value"]),
            target=Target(low=gate.get("low"), high=gate.get("high")),
            passed=bool(gate["passed"]),
        )
        for gate in record["calibration"].get("gates") or ()
    )
