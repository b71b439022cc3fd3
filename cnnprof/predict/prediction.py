"""What a prediction says: per kernel and end to end, with intervals, and what bounds each kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Interval", "LayerPrediction", "Prediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A latency with its 80 % and 90 % intervals, in seconds."""

    latency_s: float
    low80_s: float
    high80_s: float
    low90_s: float
    high90_s: float

    def to_dict(self) -> dict[str, float]:
        return {
            "latency_s": self.latency_s,
            "low_s": self.low90_s,
            "high_s": self.high90_s,
            "low80_s": self.low80_s,
            "high80_s": self.high80_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPrediction:
    """One kernel. ``layers`` are the IR ops it covers: its time stands at the first, the others are fused into it. A
    kernel of no op (a reorder between memory layouts) has none, and its time is between the layers.

    ``bound`` is "compute", "memory" or "overhead". ``flops_per_s`` is the rate predicted, ``attainable_flops_per_s``
    what the roofline allows at this ``intensity`` (FLOPs per byte): their ratio is the kernel's place under the roof.
    ``inside`` is False where the kernel lies outside the range that was calibrated.
    """

    layers: tuple[str, ...]
    cls: str
    time: Interval
    bound: str
    flops_per_s: float
    attainable_flops_per_s: float | None
    intensity: float | None
    inside: bool = True

    @property
    def name(self) -> str:
        """The first op it covers, "" without one."""
        return self.layers[0] if self.layers else ""

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            **self.time.to_dict(),
            "class": self.cls,
            "bound": self.bound,
            "flops_per_s": self.flops_per_s,
            "inside": self.inside,
        }
        if self.intensity is not None:
            document["intensity"] = self.intensity
        if self.attainable_flops_per_s is not None:
            document["attainable_flops_per_s"] = self.attainable_flops_per_s
        if len(self.layers) > 1:
            document["fused"] = list(self.layers[1:])
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A whole network on one device. ``mode`` is "datasheet" or "calibrated"; ``degraded`` names the gates that the
    device's calibration failed. ``ridge_flops_per_byte`` is where its roof bends."""

    device: str
    title: str
    kind: str
    mode: str
    runner: str
    dtype: str
    batch: int
    threads: int | None
    layers: tuple[LayerPrediction, ...]
    total: Interval
    peak_flops_per_s: float
    bandwidth_bytes_per_s: float
    degraded: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def latency_s(self) -> float:
        return self.total.latency_s

    @property
    def throughput_per_s(self) -> float | None:
        """Samples per second; None for a network without kernels."""
        return self.batch / self.latency_s if self.latency_s > 0 else None

    @property
    def inside_share(self) -> float:
        """Share of the kernels' predicted time that lies within the calibrated range."""
        total = sum(layer.time.latency_s for layer in self.layers)
        inside = sum(layer.time.latency_s for layer in self.layers if layer.inside)
        return inside / total if total else 1.0

    @property
    def bound_shares(self) -> Mapping[str, float]:
        """Share of the kernels' time by what bounds them."""
        return self._shares(lambda layer: layer.bound)

    @property
    def class_shares(self) -> Mapping[str, float]:
        """Share of the kernels' time by class, largest first."""
        return self._shares(lambda layer: layer.cls)

    def _shares(self, key: Any) -> dict[str, float]:
        sums: dict[str, float] = {}
        for layer in self.layers:
            sums[key(layer)] = sums.get(key(layer), 0.0) + layer.time.latency_s
        whole = sum(sums.values()) or 1.0
        return {name: value / whole for name, value in sorted(sums.items(), key=lambda item: -item[1])}

    def to_dict(self) -> dict[str, Any]:
        """The profile's section ``prediction``: ``low_s`` and ``high_s`` are the 90 % interval."""
        return {
            "device": {"name": self.device, "title": self.title, "kind": self.kind},
            "mode": self.mode,
            "runner": self.runner,
            "dtype": self.dtype,
            "batch": self.batch,
            **({} if self.threads is None else {"threads": self.threads}),
            **self.total.to_dict(),
            **({} if self.throughput_per_s is None else {"throughput_per_s": self.throughput_per_s}),
            "between_layers_s": self.between_layers_s,
            "bound_shares": dict(self.bound_shares),
            "class_shares": dict(self.class_shares),
            "inside_share": self.inside_share,
            "peak_flops_per_s": self.peak_flops_per_s,
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "degraded": list(self.degraded),
            "warnings": list(self.warnings),
            "by_layer": {layer.name: layer.to_dict() for layer in self.layers if layer.layers},
        }

    @property
    def between_layers_s(self) -> float:
        """End to end less the sum of the layers' kernels: what no layer owns. Negative where kernels overlap."""
        return self.latency_s - sum(layer.time.latency_s for layer in self.layers if layer.layers)

    def layer_sections(self) -> dict[str, dict[str, Any]]:
        """``latency`` of each layer of the profile; one that is fused into another says into which."""
        sections: dict[str, dict[str, Any]] = {}
        for layer in self.layers:
            if not layer.layers:
                continue
            row = layer.to_dict()
            sections[layer.name] = {
                "predicted_s": row["latency_s"],
                "low_s": row["low_s"],
                "high_s": row["high_s"],
                "bound": layer.bound,
            }
            for other in layer.layers[1:]:
                sections[other] = {"predicted_s": 0.0, "fused_into": layer.name}
        return sections
