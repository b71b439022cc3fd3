"""From the bytes of an ONNX file to records, without its weights.

The walk is linear in the structure and never touches the payload of a tensor above
:data:`MAX_PAYLOAD` bytes; a path to external data is never opened. Nesting is bounded. Repeated
attributes and types are read once. Every malformed input raises :class:`ModelError` with its offset.

Field numbers are those of ``onnx.proto``; a tag is ``number << 3 | wire type``.
"""

from __future__ import annotations

import struct
from typing import Any

from cnnprof.errors import GraphError, ModelError
from cnnprof.frontends.onnx.records import (
    Attr,
    AttrKind,
    Dim,
    FunctionRec,
    GraphRec,
    ModelRec,
    Node,
    TensorRec,
    TypeRec,
    ValueRec,
)
from cnnprof.frontends.onnx.scope import module_of
from cnnprof.frontends.onnx.wire import Buffer, damaged, floats, scan, signed, text, varint_bytes, varints

__all__ = ["MAX_DEPTH", "MAX_PAYLOAD", "Walker", "walk_model"]

MAX_PAYLOAD = 4096  # bytes of a tensor that are kept: enough for every shape, axes list and small table
MAX_DEPTH = 48  # nested subgraphs; protobuf's own limit of 100 messages is met at 33
_MAX_RAW = 1 << 16  # a longer node or attribute is not handed on whole
_MEMO = 256  # attributes up to this many bytes are worth remembering
_PAYLOADS = {34: 4, 42: 5, 58: 7, 74: 9, 82: 10, 90: 11}  # tag -> field number of the tensor data fields
_UNPACKED = {37: 34, 40: 42, 56: 58, 81: 82, 88: 90}  # the same fields written one element at a time
_TYPE_KINDS = {10: "tensor", 34: "sequence", 42: "map", 58: "opaque", 66: "sparse", 74: "optional"}


def walk_model(buf: Buffer) -> ModelRec:
    """The model in ``buf``. Raises :class:`ModelError` where it is damaged or holds no graph."""
    return Walker(buf).model()


