"""The Profile: everything a renderer or the gate needs, saved as one JSON document.

``to_dict``/``from_dict`` and ``to_json``/``from_json`` round-trip exactly: sorted keys, exact integers, no
NaN. A section that wasn't asked for is absent. A saved profile can be re-rendered, compared and gated on
another machine and another day.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cnnprof.errors import SchemaError

__all__ = ["CONVENTION", "SCHEMA", "SECTIONS", "Layer", "Profile"]

SCHEMA = "cnnprof.profile/1"
CONVENTION = "cnnprof"
SECTIONS = ("receptive_field", "memory", "prediction", "measurement")
_REQUIRED = (
    "tool",
    "model",
    "inputs",
    "outputs",
    "mode",
    "convention",
    "totals",
    "coverage",
    "layers",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of ``layers``, a typed view of its JSON object.

    Costs are None where unknown (the keys are then absent in the JSON); ``unknown`` says why.
    """

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def op_type(self) -> str:
        return str(self.data["op_type"])

    @property
    def scope(self) -> str:
        return str(self.data["scope"])

    @property
    def unknown(self) -> str | None:
        """Why the cost isn't known, or None if it is."""
        return self.data.get("unknown")

    @property
    def inputs(self) -> tuple[str | None, ...]:
        return tuple(self.data["inputs"])

    @property
    def outputs(self) -> tuple[Mapping[str, Any], ...]:
        """``{name, shape?, dtype}`` of each output."""
        return tuple(self.data["outputs"])

    @property
    def attributes(self) -> Mapping[str, Any]:
        attributes: Mapping[str, Any] = self.data.get("attributes", {})
        return attributes

    @property
    def work(self) -> Mapping[str, int] | None:
        return self.data.get("work")

    @property
    def macs(self) -> int | None:
        return self.data.get("macs")

    @property
    def flops(self) -> int | None:
        return self.data.get("flops")

    @property
    def transcendentals(self) -> int | None:
        return self.data.get("transcendentals")

    @property
    def parameters(self) -> int:
        return int(self.data["parameters"])

    @property
    def parameter_bytes(self) -> int:
        return int(self.data["parameter_bytes"])

    @property
    def activation_elements(self) -> int:
        return int(self.data["activation_elements"])

    @property
    def activation_bytes(self) -> int | None:
        return self.data.get("activation_bytes")

    @property
    def bytes_read(self) -> int | None:
        return self.data.get("bytes_read")

    @property
    def bytes_written(self) -> int | None:
        return self.data.get("bytes_written")

    @property
    def bytes_moved(self) -> int | None:
        read, written = self.bytes_read, self.bytes_written
        return None if read is None or written is None else read + written

    @property
    def arithmetic_intensity(self) -> float | None:
        """FLOPs per byte; None where either is unknown or nothing moves."""
        moved = self.bytes_moved
        return None if self.flops is None or not moved else self.flops / moved

    @property
    def time_formula(self) -> Mapping[str, str] | None:
        """``{symbols, numbers}``, e.g. ``O(M²·K²·C_in·C_out)`` and ``56·56·3·3·64·64``."""
        return self.data.get("time_formula")

    @property
    def repeat(self) -> int:
        return int(self.data.get("repeat", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model, one run. Field by field as the schema page has it; sections are JSON objects or None."""

    tool: Mapping[str, str]
    model: Mapping[str, Any]
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    mode: str
    convention: str
    totals: Mapping[str, Any]
    coverage: Mapping[str, Any]
    layers: tuple[Layer, ...]
    warnings: tuple[Mapping[str, str], ...]
    bounds: Mapping[str, Any] | None = None
    receptive_field: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] | None = None
    prediction: Mapping[str, Any] | None = None
    measurement: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.model["name"])

    @property
    def macs(self) -> int:
        return int(self.totals["macs"])

    @property
    def parameters(self) -> int:
        return int(self.totals["parameters"])

    @property
    def complete(self) -> bool:
        """True if every layer's cost is known."""
        return bool(self.coverage["complete"])

    def layer(self, name: str) -> Layer | None:
        return next((layer for layer in self.layers if layer.name == name), None)

    def with_sections(self, **sections: Mapping[str, Any] | None) -> Profile:
        """A copy with sections added, replaced or (None) removed."""
        return replace(self, **sections)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {"schema": SCHEMA, **self.extra}
        for key in _REQUIRED:
            document[key] = _plain(getattr(self, key))
        for key in ("bounds", *SECTIONS):
            value = getattr(self, key)
            if value is not None:
                document[key] = _plain(value)
        return document

    def to_json(self) -> str:
        """The document, sorted and indented, with a newline at its end."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, document: Any, *, origin: str = "profile") -> Profile:
        """Read a document. Raises :class:`SchemaError` naming what is wrong with ``origin``."""
        hint = "make it again with: cnnprof analyze MODEL --format json -o FILE"
        if not isinstance(document, Mapping) or "schema" not in document:
            raise SchemaError(f"{origin}: not a cnnprof profile (no schema)", hint)
        if document["schema"] != SCHEMA:
            raise SchemaError(f"{origin}: expected schema {SCHEMA}, got {document['schema']!r}", hint)
        missing = [key for key in _REQUIRED if key not in document]
        if missing:
            raise SchemaError(f"{origin}: the profile lacks {', '.join(missing)}", hint)
        known = {"schema", "bounds", *_REQUIRED, *SECTIONS}
        try:
            return cls(
                tool=document["tool"],
                model=document["model"],
                inputs=tuple(document["inputs"]),
                outputs=tuple(document["outputs"]),
                mode=document["mode"],
                convention=document["convention"],
                totals=document["totals"],
                coverage=document["coverage"],
                layers=tuple(_layer(row) for row in document["layers"]),
                warnings=tuple(document["warnings"]),
                bounds=document.get("bounds"),
                **{key: document.get(key) for key in SECTIONS},
                extra={key: value for key, value in document.items() if key not in known},
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise SchemaError(f"{origin}: the profile is damaged ({error})", hint) from None

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str = "profile") -> Profile:
        """Read JSON text. Raises :class:`SchemaError`, never a decoding error."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SchemaError(f"{origin}: not JSON ({error})", "check the file") from None
        return cls.from_dict(document, origin=origin)


_LAYER_KEYS = ("name", "kind", "op_type", "scope", "inputs", "outputs", "parameters", "parameter_bytes")


def _layer(row: Any) -> Layer:
    missing = [key for key in _LAYER_KEYS if key not in row]
    if missing:
        raise ValueError(f"a layer lacks {', '.join(missing)}")
    return Layer(row)


def _plain(value: Any) -> Any:
    """Tuples to lists, layers to objects, and no float that JSON can't hold."""
    if isinstance(value, Layer):
        return _plain(value.data)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a profile can't hold {value}")
    return value
