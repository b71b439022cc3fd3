"""A node as the operator table sees it, and the shapes the table knows where onnx doesn't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import AttrKind, Node
from cnnprof.ir import Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import RULE_FAILURES, Call, OpSpec

__all__ = ["foreign_call", "own_types", "plain_attributes"]


def plain_attributes(node: Node) -> dict[str, Any]:
    """Numbers, strings and tuples by name; tensors and graphs are structure, not options."""
    return {name: attr.value for name, attr in node.attrs.items() if attr.kind in _OPTIONS and not attr.ref}


_OPTIONS = frozenset({AttrKind.FLOAT, AttrKind.INT, AttrKind.STRING, AttrKind.FLOATS, AttrKind.INTS, AttrKind.STRINGS})


def foreign_call(node: Node, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...] = ()) -> Call:
    return Call(node.spelling, inputs, outputs, plain_attributes(node), node.imports.get(node.domain, 0))


def own_types(node: Node, inputs: Sequence[Info | None], outputs: int) -> list[Info]:
    """One Info per output, from the operator table's shape rule; open where it has none."""
    elem = _elem(node, inputs)
    found = [Info(elem[slot] if slot < len(elem) else elem[-1]) for slot in range(outputs)]
    tensors = tuple(None if info is None else info.tensor(name) for name, info in zip(node.inputs, inputs, strict=True))
    blank = tuple(Tensor(name, None) if name else None for name in node.outputs)
    try:
        meaning: tuple[OpSpec, Call] | None = table.resolve(node.spelling, foreign_call(node, tensors, blank))
        if meaning is None or meaning[0].shapes is None:
            return found
        shapes = meaning[0].shapes(meaning[1])
    except RULE_FAILURES:
        return found
    for info, shape in zip(found, shapes, strict=False):
        if shape is not None and all(dim >= 0 for dim in shape):
            info.dims = shape
    return found


# Which input (or which fixed type) gives the element type of a contributed operator's outputs.
_FROM_INPUT = {
    "QuantizeLinear": 2,
    "DequantizeLinear": 1,
    "QGemm": 8,
    "MatMulIntegerToFloat": 2,
    "DynamicQuantizeMatMul": 0,
    "QAttention": 3,
    "QLinearConv": 0,
    "QLinearMatMul": 0,
    "EmbedLayerNormalization": 2,
}
_FIXED = {"QGemm": 1, "MatMulIntegerToFloat": 1, "QuantizeLinear": 2, "DequantizeLinear": 1}


def _elem(node: Node, inputs: Sequence[Info | None]) -> list[int]:
    """Element types of the outputs where inference is silent: the contributed operators keep their first
    input's, with the exceptions above. Unknown operators promise nothing."""
    if not table.lookup(node.spelling):
        return [0]
    slot = _FROM_INPUT.get(node.op_type, 0) if node.domain else 0
    chosen = inputs[slot] if slot < len(inputs) else None
    if chosen is not None and chosen.elem:
        return [chosen.elem]
    return [_FIXED.get(node.op_type, 0)]