class Walker:
    """One pass over one file; remembers attributes and types that repeat."""

    def __init__(self, buf: Buffer) -> None:
        self.buf = buf
        self._attrs: dict[bytes, Attr] = {}
        self._types: dict[bytes, TypeRec] = {}

    def model(self) -> ModelRec:
        buf = self.buf
        graphs: list[tuple[int, int]] = []
        functions: list[tuple[int, int]] = []
        imports: dict[str, int] = {}
        ir_version, producer = 0, ""
        for tag, a, b in scan(buf, 0, len(buf)):
            if tag == 58:
                graphs.append((a, b))
            elif tag == 202:
                functions.append((a, b))
            elif tag == 66:
                self._import(a, b, imports)
            elif tag == 8:
                ir_version = a
            elif tag == 18:
                producer = text(buf, a, min(b, a + 256))
        if not graphs:
            raise ModelError("the file holds no ONNX graph", "is it an ONNX model? export it again")
        if not imports:
            if ir_version >= 3:
                raise ModelError("the model names no operator set", "the file is cut short; export it again")
            imports[""] = 1
        model = ModelRec(GraphRec(), imports, ir_version, producer)
        for a, b in functions:
            function = self.function(a, b)
            model.functions[function.domain, function.name, function.overload] = function
        for a, b in graphs:  # protobuf merges a field that stands twice
            self.graph(a, b, imports, 0, model.graph)
        return model

    def _import(self, start: int, stop: int, into: dict[str, int]) -> None:
        domain, version = "", 1
        for tag, a, b in scan(self.buf, start, stop):
            if tag == 10:
                domain = text(self.buf, a, b)
            elif tag == 16:
                version = signed(a)
        into["" if domain == "ai.onnx" else domain] = version

    def function(self, start: int, stop: int) -> FunctionRec:
        buf = self.buf
        found = FunctionRec("", "")
        bodies: list[tuple[int, int]] = []
        for tag, a, b in scan(buf, start, stop):
            if tag == 58:
                bodies.append((a, b))
            elif tag == 34:
                found.inputs.append(text(buf, a, b))
            elif tag == 42:
                found.outputs.append(text(buf, a, b))
            elif tag == 50:
                found.attributes.append(text(buf, a, b))
            elif tag == 90:
                attr = self.attribute(a, b, found.imports, 0)
                found.defaults[attr.name] = attr
            elif tag == 74:
                self._import(a, b, found.imports)
            elif tag == 10:
                found.name = text(buf, a, b)
            elif tag == 82:
                found.domain = text(buf, a, b)
            elif tag == 106:
                found.overload = text(buf, a, b)
        found.domain = "" if found.domain == "ai.onnx" else found.domain
        found.nodes = [self.node(a, b, found.imports, 0) for a, b in bodies]
        return found

    def graph(
        self, start: int, stop: int, imports: dict[str, int], depth: int, into: GraphRec | None = None
    ) -> GraphRec:
        if depth > MAX_DEPTH:
            raise damaged(start, f"subgraphs are nested deeper than {MAX_DEPTH}")
        graph = GraphRec() if into is None else into
        buf, nodes, values, node = self.buf, graph.nodes, graph.value_info, self.node
        for tag, a, b in scan(buf, start, stop):
            if tag == 10:
                nodes.append(node(a, b, imports, depth))
            elif tag == 42:
                graph.initializers.append(self.tensor(a, b))
            elif tag == 106:
                values.append(self.value(a, b))
            elif tag == 90:
                graph.inputs.append(self.value(a, b))
            elif tag == 98:
                graph.outputs.append(self.value(a, b))
            elif tag == 122:
                graph.initializers.append(self.sparse(a, b))
            elif tag == 18:
                graph.name = text(buf, a, min(b, a + 1024))
        return graph

    def node(self, start: int, stop: int, imports: dict[str, int], depth: int) -> Node:  # noqa: PLR0912  one arm a field
        buf = self.buf
        memo = self._attrs
        op_type = domain = name = module = overload = ""
        inputs: list[str] = []
        outputs: list[str] = []
        attrs: dict[str, Attr] = {}
        whole = stop - start <= _MAX_RAW
        graphs = False
        for tag, a, b in scan(buf, start, stop):
            if tag == 42:
                attr = None
                if b - a <= _MEMO:
                    key = buf[a:b]
                    attr = memo.get(key)
                    if attr is None:
                        attr = self.attribute(a, b, imports, depth)
                        if attr.kind not in _NOT_SHARED:
                            memo[key] = attr
                else:
                    attr = self.attribute(a, b, imports, depth)
                if attr.kind in _NOT_SHARED:
                    whole = False
                    graphs = graphs or attr.kind in (AttrKind.GRAPH, AttrKind.GRAPHS)
                attrs[attr.name] = attr
            elif tag == 10:
                inputs.append(text(buf, a, b))
            elif tag == 18:
                outputs.append(text(buf, a, b))
            elif tag == 34:
                op_type = text(buf, a, b)
            elif tag == 26:
                name = text(buf, a, b)
            elif tag == 58:
                domain = text(buf, a, b)
                if domain == "ai.onnx":
                    domain, whole = "", False
            elif tag == 74:
                whole = False
                module = module or module_of(buf[a : min(b, a + 4096)])
            elif tag == 66:
                overload = text(buf, a, b)
            else:
                whole = False  # documentation and device placement are not handed on
        if not op_type:
            raise damaged(start, "a node has no operator type")
        raw = buf[start:stop] if whole else None
        return Node(op_type, domain, name, inputs, outputs, attrs, imports, raw, module, overload, "", graphs)

    def attribute(self, start: int, stop: int, imports: dict[str, int], depth: int) -> Attr:  # noqa: PLR0912  one arm a field
        buf = self.buf
        name = ref = ""
        kind, seen = 0, 0
        number: Any = 0
        many: list[Any] = []
        for tag, a, b in scan(buf, start, stop):
            if tag == 10:
                name = text(buf, a, b)
            elif tag == 160:
                kind = a
            elif tag == 64:
                many.append(a - (1 << 64) if a >> 63 else a)
                seen = AttrKind.INTS
            elif tag == 66:
                many.extend(varints(buf, a, b))
                seen = AttrKind.INTS
            elif tag == 24:
                number, seen = a - (1 << 64) if a >> 63 else a, AttrKind.INT
            elif tag == 21:
                number, seen = struct.unpack("<f", buf[a:b])[0], AttrKind.FLOAT
            elif tag == 34:
                # A longer string (weights in disguise, source text) is no operator's option.
                number = buf[a : min(b, a + MAX_PAYLOAD)].decode("utf-8", "replace")
                seen = AttrKind.STRING
            elif tag == 61:
                many.append(struct.unpack("<f", buf[a:b])[0])
                seen = AttrKind.FLOATS
            elif tag == 58:
                many.extend(floats(buf, a, b))
                seen = AttrKind.FLOATS
            elif tag == 74:
                many.append(buf[a : min(b, a + MAX_PAYLOAD)].decode("utf-8", "replace"))
                seen = AttrKind.STRINGS
            elif tag == 42:
                number, seen = self.tensor(a, b), AttrKind.TENSOR
            elif tag == 50:
                number, seen = self.graph(a, b, imports, depth + 1), AttrKind.GRAPH
            elif tag == 82:
                many.append(self.tensor(a, b))
                seen = AttrKind.TENSORS
            elif tag == 90:
                many.append(self.graph(a, b, imports, depth + 1))
                seen = AttrKind.GRAPHS
            elif tag == 178:
                number, seen = self.sparse(a, b), AttrKind.SPARSE_TENSOR
            elif tag == 114:
                number, seen = self.type(a, b), AttrKind.TYPE
            elif tag == 170:
                ref = text(buf, a, b)
        # Files before IR version 2 state no type: the field in use tells. An empty list needs the type.
        kind = seen or (kind if kind in _EMPTY or kind in _LISTS else 0)
        value = tuple(many) if kind in _LISTS else number if seen else _EMPTY.get(kind)
        raw = buf[start:stop] if stop - start <= _MAX_RAW and kind not in _NOT_SHARED else None
        return Attr(name, kind, value, raw, ref)

    def tensor(self, start: int, stop: int) -> TensorRec:  # noqa: PLR0912  one arm a field
        buf = self.buf
        name, elem, where = "", 0, 0
        dims: list[int] = []
        data = b""
        loose: list[bytes] = []
        external = False
        for tag, a, b in scan(buf, start, stop):
            if tag == 8:
                dims.append(signed(a))
            elif tag == 10:
                dims.extend(varints(buf, a, b))
            elif tag == 16:
                elem = a
            elif tag == 66:
                name = text(buf, a, b)
            elif tag in _PAYLOADS:
                if b - a <= MAX_PAYLOAD:
                    data, where = buf[a:b], _PAYLOADS[tag]
            elif tag in _UNPACKED:
                if len(loose) < MAX_PAYLOAD:
                    loose.append(buf[a:b] if b else varint_bytes(a))
                    where = _PAYLOADS[_UNPACKED[tag]]
            elif tag == 112:
                external = a == 1
        if loose:
            data = b"".join(loose) if len(loose) < MAX_PAYLOAD else b""
        if any(dim < 0 for dim in dims):
            raise GraphError(f"constant {name!r}: expected sizes of 0 or more, got {dims}", "export it again")
        if external or not data:
            data, where = b"", 0
        return TensorRec(name, elem, tuple(dims), where, data, external)

    def sparse(self, start: int, stop: int) -> TensorRec:
        """A SparseTensorProto as the dense constant it stands for; only its name and type are looked at."""
        values = TensorRec("", 0, ())
        dims: list[int] = []
        for tag, a, b in scan(self.buf, start, stop):
            if tag == 10:
                values = self.tensor(a, b)
            elif tag == 24:
                dims.append(signed(a))
            elif tag == 26:
                dims.extend(varints(self.buf, a, b))
        if any(dim < 0 for dim in dims):
            raise GraphError(f"constant {values.name!r}: expected sizes of 0 or more, got {dims}")
        return TensorRec(values.name, values.elem, tuple(dims), sparse=True)

    def value(self, start: int, stop: int) -> ValueRec:
        name, kind = "", _UNTYPED
        for tag, a, b in scan(self.buf, start, stop):
            if tag == 10:
                name = text(self.buf, a, b)
            elif tag == 18:
                kind = self.type(a, b)
        return ValueRec(name, kind)

    def type(self, start: int, stop: int) -> TypeRec:
        raw = self.buf[start:stop]
        known = self._types.get(raw)
        if known is None:
            known = self._types[raw] = self._type(start, stop, raw)
        return known

    def _type(self, start: int, stop: int, raw: bytes) -> TypeRec:
        buf = self.buf
        found = TypeRec("none", 0, None, raw)
        for tag, a, b in scan(buf, start, stop):
            if tag not in _TYPE_KINDS:
                continue
            found.kind = _TYPE_KINDS[tag]
            if found.kind not in ("tensor", "sparse"):
                continue
            for inner, c, d in scan(buf, a, b):
                if inner == 8:
                    found.elem = c
                elif inner == 18:
                    found.dims = tuple(self._dim(e, f) for kind, e, f in scan(buf, c, d) if kind == 10)
        return found

    def _dim(self, start: int, stop: int) -> Dim:
        found: Dim = None
        for tag, a, b in scan(self.buf, start, stop):
            if tag == 8:
                found = signed(a)
            elif tag == 18:
                found = text(self.buf, a, b) or None
        return found


_UNTYPED = TypeRec("none")
_LISTS = frozenset({AttrKind.INTS, AttrKind.FLOATS, AttrKind.STRINGS, AttrKind.TENSORS, AttrKind.GRAPHS, 12, 14})
_EMPTY = {AttrKind.FLOAT: 0.0, AttrKind.INT: 0, AttrKind.STRING: ""}  # what an unset field reads as
_NOT_SHARED = frozenset(
    {AttrKind.TENSOR, AttrKind.TENSORS, AttrKind.GRAPH, AttrKind.GRAPHS, AttrKind.SPARSE_TENSOR, 12}
)
