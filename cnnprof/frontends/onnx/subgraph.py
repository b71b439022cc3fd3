"""Binds a subgraph's names to the values around it, so that its nodes can run where the operator stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cnnprof.errors import GraphError
from cnnprof.frontends.onnx.info import Info, type_proto
from cnnprof.frontends.onnx.records import GraphRec, Node, TypeRec
from cnnprof.frontends.onnx.tracer import Context, Names, Tracer
from cnnprof.frontends.onnx.walker import Walker
from cnnprof.frontends.onnx.wire import field, scan

__all__ = ["element", "enter", "merged", "repeated", "sequence_of"]


def enter(
    tracer: Tracer, graph: GraphRec, bound: Mapping[str, str], context: Context
) -> tuple[list[Node], list[str], Names]:
    """The nodes with names of the surrounding graph, the subgraph's outputs under those names, and what its
    own subgraphs see. ``bound`` maps its inputs to values that exist. Initializers are entered."""
    own = dict(bound)
    for tensor in graph.initializers:
        if tensor.name not in own:
            own[tensor.name] = tracer.fresh(tensor.name)
            tracer.add_constant(tensor, own[tensor.name])
    for node in graph.nodes:
        for name in node.outputs:
            if name:
                if name in own:
                    raise GraphError(
                        f"value {name!r} is defined twice in subgraph {graph.name!r}",
                        "every value needs a name of its own",
                    )
                own[name] = tracer.fresh(name)
    names = Names(own, context.names)
    if tracer.believing:
        for value in (*graph.value_info, *graph.outputs):
            if value.name in own:
                tracer.declared[own[value.name]] = value.type
    nodes = [
        replace(
            node,
            inputs=[names(name) if name else "" for name in node.inputs],
            outputs=[own[name] if name else "" for name in node.outputs],
            raw=None,
        )
        for node in graph.nodes
    ]
    return nodes, [names(value.name) for value in graph.outputs], names


def merged(left: Info, right: Info) -> Info:
    """What holds of both: sizes that differ are open, types that differ unknown."""
    if left.other is not None or right.other is not None:
        same = left.other is not None and right.other is not None and left.other.raw == right.other.raw
        length = left.length if left.length == right.length else None
        return Info(other=left.other if same else TypeRec("opaque"), length=length)
    elem = left.elem if left.elem == right.elem else 0
    if left.dims is None or right.dims is None or len(left.dims) != len(right.dims):
        return Info(elem)
    return Info(elem, tuple(a if a == b else None for a, b in zip(left.dims, right.dims, strict=True)))


def repeated(tracer: Tracer, since: int, times: int | None) -> None:
    """Multiply the execution of every step from ``since`` on; None = nobody knows how often."""
    for step in tracer.steps[since:]:
        run = step.execution
        step.execution = replace(
            run, repeat=run.repeat * (1 if times is None else times), bounded=run.bounded and times is not None
        )


def element(info: Info) -> Info:
    """What one element of a sequence, or the content of an optional, is."""
    if info.other is None:
        return Info()
    raw = info.other.raw
    for tag, a, b in scan(raw, 0, len(raw)):
        if tag in (34, 74):
            for inner, c, d in scan(raw, a, b):
                if inner == 10:
                    kind = Walker(raw).type(c, d)
                    if kind.kind == "tensor":
                        dims = kind.dims
                        sizes = (
                            None if dims is None else tuple(x if isinstance(x, int) and x >= 0 else None for x in dims)
                        )
                        return Info(kind.elem, sizes)
                    return Info(other=kind)
    return Info()


def sequence_of(item: Info, length: int | None) -> Info:
    """A sequence of ``item``."""
    raw = field(4, field(1, type_proto(item)))
    return Info(other=TypeRec("sequence", raw=raw), length=length)


def present(names: Sequence[str]) -> list[str]:
    return [name for name in names if name]
