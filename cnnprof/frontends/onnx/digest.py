"""A model's identity: its structure and its weights' shapes and types, not their values.

Hashed are the nodes, the types of inputs and outputs, every constant's name, shape and type, and the elements of
small integer constants (they steer shapes) and of a resize's scales. So a trained and an untrained network, and a
file and its stripped skeleton, have the same digest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

from cnnprof.frontends.onnx.records import Attr, GraphRec, ModelRec, Node, TensorRec
from cnnprof.frontends.onnx.values import elem_dtype, tensor_value

__all__ = ["digest", "keeps_values"]

_STEERING = 64  # elements of an integer constant that still steer a shape


def keeps_values(tensor: TensorRec, steering: frozenset[str]) -> bool:
    """True for the constants whose elements belong to the structure."""
    if tensor.name in steering:
        return True
    dtype = elem_dtype(tensor.elem)
    return (dtype.bits >= 32 and dtype.is_integer and math.prod(tensor.dims) <= _STEERING) or (
        dtype.value == "bool" and math.prod(tensor.dims) <= 1
    )


def steering_names(nodes: Iterable[Node]) -> frozenset[str]:
    """The floating-point constants that steer shapes: what resizes read besides their data."""
    return frozenset(
        name for node in nodes if node.op_type in ("Resize", "Upsample") for name in node.inputs[1:] if name
    )


def digest(model: ModelRec) -> str:
    """sha256, in hexadecimal."""
    state = hashlib.sha256()
    add = state.update

    def put(*items: Any) -> None:
        text = repr(items).encode("utf-8", "surrogatepass")
        add(len(text).to_bytes(8, "little"))
        add(text)

    def tensor(rec: TensorRec, steering: frozenset[str]) -> None:
        value = tensor_value(rec) if keeps_values(rec, steering) else None
        put("tensor", rec.name, rec.elem, rec.dims, rec.sparse, None if value is None else value.data)

    def attribute(attr: Attr, steering: frozenset[str]) -> None:
        values = attr.value if isinstance(attr.value, tuple) else (attr.value,)
        if values and isinstance(values[0], (TensorRec, GraphRec)):
            put("attr", attr.name, len(values))
            for item in values:
                if isinstance(item, GraphRec):
                    graph(item)
                else:
                    tensor(item, steering)
        else:
            put("attr", attr.name, attr.kind, attr.ref, getattr(attr.value, "raw", attr.value))

    def node(rec: Node, steering: frozenset[str]) -> None:
        if rec.raw is not None:
            add(rec.raw)
            return
        put("node", rec.op_type, rec.domain, rec.overload, rec.inputs, rec.outputs)
        constant = frozenset(rec.outputs) & steering
        for attr in rec.attrs.values():
            inner = constant and isinstance(attr.value, TensorRec)
            attribute(attr, frozenset({attr.value.name}) if inner else steering)

    def graph(rec: GraphRec) -> None:
        put("graph", len(rec.nodes))
        steering = steering_names(rec.nodes)
        for item in rec.nodes:
            node(item, steering)
        for constant in sorted(rec.initializers, key=lambda t: t.name):
            tensor(constant, steering)
        for value in (*rec.inputs, *rec.outputs):
            put(value.name, value.type.raw)

    put(sorted(model.imports.items()))
    for key in sorted(model.functions):
        function = model.functions[key]
        put("function", key, function.inputs, function.outputs, function.attributes, sorted(function.imports.items()))
        for attr in function.defaults.values():
            attribute(attr, frozenset())
        for item in function.nodes:
            node(item, frozenset())
    graph(model.graph)
    return state.hexdigest()
