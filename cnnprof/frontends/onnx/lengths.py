"""How many elements a sequence has, where its makers say so."""

from __future__ import annotations

from collections.abc import Sequence

from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import Node

__all__ = ["sequence_length"]

_CHANGE = {"SequenceInsert": 1, "SequenceErase": -1, "Identity": 0, "Optional": 0, "OptionalGetElement": 0}


def sequence_length(node: Node, inputs: Sequence[Info | None]) -> int | None:
    """The length of the sequence that ``node`` makes; None where it depends on data."""
    if node.op_type == "SequenceConstruct":
        return len(inputs)
    if node.op_type == "SequenceEmpty":
        return 0
    source = inputs[0] if inputs else None
    if source is None:
        return None
    if node.op_type in _CHANGE:
        return None if source.length is None else max(0, source.length + _CHANGE[node.op_type])
    return _pieces(node, source, inputs) if node.op_type == "SplitToSequence" else None


def _pieces(node: Node, source: Info, inputs: Sequence[Info | None]) -> int | None:
    """Into how many a tensor is split: one each, by a size, or by a list of sizes."""
    axis: int = node.plain("axis", 0)
    dims = source.dims
    if dims is None or not -len(dims) <= axis < len(dims):
        return None
    size = dims[axis]
    split = inputs[1] if len(inputs) > 1 else None
    if split is None:
        return size
    if split.shape and split.shape != ():
        return split.shape[0]
    step = int(split.value.data[0]) if split.value is not None and split.value.data else 0
    return None if size is None or step < 1 else -(-size // step)
