"""What the front end keeps of an ONNX file: the structure, without the weights.

Plain mutable records, filled once by the walker and rewritten by function inlining; nothing outside this
package sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Attr", "AttrKind", "FunctionRec", "GraphRec", "ModelRec", "Node", "TensorRec", "TypeRec", "ValueRec"]

Dim = int | str | None  # a size, a symbol or expression, nothing said


class AttrKind:
    """``AttributeProto.AttributeType``, where the front end looks at it."""

    FLOAT = 1
    INT = 2
    STRING = 3
    TENSOR = 4
    GRAPH = 5
    FLOATS = 6
    INTS = 7
    STRINGS = 8
    TENSORS = 9
    GRAPHS = 10
    SPARSE_TENSOR = 11
    TYPE = 13


@dataclass(slots=True)
class TypeRec:
    """A value's type. ``kind`` is tensor, sequence, optional, map, sparse, opaque or none; ``raw`` the
    serialised TypeProto. ``dims`` is None where not even the rank is stated."""

    kind: str
    elem: int = 0
    dims: tuple[Dim, ...] | None = None
    raw: bytes = b""


@dataclass(slots=True)
class ValueRec:
    name: str
    type: TypeRec


@dataclass(slots=True)
class TensorRec:
    """A constant. ``payload`` holds its elements only where they are few: ``field`` says which field of
    TensorProto they stood in (9 = raw_data). ``sparse`` marks a SparseTensorProto, with its dense dims."""

    name: str
    elem: int
    dims: tuple[int, ...]
    field: int = 0
    payload: bytes = b""
    external: bool = False
    sparse: bool = False


@dataclass(slots=True)
class Attr:
    """An attribute. ``value`` is a Python number, string, tuple, TensorRec or GraphRec (or a tuple of those);
    ``raw`` its serialised form, None where it is too long to hand on. ``ref`` names the function attribute it
    stands for."""

    name: str
    kind: int
    value: Any
    raw: bytes | None = None
    ref: str = ""


@dataclass(slots=True)
class Node:
    """``raw`` is the serialised node where it can be handed to shape inference as it stands; ``imports`` the
    operator-set versions it was written for; ``module`` the module path its exporter left in the metadata."""

    op_type: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Attr]
    imports: Mapping[str, int]
    raw: bytes | None = None
    module: str = ""
    overload: str = ""
    prefix: str = ""  # where the call stood that it was inlined from
    has_graphs: bool = False

    @property
    def spelling(self) -> str:
        """Its name in the operator table: "onnx:Conv", "com.microsoft:QGemm"."""
        return f"{self.domain or 'onnx'}:{self.op_type}"

    def plain(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or ``default`` where it is absent."""
        attr = self.attrs.get(name)
        return default if attr is None else attr.value


@dataclass(slots=True)
class GraphRec:
    name: str = ""
    nodes: list[Node] = field(default_factory=list)
    initializers: list[TensorRec] = field(default_factory=list)
    inputs: list[ValueRec] = field(default_factory=list)
    outputs: list[ValueRec] = field(default_factory=list)
    value_info: list[ValueRec] = field(default_factory=list)


@dataclass(slots=True)
class FunctionRec:
    name: str
    domain: str
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    defaults: dict[str, Attr] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    imports: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class ModelRec:
    graph: GraphRec
    imports: dict[str, int]
    ir_version: int = 0
    producer: str = ""
    functions: dict[tuple[str, str, str], FunctionRec] = field(default_factory=dict)
