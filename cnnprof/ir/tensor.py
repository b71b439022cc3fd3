"""A tensor of the graph: its shape, what it is for, and whose memory it lives in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from cnnprof.ir.dtype import DType
from cnnprof.ir.record import quick_init

__all__ = ["Role", "Shape", "Tensor"]

Shape = tuple[int, ...]


class Role(Enum):
    """What a tensor is for; see the counting convention for who counts as a parameter."""

    __hash__ = object.__hash__  # Enum's own is Python; members are single objects

    INPUT = "input"
    PARAMETER = "parameter"
    BUFFER = "buffer"
    CONSTANT = "constant"
    ACTIVATION = "activation"


@quick_init
@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor, by name. Weights' values are never kept.

    ``shape`` is None where it depends on data (or the value is no tensor). ``value`` holds the
    elements, flat, of a small integer tensor that steers shapes; ``numbers`` those of a small
    floating-point one (the scales and regions of Resize). ``storage`` names the memory the
    tensor lives in, so that views and in-place results share one ("" = its own, under its own name).
    ``layout`` is "channels_last" where the front end knows the memory to be so, else None.
    """

    name: str
    shape: Shape | None
    dtype: DType = DType.FLOAT32
    role: Role = Role.ACTIVATION
    value: tuple[int, ...] | None = None
    storage: str = ""
    layout: str | None = None
    numbers: tuple[float, ...] | None = None

    @property
    def elements(self) -> int | None:
        """Number of elements, or None where the shape is unknown. A scalar has one."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes of the packed elements, or None where shape or width is unknown."""
        shape, dtype = self.shape, self.dtype
        if shape is None or dtype is DType.UNKNOWN:
            return None
        return (math.prod(shape) * dtype.bits + 7) // 8

    @property
    def storage_name(self) -> str:
        return self.storage or self.name

    @property
    def is_weight(self) -> bool:
        """True for what the model file holds: parameters, buffers and constants."""
        return self.role in _HELD


_HELD = frozenset({Role.PARAMETER, Role.BUFFER, Role.CONSTANT})
