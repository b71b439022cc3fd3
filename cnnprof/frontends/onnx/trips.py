"""How often a Loop runs, where the model itself says so."""

from __future__ import annotations

from collections.abc import Sequence

from cnnprof.frontends.onnx.fold import evaluate, foldable
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.records import GraphRec, Node
from cnnprof.frontends.onnx.tracer import Tracer
from cnnprof.frontends.onnx.values import Value, attr_value

__all__ = ["trip_count"]

_MAX_TRIPS = 10_000  # of a counter that is stepped through
_MAX_CONE = 64  # nodes that such a counter's condition may take


def trip_count(
    tracer: Tracer, node: Node, body: GraphRec, results: Sequence[str], carried: Sequence[str]
) -> int | None:
    """The number of iterations, or None where it depends on data.

    Known if the limit M is and the condition stays true in the body (``results[0]`` is its name there), if the
    condition ends the loop after a known number of steps of a known counter, or if nothing runs at all.
    """
    limit = _single(tracer, node.inputs[0]) if node.inputs else None
    first = _single(tracer, node.inputs[1]) if len(node.inputs) > 1 else None
    asked = bool(len(node.inputs) > 1 and node.inputs[1])
    if first is not None and not first:
        return 0
    if limit is not None and limit <= 0:
        return 0
    if asked and first is None:
        return None
    again = tracer.infos[results[0]].value
    if again is not None and len(again.data) == 1:
        if not again.data[0]:
            return 1
        return None if limit is None else int(limit)
    if node.inputs and node.inputs[0] and limit is None:
        return None
    return _stepped(tracer, body, carried, None if limit is None else int(limit))


def _single(tracer: Tracer, name: str) -> float | None:
    value = tracer.infos[name].value if name else None
    return value.data[0] if value is not None and len(value.data) == 1 else None


def _stepped(tracer: Tracer, body: GraphRec, carried: Sequence[str], limit: int | None) -> int | None:
    """Step a ``while i < n`` through: evaluate, per iteration, only what the condition depends on."""
    makers = {name: node for node in body.nodes for name in node.outputs if name}
    condition = body.outputs[0].name
    slots = {value.name: i for i, value in enumerate(body.inputs)}
    wanted = [condition]
    cone: set[str] = set()
    used: set[int] = set()
    while wanted:
        name = wanted.pop()
        if name in cone or len(cone) > _MAX_CONE:
            continue
        cone.add(name)
        if name in slots:
            slot = slots[name]
            if slot >= 2 and slot not in used:
                used.add(slot)
                wanted.append(body.outputs[slot - 1].name)
        elif name in makers:
            wanted += [n for n in makers[name].inputs if n]
    nodes = [node for node in body.nodes if any(name in cone for name in node.outputs)]
    if len(cone) > _MAX_CONE or not all(foldable(n) or n.op_type == "Constant" for n in nodes):
        return None
    state = {slot: tracer.infos[carried[slot - 2]].value for slot in used}
    for step in range(min(limit, _MAX_TRIPS) if limit is not None else _MAX_TRIPS):
        found: dict[str, Value | None] = {name: state.get(slot) for name, slot in slots.items()}
        found[body.inputs[0].name] = Value(7, (), (step,))
        found[body.inputs[1].name] = Value(9, (), (True,))
        for node in nodes:
            found.update(zip(node.outputs, _run(tracer, node, found), strict=False))
        again = found.get(condition)
        if again is None or len(again.data) != 1:
            return None
        if not again.data[0]:
            return step + 1
        state = {slot: found.get(body.outputs[slot - 1].name) for slot in used}
    return limit if limit is not None and limit <= _MAX_TRIPS else None


def _run(tracer: Tracer, node: Node, found: dict[str, Value | None]) -> list[Value | None]:
    if node.op_type == "Constant":
        return [attr_value(attr) for attr in node.attrs.values()][:1]
    inputs: list[Info | None] = []
    for name in node.inputs:
        if not name:
            inputs.append(None)
            continue
        value = found[name] if name in found else _outer(tracer, name)
        inputs.append(Info(0, None) if value is None else Info(value.elem, value.shape, value))
    values = evaluate(node, inputs)
    return [None] * len(node.outputs) if values is None else list(values)


def _outer(tracer: Tracer, name: str) -> Value | None:
    info = tracer.infos.get(name)
    return None if info is None else info.value
