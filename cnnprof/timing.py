"""Joins predicted and measured latency to a Profile: its sections, and ``latency`` of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from cnnprof.profile import Layer, Profile

__all__ = ["Timed", "with_measurement", "with_prediction"]


class Timed(Protocol):
    """A prediction or a measurement."""

    def to_dict(self) -> dict[str, Any]: ...

    def layer_sections(self) -> dict[str, dict[str, Any]]: ...


def with_prediction(profile: Profile, prediction: Timed) -> Profile:
    """A copy of ``profile`` with its section ``prediction`` and ``latency.predicted_s`` of each layer."""
    return _joined(profile, prediction).with_sections(prediction=prediction.to_dict())


def with_measurement(profile: Profile, measurement: Timed) -> Profile:
    """A copy of ``profile`` with its section ``measurement`` and ``latency.measured_s`` of each layer."""
    return _joined(profile, measurement).with_sections(measurement=measurement.to_dict())


def _joined(profile: Profile, timed: Timed) -> Profile:
    sections = timed.layer_sections()
    return replace(profile, layers=tuple(_layer(layer, sections.get(layer.name)) for layer in profile.layers))


def _layer(layer: Layer, section: Mapping[str, Any] | None) -> Layer:
    if section is None:
        return layer
    return Layer({**layer.data, "latency": {**layer.data.get("latency", {}), **section}})
