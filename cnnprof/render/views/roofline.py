"""The roofline: each layer's rate against what its intensity allows on the predicted device."""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain
from cnnprof.render.views.timing import device_of, rows_of, seconds_of

__all__ = ["RoofPoint", "Roofline", "roofline_view"]


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
    rows = rows_of(section)
    total = sum(seconds_of(row) or 0.0 for row in rows.values()) or 1.0
    points = tuple(
        RoofPoint(
            key=f"n{index[name]}" if name in index else "",
            name=plain(name),
            intensity=float(row["intensity"]),
            flops_per_s=float(row["flops_per_s"]),
            share=(seconds_of(row) or 0.0) / total,
            bound=str(row.get("bound", "")),
        )
        for name, row in rows.items()
        if row.get("intensity") and row.get("flops_per_s")
    )
    bounds = section.get("bound_shares") or {}
    return Roofline(
        device=device_of(section),
        peak_flops_per_s=float(peak),
        bandwidth_bytes_per_s=float(bandwidth),
        points=points,
        bounds=tuple(sorted(((str(k), float(v)) for k, v in bounds.items()), key=lambda p: (-p[1], p[0]))),
    )
