"""A value with the unit its metric has, as text."""

from __future__ import annotations

from cnnprof.errors import UsageError
from cnnprof.render.quantities import nbytes, seconds, si

__all__ = ["quantity"]


def quantity(value: float | None, unit: str) -> str:
    """``unit`` is "count", "bytes" or "seconds"."""
    if unit == "count":
        return si(value)
    if unit == "bytes":
        return nbytes(value)
    if unit == "seconds":
        return seconds(value)
    raise UsageError(f"unit {unit!r}: expected count, bytes or seconds")
