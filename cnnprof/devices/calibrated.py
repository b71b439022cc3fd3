"""A calibrated device: what one machine and runner were measured to do, as a versioned JSON document.

The document holds hardware, software versions, runner, threads and dtype (together the key), per kernel class the
roofline's constants and a learned residual as plain arrays, the end-to-end correction, intervals, the range of
what was measured, the gates and their results, and the noise that was met.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.errors import SchemaError

__all__ = ["DEVICE_SCHEMA", "CalibratedDevice"]

DEVICE_SCHEMA = "cnnprof.device/1"
_REQUIRED = ("name", "kind", "hardware", "versions", "runner", "threads", "dtype", "classes", "total", "gates", "range")
_HINT = "calibrate again: cnnprof calibrate"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class CalibratedDevice:
    """A typed view of the document; :mod:`cnnprof.predict.calibrated` evaluates it."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def kind(self) -> str:
        return str(self.data["kind"])

    @property
    def title(self) -> str:
        return str(self.data["hardware"].get("processor", self.name))

    @property
    def runner(self) -> str:
        return str(self.data["runner"])

    @property
    def threads(self) -> int:
        return int(self.data["threads"])

    @property
    def dtype(self) -> str:
        return str(self.data["dtype"])

    @property
    def versions(self) -> Mapping[str, str]:
        return dict(self.data["versions"])

    @property
    def failed_gates(self) -> tuple[Mapping[str, Any], ...]:
        """The gates that the calibration didn't pass; with any, its predictions are ``degraded``."""
        return tuple(gate for gate in self.data["gates"] if not gate["passed"])

    @property
    def degraded(self) -> bool:
        return bool(self.failed_gates)

    def stale(self, installed: Mapping[str, str]) -> tuple[str, ...]:
        """One line for every library that was calibrated at another version than ``installed`` has."""
        return tuple(
            f"{self.name} was calibrated with {name} {version}, installed is {installed[name]}"
            for name, version in sorted(self.versions.items())
            if name in installed and installed[name] != version
        )

    def to_json(self) -> str:
        """One line a key at the top, the trees (megabytes of numbers) packed."""
        document = {"schema": DEVICE_SCHEMA, **self.data}
        lines = [f"{json.dumps(key)}: {_packed(value)}" for key, value in sorted(document.items())]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str) -> CalibratedDevice:
        """Read a document. Raises :class:`SchemaError` naming what is wrong with ``origin``."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SchemaError(f"{origin}: not JSON ({error})", "check the file") from None
        if not isinstance(document, Mapping) or "schema" not in document:
            raise SchemaError(f"{origin}: not a device profile (no schema)", _HINT)
        if document["schema"] != DEVICE_SCHEMA:
            raise SchemaError(f"{origin}: expected schema {DEVICE_SCHEMA}, got {document['schema']!r}", _HINT)
        missing = [key for key in _REQUIRED if key not in document]
        if missing:
            raise SchemaError(f"{origin}: the device profile lacks {', '.join(missing)}", _HINT)
        _check_types(document, origin)
        return cls({key: value for key, value in document.items() if key != "schema"})


def _packed(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _check_types(document: Mapping[str, Any], origin: str) -> None:
    for key in ("hardware", "versions", "classes", "total", "range"):
        if not isinstance(document[key], Mapping):
            raise SchemaError(f"{origin}: {key}: expected an object, got {type(document[key]).__name__}", _HINT)
    gates = document["gates"]
    if not isinstance(gates, list) or not all(isinstance(g, Mapping) and "passed" in g and "name" in g for g in gates):
        raise SchemaError(f"{origin}: gates: expected a list of objects with name and passed", _HINT)
    if not isinstance(document["name"], str) or not _NAME.fullmatch(document["name"]):
        raise SchemaError(f"{origin}: name: expected letters, digits, '.', '_', '-', got {document['name']!r}", _HINT)
    if not isinstance(document["threads"], int) or document["threads"] < 1:
        raise SchemaError(f"{origin}: threads: expected a positive integer, got {document['threads']!r}", _HINT)
