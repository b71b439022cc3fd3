"""Each op's window rule, asked once, and what counts as unknown."""

from __future__ import annotations

from collections.abc import Sequence

from cnnprof.ir import Graph, Op, Tensor
from cnnprof.ir.tensor import Shape
from cnnprof.ops import table
from cnnprof.ops.bind import bind
from cnnprof.ops.rules import same
from cnnprof.ops.spec import RULE_FAILURES
from cnnprof.ops.window import Axes, Chain, DataDependent, Relation, Same

__all__ = ["UNKNOWN", "Relations", "identity", "in_place_of", "relations_of", "steps"]

Relations = tuple[tuple[Relation | None, ...], ...]  # [output][input]

UNKNOWN = DataDependent()  # by identity: an operator whose rule isn't known, where everything may be reached


def relations_of(graph: Graph, op: Op) -> Relations:
    """One relation per output and input. An operator without a rule reads everything, and says so."""
    spec = table.spec(op.kind)
    if spec is None or spec.window is None:
        return _unknown(graph, op)
    try:
        call = bind(graph, op)
        found = [() if name is None else spec.window(call, index) for index, name in enumerate(op.outputs)]
    except RULE_FAILURES:
        return _unknown(graph, op)
    return tuple([_checked(row, call.inputs) for row in found])


def _checked(row: Sequence[Relation | None], tensors: Sequence[Tensor | None]) -> tuple[Relation | None, ...]:
    pairs = zip(tensors, row, strict=False)
    return tuple([None if t is None or r is None else r if _fits(r, t) else UNKNOWN for t, r in pairs])


def _fits(relation: Relation, tensor: Tensor) -> bool:
    """False for a rule that speaks of other axes than the tensor has."""
    if not isinstance(relation, Axes):
        return True
    return tensor.shape is not None and len(relation.maps) == len(tensor.shape)


def _unknown(graph: Graph, op: Op) -> Relations:
    row = tuple(None if name is None or graph.tensors[name].is_weight else UNKNOWN for name in op.inputs)
    return (row,) * len(op.outputs)


def identity(relation: Relation) -> bool:
    """True for elementwise reads: every axis where it was."""
    if not isinstance(relation, Axes):
        return False
    if relation is same(len(relation.maps)):  # nearly always, where it is one
        return True
    for axis, rule in enumerate(relation.maps):  # noqa: SIM110  (a generator takes twice as long)
        if not isinstance(rule, Same) or rule.axis != axis:
            return False
    return True


def in_place_of(op: Op, index: int, shape: Shape | None) -> Relation | None:
    """The local path of an op that reads along an axis only for statistics: normalisations and softmax.

    Input ``index`` of ``shape`` is then read where the output stands, too. None for all other ops.
    """
    if index != 0 or shape is None:
        return None
    if "norm" in op.kind or op.kind in ("softmax", "log_softmax"):
        return same(len(shape))
    return None


def steps(relation: Relation) -> tuple[Relation, ...]:
    """The links of a chain, nested ones opened; a plain relation is a chain of one."""
    if not isinstance(relation, Chain):
        return (relation,)
    return tuple(link for step in relation.steps for link in steps(step))
