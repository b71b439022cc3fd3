"""A saved accuracy record (``cnnprof verify -o x.json``): told apart from a profile, and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cnnprof.errors import SchemaError

__all__ = ["ACCURACY_SCHEMA", "accuracy_record", "is_accuracy_record", "is_sweep"]

ACCURACY_SCHEMA = "cnnprof.accuracy/1"  # as measure writes it; a page is made without measure
_FAMILY = "cnnprof.accuracy/"
_REQUIRED = ("device", "runner", "threads", "models", "too_noisy", "calibration")
_HINT = "make it again with: cnnprof verify -o FILE"


def is_accuracy_record(text: str | bytes) -> bool:
    """True for an accuracy record of any schema version, or one whose schema is gone; False for all else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, Mapping):
        return False
    if "schema" in document:
        return str(document["schema"]).startswith(_FAMILY)
    return {"models", "too_noisy"} <= set(document)


def accuracy_record(text: str | bytes, *, origin: str) -> Mapping[str, Any]:
    """Read a record. Raises :class:`SchemaError` naming what is wrong with ``origin``."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{origin}: not JSON ({error})", "check the file") from None
    if not isinstance(document, Mapping) or "schema" not in document:
        raise SchemaError(f"{origin}: not an accuracy record (no schema, expected {ACCURACY_SCHEMA})", _HINT)
    if document["schema"] != ACCURACY_SCHEMA:
        raise SchemaError(f"{origin}: expected schema {ACCURACY_SCHEMA}, got {document['schema']!r}", _HINT)
    missing = [key for key in _REQUIRED if key not in document]
    if missing:
        raise SchemaError(f"{origin}: the accuracy record lacks {', '.join(missing)}", _HINT)
    return document


def is_sweep(record: Mapping[str, Any]) -> bool:
    """True where each network has an input of its own, as in ``torchvision:resnet18 4x3x224x224``."""
    return any(" " in str(row["model"]) for row in record["models"])
