"""Predicted and measured latency: end to end, by layer, by class of operator; and the roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain

__all__ = ["ClassTime", "LatencyView", "Pair", "RoofPoint", "Roofline", "latency_view", "roofline_view"]

_WORST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One layer, timed both ways. ``error`` is predicted over measured, minus one."""

    key: str
    name: str
    what: str
    predicted_s: float
    measured_s: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTime:
    """All layers of one class: seconds either way (None where that was not made), and the share of the time."""

    name: str
    layers: int
    predicted_s: float | None
    measured_s: float | None
    share: float


@dataclass(frozen=True, kw_only=True)
class LatencyView:
    """``between_s``: end to end less the layers' sum, of the measurement if there is one. ``inside``: share of
    measured layers that lie in their predicted interval."""

    device: str
    predicted_s: float | None
    low_s: float | None
    high_s: float | None
    measured_s: float | None
    error: float | None
    between_s: float | None
    degraded: tuple[str, ...]
    classes: tuple[ClassTime, ...]
    pairs: tuple[Pair, ...]
    worst: tuple[Pair, ...]
    inside: float | None


def latency_view(profile: Profile) -> LatencyView | None:
    """None where there is neither a prediction nor a measurement."""
    predicted, measured = profile.prediction or {}, profile.measurement or {}
    if not predicted and not measured:
        return None
    rows = {"predicted": _rows(predicted), "measured": _rows(measured)}
    index = {layer.name: at for at, layer in enumerate(profile.layers)}
    pairs = []
    inside: list[bool] = []
    for name, row in rows["measured"].items():
        guess, actual = _seconds(rows["predicted"].get(name)), _seconds(row)
        if guess is None or not actual:
            continue
        pairs.append(
            Pair(
                key=f"n{index[name]}" if name in index else "",
                name=plain(name),
                what=_class(profile, index, name, rows["predicted"]),
                predicted_s=guess,
                measured_s=actual,
                error=guess / actual - 1,
            )
        )
        low, high = (rows["predicted"][name].get(key) for key in ("low_s", "high_s"))
        if low is not None and high is not None:
            inside.append(low <= actual <= high)
    ends = [_seconds(section) for section in (predicted, measured)]
    return LatencyView(
        device=_device(measured or predicted),
        predicted_s=ends[0],
        low_s=predicted.get("low_s"),
        high_s=predicted.get("high_s"),
        measured_s=ends[1],
        error=ends[0] / ends[1] - 1 if ends[0] is not None and ends[1] else None,
        between_s=(measured or predicted).get("between_layers_s"),
        degraded=tuple(plain(str(reason)) for reason in predicted.get("degraded", ())),
        classes=_classes(profile, index, rows),
        pairs=tuple(pairs),
        worst=tuple(sorted(pairs, key=lambda p: (-abs(p.predicted_s - p.measured_s), p.key))[:_WORST]),
        inside=sum(inside) / len(inside) if inside else None,
    )


def _rows(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    rows = section.get("by_layer") or {}
    return {str(name): row for name, row in rows.items() if isinstance(row, Mapping)}


def _seconds(row: Mapping[str, Any] | None) -> float | None:
    value = (row or {}).get("latency_s")
    return float(value) if isinstance(value, (int, float)) else None


def _device(section: Mapping[str, Any]) -> str:
    device = section.get("device")
    if isinstance(device, Mapping):
        return plain(str(device.get("title") or device.get("name") or ""))
    return plain(str(device or ""))


def _class(profile: Profile, index: Mapping[str, int], name: str, predicted: Mapping[str, Mapping[str, Any]]) -> str:
    row = predicted.get(name, {})
    if "class" in row:
        return plain(str(row["class"]))
    return plain(profile.layers[index[name]].kind) if name in index else ""


def _classes(
    profile: Profile, index: Mapping[str, int], rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> tuple[ClassTime, ...]:
    sums: dict[str, dict[str, float]] = {}
    counts: dict[str, set[str]] = {}
    for side, by_layer in rows.items():
        for name, row in by_layer.items():
            cls = _class(profile, index, name, rows["predicted"])
            own = sums.setdefault(cls, {})
            own[side] = own.get(side, 0.0) + (_seconds(row) or 0.0)
            counts.setdefault(cls, set()).add(name)
    main = "measured" if rows["measured"] else "predicted"
    total = sum(own.get(main, 0.0) for own in sums.values())
    found = [
        ClassTime(
            name=cls,
            layers=len(counts[cls]),
            predicted_s=own.get("predicted"),
            measured_s=own.get("measured"),
            share=own.get(main, 0.0) / total if total else 0.0,
        )
        for cls, own in sums.items()
    ]
    return tuple(sorted(found, key=lambda row: (-row.share, row.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoofPoint:
    """One layer on the roofline. ``share`` of the predicted time."""

    key: str
    name: str
    intensity: float
    flops_per_s: float
    share: float
    bound: str


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The roof is min(peak, bandwidth · intensity). ``bounds``: share of the time by what limits it."""

    device: str
    peak_flops_per_s: float
    bandwidth_bytes_per_s: float
    points: tuple[RoofPoint, ...]
    bounds: tuple[tuple[str, float], ...]

    @property
    def ridge_flops_per_byte(self) -> float:
        return self.peak_flops_per_s / self.bandwidth_bytes_per_s


def roofline_view(profile: Profile) -> Roofline | None:
    """None without a prediction that states its device's peak and bandwidth."""
    section = profile.prediction or {}
    peak, bandwidth = section.get("peak_flops_per_s"), section.get("bandwidth_bytes_per_s")
    if not peak or not bandwidth:
        return None
    index = {layer.name: at for at, layer in enumerate(profile.layers)}
    rows = _rows(section)
    total = sum(_seconds(row) or 0.0 for row in rows.values()) or 1.0
    points = tuple(
        RoofPoint(
            key=f"n{index[name]}" if name in index else "",
            name=plain(name),
            intensity=float(row["intensity"]),
            flops_per_s=float(row["flops_per_s"]),
            share=(_seconds(row) or 0.0) / total,
            bound=str(row.get("bound", "")),
        )
        for name, row in rows.items()
        if row.get("intensity") and row.get("flops_per_s")
    )
    bounds = section.get("bound_shares") or {}
    return Roofline(
        device=_device(section),
        peak_flops_per_s=float(peak),
        bandwidth_bytes_per_s=float(bandwidth),
        points=points,
        bounds=tuple(sorted(((str(k), float(v)) for k, v in bounds.items()), key=lambda p: (-p[1], p[0]))),
    )
