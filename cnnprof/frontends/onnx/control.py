"""Control flow, flattened into the one list of steps.

If      on a known condition: its branch stands in its place. Otherwise both branches are executed, each marked as
        an alternative, and ``if_join`` picks one result.
Loop    the body once, between ``loop_enter`` (initial values in) and ``loop_exit`` (final and stacked values
        out), its execution multiplied by the trip count; where nobody knows that, counted once and marked.
Scan    the same, between ``scan_enter`` and ``scan_exit``; the trip count is the length of the scanned axis.
SequenceMap  the same, over a sequence: ``sequence_map_enter`` and ``sequence_map_exit``.

A carried value whose shape changes from one iteration to the next has that size open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cnnprof.errors import GraphError
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import AttrKind, GraphRec, Node
from cnnprof.frontends.onnx.subgraph import element, enter, merged, repeated, sequence_of
from cnnprof.frontends.onnx.tracer import Context, Step, Tracer
from cnnprof.frontends.onnx.trips import trip_count
from cnnprof.frontends.onnx.values import Value
from cnnprof.ir import Execution

__all__ = ["CONTROL"]

_PASSES = 3  # of a loop body, until the shapes of carried values settle


def _body(node: Node, name: str) -> GraphRec:
    attr = node.attrs.get(name)
    if attr is None or attr.kind != AttrKind.GRAPH or not isinstance(attr.value, GraphRec):
        raise GraphError(f"node {node.name!r} ({node.op_type}): expected a graph in {name!r}, got none")
    return attr.value


def _mismatch(node: Node, what: str, expected: int, got: int) -> GraphError:
    return GraphError(f"node {node.name!r} ({node.op_type}): expected {expected} {what}, got {got}")


def _piece(
    tracer: Tracer,
    node: Node,
    context: Context,
    suffix: str,
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    **attributes: Any,
) -> None:
    """Append one structural step of a control-flow operator."""
    label = f"{node.name}/{suffix}" if suffix else node.name
    piece = replace(node, name=label, inputs=list(inputs), outputs=list(outputs), attrs={}, raw=None)
    piece.has_graphs = False
    tracer.steps.append(Step(piece, Execution(branches=context.branches), context.module, kind, attributes))


def _inner(node: Node, context: Context, names: Any) -> Context:
    return Context(names, context.branches, node.module or context.module)


# -- If -------------------------------------------------------------------------------------------


def _if(tracer: Tracer, node: Node, context: Context) -> None:
    label = tracer.label(node)
    if not node.inputs or not node.inputs[0]:
        raise GraphError(f"node {label!r} (If): has no condition", "export the model again")
    branches = (_body(node, "then_branch"), _body(node, "else_branch"))
    condition = tracer.infos[node.inputs[0]].value
    if condition is not None and len(condition.data) == 1:
        taken = 0 if condition.data[0] else 1
        tracer.folded.add(node.inputs[0])
        results = _run_branch(tracer, node, branches[taken], context)
        tracer.note("constant_condition", f"the condition is always {not taken}: one branch counts", label)
        for source, name in zip(results, node.outputs, strict=False):
            if name:
                _alias(tracer, node, context, source, name)
        return
    tracer.note("branches", "the branch taken depends on data: the totals are a range over both", label)
    unique = tracer.branch_name(label)
    both = [
        _run_branch(tracer, node, graph, replace(context, branches=(*context.branches, (unique, index))))
        for index, graph in enumerate(branches)
    ]
    for slot, name in enumerate(node.outputs):
        if name:
            tracer.infos[name] = merged(*(tracer.infos[results[slot]] for results in both))
    _piece(tracer, node, context, "", "if_join", [node.inputs[0], *both[0], *both[1]], node.outputs)


def _run_branch(tracer: Tracer, node: Node, graph: GraphRec, context: Context) -> list[str]:
    if len(graph.outputs) < len(node.outputs):
        raise _mismatch(node, f"results of branch {graph.name!r}", len(node.outputs), len(graph.outputs))
    nodes, results, names = enter(tracer, graph, {}, context)
    tracer.run(nodes, _inner(node, context, names))
    _check_made(tracer, node, results)
    return results[: len(node.outputs)]


def _check_made(tracer: Tracer, node: Node, results: Sequence[str]) -> None:
    for name in results:
        if name not in tracer.infos:
            raise GraphError(f"node {node.name!r} ({node.op_type}): its subgraph never makes {name!r}")


def _alias(tracer: Tracer, node: Node, context: Context, source: str, name: str) -> None:
    """The same value under another name."""
    known = tracer.infos[source]
    tracer.infos[name] = replace(known)
    alias = replace(node, op_type="Identity", inputs=[source], outputs=[name], attrs={}, raw=None, has_graphs=False)
    tracer.steps.append(Step(alias, Execution(branches=context.branches), context.module))


# -- Loop -----------------------------------------------------------------------------------------


def _loop(tracer: Tracer, node: Node, context: Context) -> None:
    label = tracer.label(node)
    body = _body(node, "body")
    carried = [name for name in node.inputs[2:] if name]
    count = len(carried)
    if len(body.inputs) != count + 2:
        raise _mismatch(node, "body inputs", count + 2, len(body.inputs))
    if len(body.outputs) < count + 1 or len(node.outputs) > len(body.outputs) - 1:
        raise _mismatch(node, "body outputs", max(count, len(node.outputs)) + 1, len(body.outputs))
    states = [_unvalued(tracer.infos[name]) for name in carried]
    start = [Info(7, ()), Info(9, (), Value(9, (), (True,)))]
    results, states, since = _settled(tracer, node, context, body, start, states, 1, label, "loop", node.inputs)
    trips = trip_count(tracer, node, body, results, carried)
    _finish(tracer, node, since, trips, label)
    for slot, name in enumerate(node.outputs):
        if not name:
            continue
        if slot < count:
            initial = _unvalued(tracer.infos[carried[slot]])
            tracer.infos[name] = initial if trips == 0 else states[slot]
        else:
            tracer.infos[name] = _stacked(tracer.infos[results[slot + 1]], trips, 0)
    _piece(tracer, node, context, "exit", "loop_exit", results, node.outputs, carried=count, trips=trips, skip=1)


def _unvalued(info: Info) -> Info:
    return Info(info.elem, info.dims, None, info.other)


def _settled(
    tracer: Tracer,
    node: Node,
    context: Context,
    body: GraphRec,
    start: list[Info],
    states: list[Info],
    skip: int,
    label: str,
    kind: str,
    inputs: Sequence[str],
    extra: Sequence[Info] = (),
    **attributes: Any,
) -> tuple[list[str], list[Info], int]:
    """Run the body until the shapes of its carried values (outputs from ``skip`` on) no longer change.

    Returns the body's results, the carried values' infos, and the first step of the body.
    """
    mark = tracer.mark()
    for attempt in range(_PASSES):
        tracer.rollback(mark)
        bound: dict[str, str] = {}
        for value, info in zip(body.inputs, (*start, *states, *extra), strict=True):
            bound[value.name] = tracer.fresh(value.name)
            tracer.infos[bound[value.name]] = replace(info)
        made = list(bound.values())
        if len(made) != len(body.inputs):
            raise GraphError(f"node {label!r} ({node.op_type}): two body inputs have the same name")
        _piece(tracer, node, context, "enter", f"{kind}_enter", inputs, made, **attributes)
        since = len(tracer.steps)
        nodes, results, names = enter(tracer, body, bound, context)
        tracer.run(nodes, _inner(node, context, names))
        _check_made(tracer, node, results)
        ends = [tracer.infos[results[skip + i]] for i in range(len(states))]
        joined = [merged(a, b) for a, b in zip(states, ends, strict=True)]
        if all(a.dims == b.dims and a.elem == b.elem for a, b in zip(joined, states, strict=True)):
            break
        states = joined if attempt < _PASSES - 2 else [Info(s.elem, None, None, s.other) for s in joined]
    return results, states, since


def _finish(tracer: Tracer, node: Node, since: int, trips: int | None, label: str) -> None:
    repeated(tracer, since, trips)
    if trips is None:
        tracer.note(
            "unbounded_loop",
            f"how often this {node.op_type} runs depends on data: its body is counted once",
            label,
        )


def _stacked(item: Info, trips: int | None, axis: int) -> Info:
    if item.other is not None:
        return sequence_of(item, trips)
    if item.dims is None:
        return Info(item.elem)
    at = axis + len(item.dims) + 1 if axis < 0 else axis
    return Info(item.elem, (*item.dims[:at], trips, *item.dims[at:]))


# -- Scan -----------------------------------------------------------------------------------------


def _scan(tracer: Tracer, node: Node, context: Context) -> None:
    label = tracer.label(node)
    body = _body(node, "body")
    batched = 0 < node.imports.get("", 0) < 9  # opset 8: a batch axis, and the lengths come first
    inputs = node.inputs[1:] if batched else node.inputs
    scanned = node.plain("num_scan_inputs", 0)
    if not 0 < scanned <= len(inputs) or len(body.inputs) != len(inputs):
        raise _mismatch(node, "body inputs", len(inputs), len(body.inputs))
    count = len(inputs) - scanned
    if len(body.outputs) < max(count, len(node.outputs)):
        raise _mismatch(node, "body outputs", max(count, len(node.outputs)), len(body.outputs))
    lead = 1 if batched else 0
    states = [_cut(_unvalued(tracer.infos[name]), 0, lead) for name in inputs[:count]]
    axes = list(node.plain("scan_input_axes", ())) or [lead] * scanned
    slices: list[Info] = []
    trips: int | None = None
    for name, axis in zip(inputs[count:], axes, strict=False):
        info = tracer.infos[name]
        rank = len(info.dims or ())
        at = axis + rank if axis < 0 else axis
        if info.dims is not None and not 0 <= at < rank:
            raise GraphError(f"node {label!r} (Scan): axis {axis} is outside {name!r} of rank {rank}")
        size = None if info.dims is None else info.dims[at]
        trips = size if trips is None else trips
        slices.append(_cut(_unvalued(info), at, 1, lead))
    results, states, since = _settled(
        tracer, node, context, body, [], states, 0, label, "scan", inputs, slices, carried=count
    )
    batch = _batch(tracer, inputs) if batched else 1
    _finish(tracer, node, since, None if trips is None or batch is None else trips * batch, label)
    out_axes = list(node.plain("scan_output_axes", ())) or [0] * (len(body.outputs) - count)
    for slot, name in enumerate(node.outputs):
        if not name:
            continue
        made = states[slot] if slot < count else _stacked(tracer.infos[results[slot]], trips, out_axes[slot - count])
        tracer.infos[name] = Info(made.elem, (batch, *made.dims) if batched and made.dims is not None else made.dims)
    _piece(tracer, node, context, "exit", "scan_exit", results, node.outputs, carried=count, trips=trips, skip=0)


def _batch(tracer: Tracer, inputs: Sequence[str]) -> int | None:
    dims = tracer.infos[inputs[-1]].dims
    return dims[0] if dims else None


def _cut(info: Info, axis: int, size: int, lead: int = 0) -> Info:
    """Without ``size`` axes from ``axis`` on, and without the first ``lead``."""
    if info.dims is None:
        return Info(info.elem)
    return Info(info.elem, (info.dims[:axis] + info.dims[axis + size :])[lead:])


# -- SequenceMap ----------------------------------------------------------------------------------


def _sequence_map(tracer: Tracer, node: Node, context: Context) -> None:
    label = tracer.label(node)
    body = _body(node, "body")
    inputs = [name for name in node.inputs if name]
    if len(body.inputs) != len(inputs):
        raise _mismatch(node, "body inputs", len(inputs), len(body.inputs))
    if len(body.outputs) < len(node.outputs):
        raise _mismatch(node, "body outputs", len(node.outputs), len(body.outputs))
    infos = [tracer.infos[name] for name in inputs]
    trips = infos[0].length
    items = [element(i) if i.other is not None and i.other.kind == "sequence" else _unvalued(i) for i in infos]
    results, _, since = _settled(tracer, node, context, body, items, [], 0, label, "sequence_map", inputs)
    _finish(tracer, node, since, trips, label)
    for slot, name in enumerate(node.outputs):
        if name:
            tracer.infos[name] = sequence_of(tracer.infos[results[slot]], trips)
    _piece(tracer, node, context, "exit", "sequence_map_exit", results, node.outputs, trips=trips)


CONTROL: dict[str, Callable[[Tracer, Node, Context], None]] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}
