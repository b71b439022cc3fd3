"""Default class efficiencies: which share of a datasheet's peaks each class of kernels reaches.

One file for GPUs and one for CPUs in ``data/``, fitted on published measurements of one device of that kind
(:mod:`cnnprof.predict.fit_datasheet` makes them; each says on what, and the errors on the models held out).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["EFFICIENCY_SCHEMA", "Efficiency", "Share", "default_efficiency"]

EFFICIENCY_SCHEMA = "cnnprof.efficiency/1"


@dataclass(frozen=True, slots=True)
class Share:
    """What a class reaches: shares of the compute and memory peaks, and the channels at which half is reached."""

    compute: float
    memory: float
    half_in: float
    half_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """One file. ``weight_stream`` is the share of the bandwidth at which weights are read.
    ``network_log_quantiles`` maps "80" and "90" to (low, high) of log(measured / predicted) on the
    models held out; ``layer_log_sd`` is the spread of single kernels that explains them."""

    fitted_on: str
    device: str
    runner: str
    dtype: str
    exponent: float
    weight_stream: float
    classes: Mapping[str, Share]
    network_log_quantiles: Mapping[str, tuple[float, float]]
    layer_log_sd: float
    held_out: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": EFFICIENCY_SCHEMA,
            "fitted_on": self.fitted_on,
            "device": self.device,
            "runner": self.runner,
            "dtype": self.dtype,
            "exponent": self.exponent,
            "weight_stream": self.weight_stream,
            "classes": {name: {key: getattr(s, key) for key in Share.__slots__} for name, s in self.classes.items()},
            "network_log_quantiles": {level: list(ends) for level, ends in self.network_log_quantiles.items()},
            "layer_log_sd": self.layer_log_sd,
            "held_out": dict(self.held_out),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Efficiency:
        return cls(
            fitted_on=document["fitted_on"],
            device=document["device"],
            runner=document["runner"],
            dtype=document["dtype"],
            exponent=document["exponent"],
            weight_stream=document["weight_stream"],
            classes={name: Share(**row) for name, row in document["classes"].items()},
            network_log_quantiles={k: (v[0], v[1]) for k, v in document["network_log_quantiles"].items()},
            layer_log_sd=document["layer_log_sd"],
            held_out=document["held_out"],
        )


@cache
def default_efficiency(kind: str) -> Efficiency:
    """The defaults for devices of ``kind`` ("gpu" or "cpu")."""
    text = (resources.files("cnnprof.devices") / "data" / f"efficiency_{kind}.json").read_text("utf-8")
    return Efficiency.from_dict(json.loads(text))
