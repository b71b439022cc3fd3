"""The element types a what-if may ask for."""

from __future__ import annotations

from cnnprof.errors import UsageError
from cnnprof.ir import DType

__all__ = ["WHAT_IF_DTYPES", "parse_dtype", "parse_dtype_options"]

WHAT_IF_DTYPES = (
    DType.FLOAT64,
    DType.FLOAT32,
    DType.FLOAT16,
    DType.BFLOAT16,
    DType.FLOAT8,
    DType.FLOAT4,
    DType.INT8,
    DType.UINT8,
    DType.INT4,
    DType.UINT4,
)


def parse_dtype(name: str | DType | None) -> DType | None:
    """The type of that name; None stays None. Raises :class:`UsageError` for anything else."""
    if name is None or isinstance(name, DType):
        return name
    for dtype in WHAT_IF_DTYPES:
        if dtype.value == name.strip().lower():
            return dtype
    known = ", ".join(dtype.value for dtype in WHAT_IF_DTYPES)
    raise UsageError(f"dtype {name!r}: expected one of {known}", "for example float16")


def parse_dtype_options(options: tuple[str, ...]) -> tuple[DType | None, DType | None]:
    """(weights, activations) from ``"float16"`` (both), ``"weights=int8"``, ``"activations=float16"``."""
    weights = activations = None
    for option in options:
        part, equals, name = option.rpartition("=")
        dtype = parse_dtype(name)
        if equals and part not in ("weights", "activations"):
            raise UsageError(f"--dtype {option}: expected weights=TYPE or activations=TYPE", "or one TYPE for both")
        weights = dtype if part in ("", "weights") else weights
        activations = dtype if part in ("", "activations") else activations
    return weights, activations
