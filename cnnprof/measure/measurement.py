"""What was measured, as the profile's section ``measurement``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnprof.measure.gpu_trace import GpuTimes
from cnnprof.measure.noise import NoiseReport
from cnnprof.measure.runner import Attribution
from cnnprof.measure.statistics import Statistics

__all__ = ["Measurement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """End to end with statistics and the noise verdict; layers if they were asked for. :attr:`latency_s` is None
    where the machine was too noisy: the statistics are there, but not as a result.

    On CUDA ``gpu`` says what the device did, ``kernels`` names those that each layer ran; ``flushed_l2``: every run
    found the L2 cache empty."""

    device: str
    title: str
    runner: str
    threads: int
    batch: int
    versions: Mapping[str, str]
    statistics: Statistics
    noise: NoiseReport
    attribution: Attribution | None = None
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    gpu: GpuTimes | None = None
    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    flushed_l2: bool = False

    @property
    def latency_s(self) -> float | None:
        return self.statistics.latency_s if self.noise.quiet else None

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "device": {"name": self.device, "title": self.title},
            "runner": self.runner,
            "threads": self.threads,
            "batch": self.batch,
            "versions": dict(self.versions),
            "statistic": self.statistics.statistic,
            "statistics": self.statistics.to_dict(),
            "noise": self.noise.to_dict(),
            "warnings": list(self.warnings),
        }
        if self.latency_s is not None:
            document |= {
                "latency_s": self.latency_s,
                "low_s": self.statistics.low_s,
                "high_s": self.statistics.high_s,
                "throughput_per_s": self.batch / self.latency_s,
            }
        if self.gpu is not None:
            document["gpu"] = self.gpu.to_dict()
        if self.flushed_l2:
            document["flushed_l2"] = True
        if self.attribution is not None:
            document |= {
                "by_layer": {
                    name: {"latency_s": seconds} | self._about(name)
                    for name, seconds in self.attribution.seconds.items()
                },
                "between_layers_s": self.attribution.between_layers_s,
                "instrumentation_s": self.attribution.instrumentation_s,
                "scaled": self.attribution.scaled,
            }
        return document

    def _about(self, name: str) -> dict[str, Any]:
        found = {"fused": self.fused.get(name), "kernels": self.kernels.get(name)}
        return {key: list(names) for key, names in found.items() if names}

    def layer_sections(self) -> dict[str, dict[str, Any]]:
        """``latency.measured_s`` of each layer; nothing where the machine was too noisy."""
        if self.attribution is None or self.latency_s is None:
            return {}
        sections: dict[str, dict[str, Any]] = {
            name: {"measured_s": seconds} for name, seconds in self.attribution.seconds.items()
        }
        for name, others in self.fused.items():
            for other in others:
                sections.setdefault(other, {"measured_s": 0.0, "measured_in": name})
        return sections
