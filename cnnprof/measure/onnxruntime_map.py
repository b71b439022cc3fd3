"""Which IR ops a node of onnxruntime's optimised graph covers.

A fused node makes the last value of what it replaced: its output keeps that value's name, or, in the blocked layout,
its own name is that value's with ``_nchwc`` behind. Going back from there to values that other nodes make gives
everything in between: that is what the node covers. Reorders between layouts cover nothing. A residual add and its
activation that are fused into a blocked convolution leave no name at all: the convolution has a fourth input then.
What still no node covers joins the node that made its latest input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnprof.frontends.onnx.structure import FileNode
from cnnprof.ir import Graph

__all__ = ["covered", "value_of"]

_BLOCKED = "_nchwc"
_ACTIVATIONS = frozenset({"relu", "clip", "leaky_relu", "hard_sigmoid", "sigmoid", "tanh"})
_REORDERS = frozenset({"ReorderInput", "ReorderOutput"})


def value_of(node: FileNode, graph: Graph) -> str | None:
    """The IR tensor that ``node`` computes, or None where it computes none of the model's."""
    if node.op_type in _REORDERS:
        return None
    for name in node.outputs:
        if name in graph.producer:
            return name
    base = node.name.removesuffix(_BLOCKED)
    return base if base != node.name and base in graph.producer else None


def covered(nodes: Sequence[FileNode], graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Node name -> the IR ops it covers, in execution order. An op that two nodes could cover goes to the first."""
    values = {node.name: value_of(node, graph) for node in nodes}
    _name_blocked_concats(values, nodes, graph)
    named = {value for value in values.values() if value is not None}
    values |= {node.name: _after_sum(values[node.name], graph, named) for node in nodes if _has_sum(node)}
    made = {value for value in values.values() if value is not None}
    made |= {name for node in nodes for name in node.outputs if name in graph.producer}
    place = {op.name: index for index, op in enumerate(graph.ops)}
    taken: set[str] = set()
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        value = values[node.name]
        ops: set[str] = set()
        waiting = [] if value is None else [value, *(n for n in node.outputs if n in graph.producer and n != value)]
        starts = set(waiting)
        while waiting:
            name = waiting.pop()
            op = graph.producer.get(name)
            if op is None or op.name in ops or op.name in taken or (name in made and name not in starts):
                continue
            ops.add(op.name)
            waiting.extend(op.present_inputs)
        taken |= ops
        found[node.name] = tuple(sorted(ops, key=place.__getitem__))
    _join_the_rest(found, graph)
    return found


def _name_blocked_concats(values: dict[str, str | None], nodes: Sequence[FileNode], graph: Graph) -> None:
    """A concatenation in the blocked layout has no name left: it is the one that reads what its inputs stand for."""
    of_token: dict[str, str] = {}
    for node in nodes:
        if node.op_type == "ReorderInput" and node.inputs[0] in graph.tensors:
            of_token[node.outputs[0]] = node.inputs[0]
        if node.op_type == "Concat" and values[node.name] is None:
            wanted = {of_token.get(name) for name in node.inputs}
            for op in graph.ops:
                if op.kind == "concat" and wanted <= set(op.present_inputs):
                    values[node.name] = op.outputs[0]
                    break
        value = values[node.name]
        if value is not None:
            final = _after_sum(value, graph, set()) if _has_sum(node) else value
            of_token.update(dict.fromkeys(node.outputs, final or value))


def _has_sum(node: FileNode) -> bool:
    return node.op_type == "Conv" and node.domain.endswith("nchwc") and len(node.inputs) == 4 and bool(node.inputs[3])


def _after_sum(value: str | None, graph: Graph, named: set[str]) -> str | None:
    """The value after the add that follows ``value``, and after its activation where no other node makes that."""
    for adding in graph.consumers.get(value or "", ()):
        if adding.kind == "add" and adding.outputs[0] is not None:
            total = adding.outputs[0]
            after = graph.consumers.get(total, ())
            if len(after) == 1 and after[0].kind in _ACTIVATIONS and after[0].outputs[0] not in named:
                return after[0].outputs[0]
            return total
    return value


def _join_the_rest(found: dict[str, tuple[str, ...]], graph: Graph) -> None:
    order = {name: index for index, name in enumerate(found)}
    owner = {op: node for node, ops in found.items() for op in ops}
    for op in graph.ops:
        if op.name in owner:
            continue
        makers = [graph.producer[name].name for name in op.present_inputs if name in graph.producer]
        nodes = [owner[maker] for maker in makers if maker in owner]
        if nodes:
            last = max(nodes, key=order.__getitem__)
            owner[op.name] = last
            found[last] = (*found[last], op.name)
