"""Element types, with their width in bits (4-bit types pack two to a byte)."""

from __future__ import annotations

from enum import Enum

__all__ = ["DType"]


class DType(Enum):
    """An element type. ``value`` is its name as printed; ``bits`` its width; 0 = no fixed width."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8 = "float8"
    FLOAT6 = "float6"
    FLOAT4 = "float4"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    INT4 = "int4"
    INT2 = "int2"
    UINT64 = "uint64"
    UINT32 = "uint32"
    UINT16 = "uint16"
    UINT8 = "uint8"
    UINT4 = "uint4"
    UINT2 = "uint2"
    BOOL = "bool"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    STRING = "string"
    OPAQUE = "opaque"  # sequences, optionals and anything else that is no tensor
    UNKNOWN = "unknown"

    def __init__(self, name: str) -> None:
        digits = "".join(c for c in name if c.isdigit())
        # An attribute, not a table: every tensor's size asks for it.
        self._bits = 8 if name == "bool" else int(digits) if digits else 0

    @property
    def bits(self) -> int:
        """Width of one element in bits; 0 where there is no fixed width."""
        return self._bits

    @property
    def is_float(self) -> bool:
        return self.value.startswith(("float", "bfloat", "complex"))

    @property
    def is_integer(self) -> bool:
        return self.value.startswith(("int", "uint"))

    def nbytes(self, elements: int) -> int:
        """Bytes that ``elements`` packed elements take, rounded up to a whole byte."""
        return (elements * self._bits + 7) // 8
