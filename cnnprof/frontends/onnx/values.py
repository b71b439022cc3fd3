"""The small constants that steer shapes: decoded from the file, written back for shape inference."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from cnnprof.errors import ModelError
from cnnprof.frontends.onnx.records import Attr, AttrKind, TensorRec
from cnnprof.frontends.onnx.wire import field, signed, varint, varint_bytes
from cnnprof.ir import DType

__all__ = ["MAX_ELEMENTS", "Value", "attr_value", "elem_dtype", "tensor_value", "value_proto", "wrap"]

MAX_ELEMENTS = 1024  # a longer tensor steers no shape
_MAX_FLOATS = 16  # scales and regions of a resize; a longer one is a weight

# TensorProto.DataType -> what the IR calls it.
_DTYPES = {
    1: DType.FLOAT32,
    2: DType.UINT8,
    3: DType.INT8,
    4: DType.UINT16,
    5: DType.INT16,
    6: DType.INT32,
    7: DType.INT64,
    8: DType.STRING,
    9: DType.BOOL,
    10: DType.FLOAT16,
    11: DType.FLOAT64,
    12: DType.UINT32,
    13: DType.UINT64,
    14: DType.COMPLEX64,
    15: DType.COMPLEX128,
    16: DType.BFLOAT16,
    17: DType.FLOAT8,
    18: DType.FLOAT8,
    19: DType.FLOAT8,
    20: DType.FLOAT8,
    21: DType.UINT4,
    22: DType.INT4,
    23: DType.FLOAT4,
    24: DType.FLOAT8,  # E8M0, the shared exponent of a block
    25: DType.UINT2,
    26: DType.INT2,
    27: DType.FLOAT6,
    28: DType.FLOAT6,
}
# How one element lies in raw_data; types without an entry steer no shape.
_RAW = {1: "f", 2: "B", 3: "b", 4: "H", 5: "h", 6: "i", 7: "q", 9: "?", 10: "e", 11: "d", 12: "I", 13: "Q"}
_RANGE = {2: (8, 0), 3: (8, 1), 4: (16, 0), 5: (16, 1), 6: (32, 1), 7: (64, 1), 12: (32, 0), 13: (64, 0)}
_FLOATS = frozenset({1, 10, 11})


def elem_dtype(elem: int) -> DType:
    """The IR's name for an ONNX element type; UNKNOWN for a newer or damaged one."""
    return _DTYPES.get(elem, DType.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Value:
    """A known small tensor: ONNX element type, shape, elements flat (int, float or bool)."""

    elem: int
    shape: tuple[int, ...]
    data: tuple[Any, ...]

    @property
    def is_float(self) -> bool:
        return self.elem in _FLOATS

    def ints(self) -> tuple[int, ...] | None:
        """The elements where the type is integer or bool."""
        return None if self.elem in _FLOATS else tuple(map(int, self.data))

    def floats(self) -> tuple[float, ...] | None:
        return tuple(map(float, self.data)) if self.elem in _FLOATS else None


def wrap(elem: int, number: Any) -> Any:
    """``number`` as an element of type ``elem``: integers wrap as the machine's do, floats are truncated."""
    if elem in _RANGE:
        bits, is_signed = _RANGE[elem]
        number = int(number) & ((1 << bits) - 1)
        return number - (1 << bits) if is_signed and number >> (bits - 1) else number
    if elem == 9:
        return bool(number)
    return _single(float(number)) if elem == 1 else float(number)


def _single(number: float) -> float:
    """Rounded to float32, so that floor and ceil of a scaled size come out as they do at run time."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def tensor_value(tensor: TensorRec) -> Value | None:
    """The elements of a constant the walker kept, or None: too many, not in the file, or not of a type that
    steers shapes. A payload that doesn't fit the declared shape gives None too."""
    count = math.prod(tensor.dims)
    if count > (_MAX_FLOATS if tensor.elem in _FLOATS else MAX_ELEMENTS) or tensor.elem not in _RAW:
        return None
    if tensor.sparse:
        return None
    if count == 0:
        return Value(tensor.elem, tensor.dims, ())
    if not tensor.payload:
        return None
    data = _elements(tensor)
    return Value(tensor.elem, tensor.dims, tuple(data)) if data is not None and len(data) == count else None


def _elements(tensor: TensorRec) -> list[Any] | None:
    data, code = tensor.payload, _RAW[tensor.elem]
    if tensor.field != 9 and (tensor.field in (4, 10)) != (tensor.elem in (1, 11)):
        return None  # the data stands in a field of another type
    if tensor.field == 9:
        size = struct.calcsize(f"<{code}")
        return list(struct.unpack(f"<{len(data) // size}{code}", data)) if len(data) % size == 0 else None
    if tensor.field in (4, 10):
        code, size = ("f", 4) if tensor.field == 4 else ("d", 8)
        return list(struct.unpack(f"<{len(data) // size}{code}", data)) if len(data) % size == 0 else None
    numbers: list[int] = []
    at = 0
    try:
        while at < len(data):
            number, at = varint(data, at, len(data))
            numbers.append(signed(number))
    except ModelError:
        return None
    if tensor.elem == 10:  # half floats stand in int32_data as their bits
        return [struct.unpack("<e", struct.pack("<H", n & 0xFFFF))[0] for n in numbers]
    return [wrap(tensor.elem, n) for n in numbers]


def attr_value(attr: Attr) -> Value | None:
    """The small constant that a Constant node's attribute holds."""
    kind, value = attr.kind, attr.value
    if kind == AttrKind.TENSOR:
        return tensor_value(value)
    if kind == AttrKind.INT:
        return Value(7, (), (value,))
    if kind == AttrKind.FLOAT:
        return Value(1, (), (value,))
    if kind in (AttrKind.INTS, AttrKind.FLOATS) and len(value) <= MAX_ELEMENTS:
        number: type = int if kind == AttrKind.INTS else float
        if all(type(item) is number for item in value):  # a damaged attribute may fill both fields
            return Value(7 if number is int else 1, (len(value),), value)
    return None


def value_proto(name: str, value: Value) -> bytes:
    """A serialised TensorProto."""
    code = _RAW[value.elem]
    raw = struct.pack(f"<{len(value.data)}{code}", *(wrap(value.elem, v) for v in value.data))
    dims = b"".join(b"\x08" + varint_bytes(dim) for dim in value.shape)
    return dims + field(2, value.elem) + field(8, name) + field(9, raw)
