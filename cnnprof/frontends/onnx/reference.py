"""The rare operators of shape subgraphs, through onnx's reference evaluator: one node at a time.

Only reached where a shape really depends on it, since it imports onnx and NumPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from cnnprof.frontends.onnx.encode import node_proto
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import Node
from cnnprof.frontends.onnx.values import MAX_ELEMENTS, Value

__all__ = ["RARE", "evaluate_rare"]

# Deterministic, and no larger than their inputs (or bounded by known ones).
_NAMES = """
    ArgMax ArgMin BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Clip Compress CumSum EyeLike Erf Exp
    GatherElements GatherND IsNaN Log MatMul NonZero OneHot Pad ReduceL1 ReduceMean ScatterElements ScatterND
    Sign TopK Trilu Unique
"""
RARE = frozenset(_NAMES.split())


def evaluate_rare(node: Node, inputs: Sequence[Info | None]) -> list[Value] | None:
    """As :func:`cnnprof.frontends.onnx.fold.evaluate`."""
    if node.domain or node.op_type not in RARE or (node.op_type == "OneHot" and not _bounded(inputs)):
        return None
    if any(info is not None and info.value is None for info in inputs):
        return None
    import numpy as np
    import onnx
    from onnx.helper import tensor_dtype_to_np_dtype
    from onnx.reference import ReferenceEvaluator

    feeds = {
        name: np.array(info.value.data, tensor_dtype_to_np_dtype(info.value.elem)).reshape(info.value.shape)
        for name, info in zip(node.inputs, inputs, strict=True)
        if info is not None and info.value is not None
    }
    proto = onnx.NodeProto.FromString(node_proto(node))
    names = [name for name in node.outputs if name]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            graph = onnx.helper.make_graph(
                [proto],
                "one",
                [onnx.helper.make_tensor_value_info(n, _elem(a.dtype), a.shape) for n, a in feeds.items()],
                [onnx.ValueInfoProto(name=n) for n in names],
            )
            opsets = [onnx.helper.make_opsetid(d, v) for d, v in node.imports.items()]
            model = onnx.helper.make_model(graph, opset_imports=opsets)
            results = ReferenceEvaluator(model).run(None, feeds)
        found = {n: np.asarray(r) for n, r in zip(names, results, strict=True)}
        if any(a.size > MAX_ELEMENTS for a in found.values()):
            return None
        return [
            Value(_elem(found[n].dtype), found[n].shape, tuple(found[n].reshape(-1).tolist()))
            if n
            else Value(7, (0,), ())
            for n in node.outputs
        ]
    except Exception:
        return None


def _elem(dtype: object) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(dtype))


def _bounded(inputs: Sequence[Info | None]) -> bool:
    if len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        return False
    indices, depth = inputs[0].value, inputs[1].value
    return (
        indices is not None
        and depth is not None
        and len(depth.data) == 1
        and 0 <= len(indices.data) * int(depth.data[0]) <= MAX_ELEMENTS
    )
