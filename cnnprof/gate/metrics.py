"""What a budget can limit, and where each number stands in a Profile.

A number that the profile doesn't hold is :class:`Missing`, with what to run to get it: never zero, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cnnprof.gate.quantity import Dimension
from cnnprof.profile import Layer, Profile

__all__ = ["LAYER_METRICS", "METRICS", "Metric", "Missing", "coverage_of", "depends_on_work"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a profile can't answer, and what to run so that it can."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A limitable number: its key in TOML, what it counts, and how it is read."""

    key: str
    dimension: Dimension
    read: Callable[[Profile], int | float | Missing]
    section: str | None = None

    @property
    def flag(self) -> str:
        """The command line's spelling: ``--max-macs``."""
        return f"--max-{_FLAGS.get(self.key, self.key.replace('_', '-'))}"


_FLAGS = {"parameters": "params", "peak_bytes": "peak", "parameter_bytes": "param-bytes"}


def _total(key: str, hint: str | None = None) -> Callable[[Profile], int | float | Missing]:
    def read(profile: Profile) -> int | float | Missing:
        value = profile.totals.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        return Missing(f"the profile has no {key}", hint or "analyse the model again with this version of cnnprof")

    return read


def _moved(profile: Profile) -> int | Missing:
    read, written = profile.totals.get("bytes_read"), profile.totals.get("bytes_written")
    if read is None or written is None:
        return Missing("the profile has no memory traffic", "analyse the model again")
    return int(read) + int(written)


def _latency(profile: Profile) -> float | Missing:
    section = profile.prediction
    if section is None or "latency_s" not in section:
        return Missing(
            "the profile has no predicted latency",
            'add device = "NAME" to the budget (cnnprof devices list names them), or save the profile '
            "with: cnnprof predict MODEL --device NAME --format json",
        )
    return float(section["latency_s"])


_NO_MEMORY = "the memory analysis was not run for this profile: cnnprof analyze MODEL --format json -o FILE"

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.key: metric
        for metric in (
            Metric("macs", Dimension.MACS, _total("macs")),
            Metric("flops", Dimension.FLOPS, _total("flops")),
            Metric("transcendentals", Dimension.COUNT, _total("transcendentals")),
            Metric("parameters", Dimension.PARAMETERS, _total("parameters")),
            Metric("parameter_bytes", Dimension.BYTES, _total("parameter_bytes")),
            Metric("buffer_bytes", Dimension.BYTES, _total("buffer_bytes")),
            Metric("activation_elements", Dimension.ELEMENTS, _total("activation_elements")),
            Metric("activation_bytes", Dimension.BYTES, _total("activation_bytes")),
            Metric("peak_bytes", Dimension.BYTES, _total("peak_bytes", _NO_MEMORY), "memory"),
            Metric(
                "peak_activation_bytes",
                Dimension.BYTES,
                _total("peak_activation_bytes", _NO_MEMORY),
                "memory",
            ),
            Metric("bytes_read", Dimension.BYTES, _total("bytes_read")),
            Metric("bytes_written", Dimension.BYTES, _total("bytes_written")),
            Metric("bytes_moved", Dimension.BYTES, _moved),
            Metric("latency", Dimension.SECONDS, _latency, "prediction"),
        )
    }
)

# Numbers that add up over layers.
LAYER_METRICS: Mapping[str, Callable[[Layer], int | None]] = MappingProxyType(
    {
        "macs": lambda layer: layer.macs,
        "flops": lambda layer: layer.flops,
        "parameters": lambda layer: layer.parameters,
        "parameter_bytes": lambda layer: layer.parameter_bytes,
        "activation_elements": lambda layer: layer.activation_elements,
        "activation_bytes": lambda layer: layer.activation_bytes,
        "bytes_moved": lambda layer: layer.bytes_moved,
    }
)


def coverage_of(profile: Profile) -> tuple[int, int]:
    """(ops whose cost is known, all ops)."""
    coverage: Mapping[str, Any] = profile.coverage
    return int(coverage["counted"]) + int(coverage["zero_by_definition"]), int(coverage["ops"])


def depends_on_work(key: str) -> bool:
    """True for numbers that are only lower bounds while an operator is unknown."""
    return key not in ("parameters", "parameter_bytes", "buffer_bytes")
