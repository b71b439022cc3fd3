"""The quantities a page can be asked for, and how each is read from a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cnnprof.profile import Layer, Profile
from cnnprof.render.views.timing import measured_of

__all__ = ["METRICS", "Metric", "Sums", "layer_sums", "layer_times", "metrics_of"]


def layer_times(profile: Profile) -> dict[str, float]:
    """Latency in seconds by layer name: measured if that was done, else predicted, never some of each;
    empty for neither."""
    for section in (measured_of(profile), profile.prediction or {}):
        rows = section.get("by_layer") or {}
        times: dict[str, float] = {}
        for name, row in rows.items() if isinstance(rows, Mapping) else ():
            value = row.get("latency_s") if isinstance(row, Mapping) else row
            if isinstance(value, (int, float)):
                times[str(name)] = float(value)
        if times:
            return times
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Totals of some layers. ``uncounted`` is how many of them have no known cost: sums are then lower bounds."""

    macs: int = 0
    parameters: int = 0
    activation_bytes: int = 0
    bytes_moved: int = 0
    latency_s: float = 0.0
    layers: int = 0
    uncounted: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            macs=self.macs + other.macs,
            parameters=self.parameters + other.parameters,
            activation_bytes=self.activation_bytes + other.activation_bytes,
            bytes_moved=self.bytes_moved + other.bytes_moved,
            latency_s=self.latency_s + other.latency_s,
            layers=self.layers + other.layers,
            uncounted=self.uncounted + other.uncounted,
        )


def layer_sums(profile: Profile) -> tuple[Sums, ...]:
    """Each layer's share of every metric."""
    times = layer_times(profile)
    return tuple(_sums(layer, times.get(layer.name, 0.0)) for layer in profile.layers)


def _sums(layer: Layer, latency_s: float) -> Sums:
    return Sums(
        macs=layer.macs or 0,
        parameters=layer.parameters,
        activation_bytes=layer.activation_bytes or 0,
        bytes_moved=layer.bytes_moved or 0,
        latency_s=latency_s,
        layers=1,
        uncounted=int(layer.unknown is not None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``key`` names the translation and the page's switch, ``unit`` is "count", "bytes" or "seconds"."""

    key: str
    unit: str
    of: Callable[[Sums], float]


METRICS = (
    Metric(key="macs", unit="count", of=lambda s: s.macs),
    Metric(key="parameters", unit="count", of=lambda s: s.parameters),
    Metric(key="activations", unit="bytes", of=lambda s: s.activation_bytes),
    Metric(key="traffic", unit="bytes", of=lambda s: s.bytes_moved),
    Metric(key="time", unit="seconds", of=lambda s: s.latency_s),
)


def metrics_of(profile: Profile) -> tuple[Metric, ...]:
    """The metrics this profile can show: time only where layers have a latency."""
    return METRICS if any(layer_times(profile).values()) else METRICS[:-1]
