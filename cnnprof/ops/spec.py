"""What an operator is: one frozen :class:`OpSpec` per canonical kind.

Rules are pure integer functions of a :class:`Call`: canonical attributes and tensors resolved.
They never see a framework object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cnnprof.ir.op import NO_ATTRIBUTES
from cnnprof.ir.record import quick_init
from cnnprof.ir.tensor import Role, Shape, Tensor
from cnnprof.ops.window import Relation
from cnnprof.ops.work import Work

__all__ = [
    "RULE_FAILURES",
    "Call",
    "Formula",
    "FormulaRule",
    "Memory",
    "Normalise",
    "OpSpec",
    "ShapeRule",
    "Spelling",
    "UncountableError",
    "WindowRule",
    "WorkRule",
]


class UncountableError(Exception):
    """A rule can't answer for this call (a shape depends on data, an attribute is missing).

    The analysis reports the layer as unknown with this reason; it is never a zero.
    """


# What a rule may raise on a call that no valid model has: attributes and shapes that contradict each other.
RULE_FAILURES = (UncountableError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)


@quick_init
@dataclass(frozen=True, slots=True)
class Call:
    """One operator with its tensors resolved, as every rule sees it.

    Before normalisation ``attributes`` are the foreign ones (ONNX attributes by name; ATen's
    non-tensor arguments by schema name) and ``inputs`` the foreign order; afterwards both are canonical.
    """

    op_type: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor | None, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=lambda: NO_ATTRIBUTES)
    opset: int = 0

    def has(self, index: int) -> bool:
        """True if input ``index`` is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Tensor:
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise UncountableError(f"input {index} of {self.op_type} is absent")
        return tensor

    def shape(self, index: int = 0) -> Shape:
        """Shape of input ``index``; raises UncountableError where it's absent or unknown."""
        tensor = self.input(index)
        if tensor.shape is None:
            raise UncountableError(f"shape of {tensor.name!r} is unknown")
        return tensor.shape

    def out_shape(self, index: int = 0) -> Shape:
        tensor = self.outputs[index] if index < len(self.outputs) else None
        if tensor is None:
            raise UncountableError(f"output {index} of {self.op_type} is absent")
        if tensor.shape is None:
            raise UncountableError(f"shape of {tensor.name!r} is unknown")
        return tensor.shape

    def elements(self, index: int = 0) -> int:
        """Elements of input ``index``."""
        return math.prod(self.shape(index))

    def out_elements(self, index: int = 0) -> int:
        return math.prod(self.out_shape(index))

    def value(self, index: int) -> tuple[int, ...] | None:
        """The known integer elements of input ``index`` (flat), or None if absent or not known."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        return None if tensor is None else tensor.value

    def numbers(self, index: int) -> tuple[float, ...] | None:
        """The known elements of input ``index`` as floats (Resize's scales), or None."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            return None
        if tensor.numbers is not None:
            return tensor.numbers
        return None if tensor.value is None else tuple(map(float, tensor.value))

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def attr(self, name: str) -> Any:
        """A canonical attribute that must be there."""
        try:
            return self.attributes[name]
        except KeyError:
            raise UncountableError(f"{self.op_type} has no attribute {name!r}") from None

    def with_attributes(self, attributes: Mapping[str, Any], inputs: tuple[Tensor | None, ...] | None = None) -> Call:
        """This call in canonical form."""
        # Not dataclasses.replace: every op of every model passes here.
        chosen = self.inputs if inputs is None else inputs
        return Call(self.op_type, chosen, self.outputs, attributes or NO_ATTRIBUTES, self.opset)


@quick_init
@dataclass(frozen=True, slots=True)
class Formula:
    """A time-complexity formula after He & Sun 2015: in symbols, and with its numbers filled in."""

    symbols: str
    numbers: str


class Memory(Enum):
    """How an operator's first output lies in memory, where the front end doesn't know better (ONNX)."""

    FRESH = "fresh"  # new memory for every output
    VIEW = "view"  # every output shares the storage of input 0; nothing is read or written
    METADATA = "metadata"  # reads only the shape of its inputs; writes a fresh output


WorkRule = Callable[[Call], Work]
FormulaRule = Callable[[Call], Formula]
WindowRule = Callable[[Call, int], tuple[Relation | None, ...]]  # (call, output index) -> one per input
ShapeRule = Callable[[Call], tuple[Shape | None, ...]]  # one per output
Normalise = Callable[[Call], Call]
Guard = Callable[[Call], bool]


@dataclass(frozen=True, slots=True)
class Spelling:
    """A foreign name of a kind and how its call becomes canonical.

    ``name`` is "onnx:Conv", "com.microsoft:QGemm", "aten:convolution" (all overloads) or
    "aten:add.Tensor" (one), "torch:scaled_dot_product_attention" for composites marked above the dispatcher.
    ``when`` lets one foreign operator mean several kinds (``aten:convolution`` with ``transposed``):
    the first spelling whose guard holds wins.
    """

    name: str
    normalise: Normalise | None = None
    when: Guard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpSpec:
    """Everything there is to know about one canonical kind.

    ``work`` of None means *not countable*: the op is known by name but its cost isn't; it is
    reported as unknown. For kinds that cost nothing by definition use :func:`cnnprof.ops.rules.free`.
    ``roles`` are the weight slots: input index -> role of a constant that stands there.
    ``mac_operator`` marks those whose outputs count as "activations" (Radosavovic 2020).
    ``arithmetic`` is False for ops that only move or describe data; a constant that reaches
    arithmetic is a parameter in ONNX.
    """

    kind: str
    work: WorkRule | None
    formula: FormulaRule | None = None
    window: WindowRule | None = None
    memory: Memory = Memory.FRESH
    shapes: ShapeRule | None = None
    roles: Mapping[int, Role] = field(default_factory=dict)
    mac_operator: bool = False
    arithmetic: bool = True
    spellings: tuple[Spelling, ...] = ()
