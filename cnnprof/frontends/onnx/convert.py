"""From steps to the Graph: canonical kinds and attributes, roles, storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from cnnprof.frontends.onnx.call import foreign_call
from cnnprof.frontends.onnx.qdq import compute_dtypes
from cnnprof.frontends.onnx.roles import claims, role_of
from cnnprof.frontends.onnx.scope import scope_of
from cnnprof.frontends.onnx.tracer import Step, Tracer
from cnnprof.ir import NO_ATTRIBUTES, UNKNOWN_KIND, Graph, GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import RULE_FAILURES, Call, Memory, OpSpec

__all__ = ["to_graph"]


@dataclass(slots=True)
class _Row:
    step: Step
    label: str
    spec: OpSpec | None
    attributes: dict[str, Any]
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    made: tuple[Tensor | None, ...]


def to_graph(tracer: Tracer, source: ModelSource, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    """The Graph of everything ``tracer`` has run through."""
    builder = GraphBuilder(source)
    for note in tracer.notes:
        builder.note(note.code, note.message, note.layer)
    rows = _rows(tracer, builder)
    plain = [(_spelling(row.step), row.spec, row.inputs, row.outputs) for row in rows]
    claimed = claims(plain, tracer.infos)
    integer = compute_dtypes(plain, tracer.infos)
    for name in inputs:
        builder.add_tensor(tracer.infos[name].tensor(name, Role.INPUT))
    used = {name for row in rows for name in row.inputs} | set(outputs)
    for name in tracer.constants:
        if name in used:
            builder.add_tensor(_constant(tracer, name, claimed.get(name, 0)))
    for number, row in enumerate(rows):
        if number in integer:
            row.attributes["compute_dtype"] = integer[number]
        _add(builder, row)
    return builder.build(inputs, outputs)


def _rows(tracer: Tracer, builder: GraphBuilder) -> list[_Row]:
    tensors: dict[str, Tensor] = {}

    infos, constants = tracer.infos, tracer.constants

    def tensor(name: str) -> Tensor | None:
        found = tensors.get(name)
        if found is None and name:
            role = Role.CONSTANT if name in constants else Role.ACTIVATION
            found = tensors[name] = infos[name].tensor(name, role)
        return found

    rows = []
    for step in tracer.steps:
        node = step.node
        label = tracer.label(node)
        ins = tuple([tensor(name) for name in node.inputs])
        outs = tuple([tensor(name) for name in node.outputs])
        if step.kind:
            part = step.kind.rpartition("_")[2]
            attributes = {"part": part, **(step.attributes or {})}
            meaning: tuple[OpSpec | None, Call] = (
                table.spec(step.kind),
                Call(node.spelling, ins, outs, attributes),
            )
        else:
            meaning = _meaning(builder, node.spelling, foreign_call(node, ins, outs), label)
        spec, call = meaning
        rows.append(
            _Row(
                step,
                label,
                spec,
                dict(call.attributes),
                tuple([None if t is None else t.name for t in call.inputs]),
                tuple([name or None for name in node.outputs]),
                outs,
            )
        )
    return rows


def _meaning(builder: GraphBuilder, spelling: str, call: Call, label: str) -> tuple[OpSpec | None, Call]:
    try:
        return table.resolve(spelling, call) or (None, call)
    except RULE_FAILURES as error:
        builder.note("uncountable", f"{spelling}: {error}", label)
        return None, call


def _spelling(step: Step) -> str:
    return step.kind or step.node.spelling


def _constant(tracer: Tracer, name: str, claim: int) -> Tensor:
    info = tracer.infos[name]
    role = role_of(claim, info)
    if role is Role.CONSTANT:
        return info.tensor(name, role)
    return Tensor(name, info.shape, info.dtype, role)  # weights' values are never kept


def _add(builder: GraphBuilder, row: _Row) -> None:
    step = row.step
    storage = _storage(builder, row)
    made: list[Tensor] = [tensor for tensor in row.made if tensor is not None]
    if storage:
        made = [replace(t, storage=storage[t.name]) if t.name in storage else t for t in made]
    kind = step.kind or (UNKNOWN_KIND if row.spec is None else row.spec.kind)
    builder.add_op(
        Op(
            builder.unique_op_name(row.label),
            kind,
            step.node.spelling,
            row.inputs,
            row.outputs,
            MappingProxyType(row.attributes) if row.attributes else NO_ATTRIBUTES,
            step.node.module or scope_of(row.label) or step.module,
            step.execution,
        ),
        made,
    )


def _storage(builder: GraphBuilder, row: _Row) -> dict[str, str]:
    """Output -> the storage it shares with an input."""

    def same(pairs: Sequence[tuple[str | None, str | None]]) -> dict[str, str]:
        return {
            out: builder.tensors[source].storage_name for out, source in pairs if out is not None and source is not None
        }

    kind = row.step.kind
    if not kind:
        if row.spec is None or row.spec.memory is not Memory.VIEW or not row.inputs:
            return {}
        return same([(out, row.inputs[0]) for out in row.outputs])
    if kind == "if_join":
        return same(list(zip(row.outputs, row.inputs[1:], strict=False)))
    if kind == "loop_enter":
        # The carried values come in where the initial ones lie; counter and condition are new.
        carried = [name for name in row.inputs[2:] if name is not None]
        return same(list(zip(row.outputs[2:], carried, strict=False)))
    if kind == "scan_enter":
        skip = len(row.inputs) - len(row.outputs)
        return same(list(zip(row.outputs, row.inputs[skip:], strict=False)))
    if kind in ("loop_exit", "scan_exit"):
        skip, count = row.attributes["skip"], row.attributes["carried"]
        return same(list(zip(row.outputs[:count], row.inputs[skip:], strict=False)))
    return {}
