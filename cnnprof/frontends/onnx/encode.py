"""Writes what shape inference is asked: a small model of bare nodes, types and known values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cnnprof.frontends.onnx.info import Info, type_proto
from cnnprof.frontends.onnx.records import Attr, AttrKind, Node, TensorRec
from cnnprof.frontends.onnx.values import Value, tensor_value, value_proto
from cnnprof.frontends.onnx.wire import field, varint_bytes

__all__ = ["attr_proto", "model_proto", "node_proto", "tensor_header"]

_IR_VERSION = 8  # initializers need not be inputs; every installed onnx reads it


def tensor_header(tensor: TensorRec) -> bytes:
    """A TensorProto that says name, type and shape, and holds no data."""
    dims = b"".join(b"\x08" + varint_bytes(dim) for dim in tensor.dims)
    return dims + field(2, tensor.elem) + field(8, tensor.name)


def attr_proto(attr: Attr) -> bytes | None:
    """The serialised attribute, or None where shape inference gets by without (graphs, long lists)."""
    if attr.raw is not None:
        return attr.raw
    if attr.kind != AttrKind.TENSOR:
        return None
    value = tensor_value(attr.value)
    body = tensor_header(attr.value) if value is None else value_proto("", value)
    return field(1, attr.name) + field(5, body) + field(20, AttrKind.TENSOR)


def node_proto(node: Node) -> bytes:
    """The serialised node, without its name, documentation, subgraphs and large constants."""
    if node.raw is not None:
        return node.raw
    parts = [field(1, name) for name in node.inputs]
    parts += [field(2, name) for name in node.outputs]
    parts.append(field(4, node.op_type))
    for attr in node.attrs.values():
        raw = attr_proto(attr)
        if raw is not None:
            parts.append(field(5, raw))
    if node.domain:
        parts.append(field(7, node.domain))
    return b"".join(parts)


def model_proto(nodes: Iterable[Node], known: Mapping[str, Info], imports: Mapping[str, int]) -> bytes:
    """A model of ``nodes`` whose outer values are ``known``: small values as initializers, the rest as typed
    inputs."""
    inputs: list[bytes] = []
    constants: list[bytes] = []
    for name, info in known.items():
        value = info.value
        if value is not None and _useful(value):
            constants.append(field(5, value_proto(name, value)))
        elif info.other is not None or info.elem:
            inputs.append(field(11, field(1, name) + field(2, type_proto(info))))
    body = b"".join([field(1, node_proto(node)) for node in nodes] + constants + inputs)
    opsets = b"".join(field(8, field(1, domain) + field(2, version)) for domain, version in imports.items())
    return field(1, _IR_VERSION) + opsets + field(7, body)


def _useful(value: Value) -> bool:
    return len(value.data) <= 256
