"""What is known of a value while shapes are being worked out."""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.frontends.onnx.records import TypeRec
from cnnprof.frontends.onnx.values import Value, elem_dtype
from cnnprof.frontends.onnx.wire import field, varint_bytes
from cnnprof.ir import DType, Role, Shape, Tensor

__all__ = ["Dims", "Info", "type_proto"]

Dims = tuple[int | None, ...] | None


@dataclass(slots=True)
class Info:
    """``dims`` is None where not even the rank is known, an entry None where it depends on data. ``value``
    holds small known elements. ``other`` is set where the value is no tensor. ``constant`` marks what the
    file holds (initializers, Constant nodes). ``length`` is a sequence's, where it is known."""

    elem: int = 0
    dims: Dims = None
    value: Value | None = None
    other: TypeRec | None = None
    constant: bool = False
    length: int | None = None

    @property
    def shape(self) -> Shape | None:
        """The shape where every size is known."""
        dims = self.dims
        return None if dims is None or None in dims else dims  # type: ignore[return-value]

    @property
    def dtype(self) -> DType:
        return DType.OPAQUE if self.other is not None else elem_dtype(self.elem)

    def tensor(self, name: str, role: Role = Role.ACTIVATION) -> Tensor:
        """The IR's record of it."""
        value, dims = self.value, self.dims
        if self.other is not None:
            return Tensor(name, None, DType.OPAQUE, role)
        shape: Shape | None = None if dims is None or None in dims else dims  # type: ignore[assignment]
        if value is None:
            return Tensor(name, shape, elem_dtype(self.elem), role)
        return Tensor(name, shape, elem_dtype(self.elem), role, value.ints(), numbers=value.floats())


def known(value: Value, constant: bool = False) -> Info:
    return Info(value.elem, value.shape, value, None, constant)


def type_proto(info: Info) -> bytes:
    """A serialised TypeProto; unknown sizes are left open."""
    if info.other is not None:
        return info.other.raw
    tensor = field(1, info.elem)
    if info.dims is not None:
        tensor += field(2, b"".join([_dim(dim) for dim in info.dims]))
    return field(1, tensor)


def _dim(size: int | None) -> bytes:
    if size is None:
        return b"\x0a\x00"
    number = varint_bytes(size)
    return b"\x0a" + varint_bytes(len(number) + 1) + b"\x08" + number
