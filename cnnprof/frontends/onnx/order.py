"""Execution order: ONNX files should list nodes so that every value is made before it is read; some don't."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence

from cnnprof.errors import GraphError
from cnnprof.frontends.onnx.records import GraphRec, Node

__all__ = ["in_order", "outer_names", "subgraphs"]


def subgraphs(node: Node) -> list[GraphRec]:
    """The graphs that stand in a node's attributes."""
    found: list[GraphRec] = []
    if node.has_graphs:
        for attr in node.attrs.values():
            if isinstance(attr.value, GraphRec):
                found.append(attr.value)
            elif isinstance(attr.value, tuple):
                found += [item for item in attr.value if isinstance(item, GraphRec)]
    return found


def outer_names(graph: GraphRec) -> list[str]:
    """The names that a subgraph takes from outside, nested subgraphs included, each once."""
    own = {value.name for value in graph.inputs} | {tensor.name for tensor in graph.initializers}
    own |= {name for node in graph.nodes for name in node.outputs}
    found: dict[str, None] = {}
    for node in graph.nodes:
        found.update(dict.fromkeys(name for name in node.inputs if name and name not in own))
        for inner in subgraphs(node):
            found.update(dict.fromkeys(name for name in outer_names(inner) if name not in own))
    found.update(dict.fromkeys(value.name for value in graph.outputs if value.name not in own))
    return list(found)


def in_order(
    nodes: Sequence[Node], known: Container[str], resolve: Callable[[str], str]
) -> tuple[Sequence[Node], bool]:
    """The nodes in an order that can be executed, and whether that is another than the given one.

    ``known`` holds what is defined before; ``resolve`` maps a name in a subgraph to the value it means.
    Raises :class:`GraphError` on a value made twice or never, and on a cycle.
    """
    made: set[str] = set()
    sorted_already = True
    for node in nodes:
        if sorted_already:
            for name in node.inputs:
                if name and name not in made and name not in known:
                    sorted_already = False
                    break
            if sorted_already and node.has_graphs:
                sorted_already = all(name in made or name in known for name in _captured(node, resolve))
        for name in node.outputs:
            if name:
                if name in made or name in known:
                    raise GraphError(
                        f"value {name!r} is defined twice: by node {node.name or node.op_type!r} and before it",
                        "every value needs a name of its own",
                    )
                made.add(name)
    return (nodes, False) if sorted_already else (_sorted(nodes, known, made, resolve), True)


def _captured(node: Node, resolve: Callable[[str], str]) -> list[str]:
    return [resolve(name) for graph in subgraphs(node) for name in outer_names(graph)]


def _sorted(nodes: Sequence[Node], known: Container[str], made: set[str], resolve: Callable[[str], str]) -> list[Node]:
    readers: dict[str, list[int]] = {}
    missing: list[int] = []
    for index, node in enumerate(nodes):
        needs = dict.fromkeys(name for name in (*node.inputs, *_captured(node, resolve)) if name)
        waits = 0
        for name in needs:
            if name in known:
                continue
            if name not in made:
                raise GraphError(
                    f"node {node.name or node.op_type!r} ({node.op_type}) reads {name!r}, which nothing makes",
                    "the graph has an undefined input",
                )
            readers.setdefault(name, []).append(index)
            waits += 1
        missing.append(waits)
    ready = deque(i for i, waits in enumerate(missing) if not waits)
    found: list[Node] = []
    while ready:
        node = nodes[ready.popleft()]
        found.append(node)
        for name in node.outputs:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    ready.append(reader)
    if len(found) < len(nodes):
        stuck = next(node for node, waits in zip(nodes, missing, strict=True) if waits)
        raise GraphError(
            f"node {stuck.name or stuck.op_type!r} ({stuck.op_type}) waits for its own result",
            "the graph has a cycle",
        )
    return found
