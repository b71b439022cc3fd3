"""Receptive fields of every tensor in one pass from the inputs on.

Each tensor gets, per graph input and per spatial axis of it, an :class:`~.field.AxisField`; an op pulls the
fields of what it reads through its window rule and joins them. One visit per use of a tensor, whatever the
depth, so that the cost grows with the graph's edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnnprof.analyses.receptive_field.field import AxisField, pull, source
from cnnprof.analyses.receptive_field.join import Joins
from cnnprof.analyses.receptive_field.relations import Relations, identity, in_place_of, relations_of
from cnnprof.ir import Graph, Op
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import Relation

__all__ = ["Fields", "Propagation", "propagate", "spatial_axes"]

Fields = Mapping[str, tuple[AxisField, ...]]  # graph input -> one field per spatial axis of it

_SPATIAL = ("conv", "pool", "resize", "interpolate", "upsample", "unfold", "im2col")
_RECURRENT = ("lstm", "gru", "rnn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation:
    """``axes``: the spatial axes of each graph input; ``fields``: by tensor name."""

    axes: Mapping[str, tuple[int, ...]]
    fields: Mapping[str, Fields]
    relations: Mapping[str, Relations]


def propagate(graph: Graph, axes: Mapping[str, tuple[int, ...]] | None = None) -> Propagation:
    """Run the pass. ``axes`` overrides which axes of an input are spatial."""
    relations: dict[str, Relations] = {}
    chosen = dict(axes or {})
    for name in graph.inputs:
        if name not in chosen:
            chosen[name] = spatial_axes(graph, name, relations)
    fields = _run(graph, chosen, relations, graph.ops)
    return Propagation(axes=chosen, fields=fields, relations=relations)


def spatial_axes(graph: Graph, name: str, relations: dict[str, Relations]) -> tuple[int, ...]:
    """The axes of input ``name`` that windows move along.

    Those that reach the spatial axes of the first convolution, pooling or resize (so that a channels-last
    input behind a Transpose is understood), else the time axis of the first recurrent layer, else all axes
    after batch and channels.
    """
    shape = graph.tensors[name].shape
    if shape is None or len(shape) < 3:
        return ()
    every = tuple(range(len(shape)))
    walk = _Walk(graph, relations)
    reached = walk.fields
    reached[name] = {name: tuple(source(axis) for axis in every)}
    for op in graph.ops:
        if not any(use in reached for use in op.present_inputs):
            continue
        first = op.inputs[0] if op.inputs else None
        sliding = _sliding_axes(graph, op)
        if first in reached and sliding:
            found = _axes_at(reached[first][name], sliding)
            if found:
                return found
        walk.visit(op)
    return every[2:]


def _sliding_axes(graph: Graph, op: Op) -> tuple[int, ...]:
    data = graph.tensors[op.inputs[0]] if op.inputs and op.inputs[0] is not None else None
    if data is None or data.shape is None:
        return ()
    if any(word in op.kind for word in _SPATIAL):
        return tuple(range(1, len(data.shape) - 1) if op.attributes.get("channels_last") else range(2, len(data.shape)))
    if any(op.kind.startswith(word) for word in _RECURRENT):
        return (1 if op.attributes.get("batch_first") else 0,)
    return ()


def _axes_at(fields: tuple[AxisField, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    found = []
    for axis, field in enumerate(fields):
        if any(digit.axis in wanted for strand in field.strands for digit in strand.digits):
            found.append(axis)
    return tuple(found)


def _run(
    graph: Graph,
    axes: Mapping[str, tuple[int, ...]],
    relations: dict[str, Relations],
    ops: Sequence[Op],
) -> dict[str, Fields]:
    walk = _Walk(graph, relations)
    for name, chosen in axes.items():
        if chosen:
            walk.fields[name] = {name: tuple(source(axis) for axis in chosen)}
    for op in ops:
        walk.visit(op)
    return walk.fields


class _Walk:
    """Visits ops in execution order and fills ``fields``."""

    def __init__(self, graph: Graph, relations: dict[str, Relations]) -> None:
        self._graph, self._relations = graph, relations
        self.fields: dict[str, Fields] = {}
        self._joins = Joins()

    def visit(self, op: Op) -> None:
        fields = self.fields
        read = [(index, name) for index, name in enumerate(op.inputs) if name is not None and name in fields]
        if not read:
            return
        rows = self._relations.get(op.name)
        if rows is None:
            rows = self._relations[op.name] = relations_of(self._graph, op)
        for output, row in zip(op.outputs, rows, strict=False):
            if output is not None:
                used = [
                    (index, relation, name)
                    for index, name in read
                    if index < len(row) and (relation := row[index]) is not None
                ]
                if len(used) == 1 and identity(used[0][1]):
                    fields[output] = fields[used[0][2]]
                    continue
                made = self._output_fields(op, used)
                if made:
                    fields[output] = made

    def _output_fields(self, op: Op, used: list[tuple[int, Relation, str]]) -> Fields:
        collected: dict[str, list[tuple[AxisField, ...]]] = {}
        for index, relation, name in used:
            for source_name, axis_fields in self.fields[name].items():
                collected.setdefault(source_name, []).append(self._pulled(op, index, relation, name, axis_fields))
        along = op.attributes.get("axis", -1) if op.kind in ("concat", "stack") else -1
        return {
            name: tuple([self._joined([row[k] for row in rows], op.name, along) for k in range(len(rows[0]))])
            for name, rows in collected.items()
        }

    def _pulled(
        self, op: Op, index: int, relation: Relation, name: str, axis_fields: tuple[AxisField, ...]
    ) -> tuple[AxisField, ...]:
        shape = self._graph.tensors[name].shape or ()
        keeps_all = op.kind == "concat"
        pulled = tuple([pull(field, relation, shape, keeps_all=keeps_all) for field in axis_fields])
        if any([field.is_global and not field.strands for field in pulled]):  # noqa: C419  (short; a list is quicker)
            return _with_local_path(op, index, shape, axis_fields, pulled)
        return pulled

    def _joined(self, rows: list[AxisField], op: str, along: int) -> AxisField:
        field = rows[0] if len(rows) == 1 else self._joins.join(rows, op, concatenated=along)
        if len(rows) > 1 and along >= 0 and field.exact and field is not rows[0]:
            pieces = any(digit.axis == along for strand in field.strands for digit in strand.digits)
            field = replace(field, exact=False) if pieces else field  # pieces laid end to end, not read together
        holes = any([strand.window.has_holes for strand in field.strands])  # noqa: C419  (short; a list is quicker)
        if holes != (field.gridded_by is not None):
            field = replace(field, gridded_by=op if holes else None)
        return field


def _with_local_path(
    op: Op, index: int, shape: Shape, before: tuple[AxisField, ...], pulled: tuple[AxisField, ...]
) -> tuple[AxisField, ...]:
    """Statistics see everything, but the element itself goes straight through."""
    if in_place_of(op, index, shape) is None:
        return pulled
    return tuple(
        replace(old, is_global=True) if new.is_global and not new.strands else new
        for old, new in zip(before, pulled, strict=True)
    )
