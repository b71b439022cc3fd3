"""From an op of a graph to the call its rules see."""

from __future__ import annotations

from cnnprof.ir.graph import Graph
from cnnprof.ir.op import Op
from cnnprof.ops.spec import Call

__all__ = ["bind"]


def bind(graph: Graph, op: Op) -> Call:
    """The op with its tensors resolved; attributes are already canonical in a Graph."""
    known = graph.calls
    call: Call | None = known.get(op.name)
    if call is None:
        tensors = graph.tensors
        call = known[op.name] = Call(
            op.op_type,
            tuple([None if name is None else tensors[name] for name in op.inputs]),
            tuple([None if name is None else tensors[name] for name in op.outputs]),
            op.attributes,
        )
    return call
