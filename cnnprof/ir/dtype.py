"""Element types, with their width in bits (4-bit types pack two to a byte)."""

from __future__ import annotations

from enum import Enum

__all__ = ["DType"]


class DType(Enum):
    """An element type. ``value`` is its name as printed; ``bits`` the width of one element, 0 = no fixed width."""

    bits: int
    is_float: bool

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

    __hash__ = object.__hash__  # Enum's own is Python; members are single objects

    def __init__(self, name: str) -> None:
        digits = "".join(c for c in name if c.isdigit())
        # Attributes, not properties or tables: every tensor's size asks for them.
        self.bits = 8 if name == "bool" else int(digits) if digits else 0
        self.is_float = name.startswith(("float", "bfloat", "complex"))

    @property
    def is_integer(self) -> bool:
        return str(self.value).startswith(("int", "uint"))

    def nbytes(self, elements: int) -> int:
        """Bytes that ``elements`` packed elements take, rounded up to a whole byte."""
        return (elements * self.bits + 7) // 8
