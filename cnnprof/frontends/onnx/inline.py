"""Puts the bodies of model-local functions where they are called.

Names inside a call become its own; attributes that a body takes from its caller (``ref_attr_name``) are
filled in, or take the function's default. A function that the operator table knows by name (exporters define
``com.microsoft`` operators this way) stays a single operator. Recursion is an error, growth is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cnnprof.errors import GraphError, ModelError
from cnnprof.frontends.onnx.order import subgraphs
from cnnprof.frontends.onnx.records import Attr, FunctionRec, GraphRec, ModelRec, Node, ValueRec
from cnnprof.frontends.onnx.wire import field
from cnnprof.ops import table

__all__ = ["inline_functions"]

_MAX_NODES = 1_000_000
_MAX_CALLS = 48  # of functions in functions


def inline_functions(model: ModelRec) -> None:
    """Rewrite ``model.graph`` in place so that no call of a local function is left.

    Raises :class:`GraphError` on recursion and :class:`ModelError` where calls multiply beyond a million nodes.
    """
    if model.functions:
        inliner = _Inliner(model)
        inliner.check_size(model.graph.nodes)
        model.graph.nodes = inliner.expand(model.graph.nodes)


class _Inliner:
    def __init__(self, model: ModelRec) -> None:
        self._functions = model.functions
        self._calls = 0
        self._sizes: dict[int, int] = {}

    def _function(self, node: Node) -> FunctionRec | None:
        found = self._functions.get((node.domain, node.op_type, node.overload))
        if found is not None and node.domain and table.lookup(node.spelling):
            return None
        return found

    def expand(self, nodes: list[Node]) -> list[Node]:
        found: list[Node] = []
        for node in nodes:
            function = self._function(node)
            if function is not None:
                found += self._call(node, function)
                continue
            if node.has_graphs:
                node = self._inside(node)  # noqa: PLW2901
            found.append(node)
        return found

    def check_size(self, nodes: Sequence[Node]) -> None:
        """Raise before anything is copied, if it would be too much."""
        if self._size(nodes, ()) > _MAX_NODES:
            raise ModelError(f"functions unfold into more than {_MAX_NODES} nodes", "the model calls them in a cascade")

    def _size(self, nodes: Sequence[Node], stack: tuple[int, ...]) -> int:
        total = 0
        for node in nodes:
            function = self._function(node)
            if function is None:
                total += 1 + sum(self._size(graph.nodes, stack) for graph in subgraphs(node))
                continue
            key = id(function)
            if key in stack:
                raise GraphError(f"function {function.name!r} calls itself", "ONNX functions can't recurse")
            if len(stack) >= _MAX_CALLS:
                raise ModelError(f"function {function.name!r}: calls are nested deeper than {_MAX_CALLS}")
            if key not in self._sizes:
                self._sizes[key] = self._size(function.nodes, (*stack, key))
            total += self._sizes[key]
        return total

    def _inside(self, node: Node) -> Node:
        """The node with the calls in its subgraphs expanded."""

        def grown(graph: GraphRec) -> GraphRec:
            return replace(graph, nodes=self.expand(graph.nodes))

        return replace(node, attrs={name: _on_graphs(attr, grown) for name, attr in node.attrs.items()})

    def _call(self, node: Node, function: FunctionRec) -> list[Node]:
        name = function.name
        if len(node.inputs) > len(function.inputs) or len(node.outputs) > len(function.outputs):
            raise GraphError(
                f"call {node.name!r} of function {name!r}: expected at most {len(function.inputs)} inputs and "
                f"{len(function.outputs)} outputs, got {len(node.inputs)} and {len(node.outputs)}"
            )
        self._calls += 1
        label = node.name or f"{name}_{self._calls - 1}"
        own = f"{node.prefix}/{label}" if node.prefix else label
        tag = f"{own}#{self._calls}"
        names = dict.fromkeys(function.inputs, "")
        names.update(zip(function.inputs, node.inputs, strict=False))
        results: list[tuple[str, str]] = []  # outputs that are inputs passed through
        for formal, actual in zip(function.outputs, node.outputs, strict=False):
            if formal in names:
                results.append((names[formal], actual))
            elif actual:
                names[formal] = actual
        attrs = dict(function.defaults) | {
            key: attr for key, attr in node.attrs.items() if key in function.attributes or key in function.defaults
        }
        writer = _Rewriter(attrs, tag, own, node.module)
        body = [writer.node(inner, names) for inner in function.nodes]
        for source, target in results:
            if source and target:
                body.append(
                    replace(
                        node,
                        op_type="Identity",
                        domain="",
                        inputs=[source],
                        outputs=[target],
                        attrs={},
                        raw=None,
                        overload="",
                        name=f"{label}/Identity",
                    )
                )
        return self.expand(body)


class _Rewriter:
    """Copies a function's nodes for one call."""

    def __init__(self, attrs: Mapping[str, Attr], tag: str, prefix: str, module: str) -> None:
        self._attrs = attrs
        self._tag = tag
        self._prefix = prefix
        self._module = module

    def node(self, node: Node, names: dict[str, str]) -> Node:
        """``names`` grows with what the node defines."""
        inputs = [names.get(name, name) if name else "" for name in node.inputs]
        outputs = [names.setdefault(name, f"{self._tag}/{name}") if name else "" for name in node.outputs]
        attrs: dict[str, Attr] = {}
        for name, attr in node.attrs.items():
            if attr.ref:
                given = self._attrs.get(attr.ref)
                if given is not None:
                    attrs[name] = replace(given, name=name, raw=None if given.raw is None else _renamed(given, name))
            else:
                attrs[name] = _on_graphs(attr, lambda graph: self._graph(graph, names))
        return replace(
            node,
            inputs=inputs,
            outputs=outputs,
            attrs=attrs,
            raw=None,
            prefix=self._prefix,
            module=node.module or self._module,
        )

    def _graph(self, graph: GraphRec, outer: dict[str, str]) -> GraphRec:
        """A subgraph of a function body: what it defines itself keeps its name there."""
        own = [value.name for value in graph.inputs] + [tensor.name for tensor in graph.initializers]
        own += [name for node in graph.nodes for name in node.outputs]
        names = outer | dict(zip(own, own, strict=True))
        return replace(
            graph,
            nodes=[self.node(node, names) for node in graph.nodes],
            outputs=[ValueRec(names.get(v.name, v.name), v.type) for v in graph.outputs],
        )


def _renamed(attr: Attr, name: str) -> bytes | None:
    """The serialised attribute under another name: protobuf takes the last value of a field that repeats."""
    return None if attr.raw is None else attr.raw + field(1, name)


def _on_graphs(attr: Attr, change: Callable[[GraphRec], GraphRec]) -> Attr:
    if isinstance(attr.value, GraphRec):
        return replace(attr, value=change(attr.value))
    if isinstance(attr.value, tuple) and attr.value and isinstance(attr.value[0], GraphRec):
        return replace(attr, value=tuple(change(graph) for graph in attr.value))
    return attr
