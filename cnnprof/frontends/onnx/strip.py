"""Writes a model's structure without its weights, for bug reports and test cases.

The result is an ONNX model of a few kilobytes with the same Graph and the same digest: every constant keeps its
name, shape and type, but points to external data that doesn't exist. Small constants that may steer shapes keep
their elements; so do all names and attributes.
"""

from __future__ import annotations

from pathlib import Path

from cnnprof.errors import ModelError
from cnnprof.frontends.onnx.digest import digest
from cnnprof.frontends.onnx.encode import tensor_header
from cnnprof.frontends.onnx.source import opened
from cnnprof.frontends.onnx.values import tensor_value
from cnnprof.frontends.onnx.walker import MAX_DEPTH, Walker, walk_model
from cnnprof.frontends.onnx.wire import Buffer, damaged, field, scan, varint_bytes

__all__ = ["LOCATION", "strip"]

LOCATION = "weights-were-stripped"
_MAX_STRING = 1 << 16  # a longer string attribute is data, not an option

# Message -> (tag of a field -> the message it holds), for the messages on the way to a tensor.
_INSIDE = {
    "model": {58: "graph", 202: "function"},
    "function": {58: "node", 90: "attribute"},
    "graph": {10: "node", 42: "tensor", 122: "sparse"},
    "node": {42: "attribute"},
    "attribute": {42: "tensor", 82: "tensor", 50: "graph", 90: "graph", 178: "sparse", 186: "sparse"},
    "sparse": {10: "tensor", 18: "tensor"},
}


def strip(source: Path | bytes) -> bytes:
    """The serialised skeleton. Raises :class:`ModelError` on what :func:`load_onnx` can't read either."""
    with opened(source) as buffer:
        try:
            before = digest(walk_model(buffer))
            skeleton = _copy(buffer, Walker(buffer), 0, len(buffer), "model", 0)
        except RecursionError:
            raise ModelError("the model is nested too deeply") from None
    # Cutting relies on lengths written in the fewest bytes, as every protobuf library writes them.
    if digest(walk_model(skeleton)) != before:
        raise ModelError("the file's encoding is not canonical, so it can't be cut", "save it again with onnx.save")
    return skeleton


def _copy(buffer: Buffer, walker: Walker, start: int, stop: int, kind: str, depth: int) -> bytes:
    """The message in [start, stop) with its tensors emptied."""
    if depth > 3 * MAX_DEPTH:
        raise damaged(start, "messages are nested too deeply")
    inside = _INSIDE[kind]
    parts: list[bytes] = []
    at = start  # what lies between ``at`` and the current field is copied as it stands
    for tag, a, b in scan(buffer, start, stop):
        if not b:
            continue
        inner = inside.get(tag)
        if inner == "tensor":
            body = _tensor(buffer, walker, a, b)
        elif inner is not None:
            body = _copy(buffer, walker, a, b, inner, depth + 1)
        elif kind == "attribute" and tag == 34 and b - a > _MAX_STRING:
            body = buffer[a : a + _MAX_STRING]
        else:
            continue
        if len(body) == b - a and body == buffer[a:b]:
            continue  # unchanged
        key = varint_bytes(tag)
        parts.append(buffer[at : a - len(key) - len(varint_bytes(b - a))])
        parts += [key, varint_bytes(len(body)), body]
        at = b
    parts.append(buffer[at:stop])
    return b"".join(parts)


def _tensor(buffer: Buffer, walker: Walker, start: int, stop: int) -> bytes:
    tensor = walker.tensor(start, stop)
    if stop - start < _MAX_STRING and tensor_value(tensor) is not None:
        return buffer[start:stop]
    external = field(1, "location") + field(2, LOCATION)
    return tensor_header(tensor) + field(13, external) + field(14, 1)
