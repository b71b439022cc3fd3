"""Receptive fields of every tensor in one pass from the inputs on.

Each tensor gets, per graph input and per spatial axis of it, an :class:`~.field.AxisField`; an op pulls the
fields of what it reads through its window rule and joins them. One visit per use of a tensor, whatever the
depth, so that the cost grows with the graph's edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnnprof.analyses.receptive_field.field import AxisField, pull, source
from cnnprof.analyses.receptive_field.join import Sum, join
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
        # What was concatenated so far, by axis and tensors: for each graph input and spatial axis of it, their sum.
        self._concatenated: dict[tuple[int, tuple[str | None, ...]], dict[str, list[Sum]]] = {}

    def visit(self, op: Op) -> None:
        fields = self.fields
        read = [(index, name) for index, name in enumerate(op.inputs) if name in fields]
        if not read:
            return
        rows = self._relations.get(op.name)
        if rows is None:
            rows = self._relations[op.name] = relations_of(self._graph, op)
        for output, row in zip(op.outputs, rows, strict=False):
            if output is None:
                continue
            used = [(i, relation, name) for i, name in read if i < len(row) and (relation := row[i]) is not None]
            if len(used) == 1:
                index, relation, name = used[0]
                seen = fields[name]
                fields[output] = seen if identity(relation) else self._read_alone(op, index, relation, name)
            elif used:
                fields[output] = self._read_together(op, used)

    def _read_alone(self, op: Op, index: int, relation: Relation, name: str) -> Fields:
        return {
            source_name: self._settled(op, self._pulled(op, index, relation, name, axis_fields))
            for source_name, axis_fields in self.fields[name].items()
        }

    def _read_together(self, op: Op, used: list[tuple[int, Relation, str]]) -> Fields:
        along = op.attributes.get("axis", -1) if op.kind in ("concat", "stack") else -1
        sums = self._concatenation(op, used, along) if op.kind == "concat" else self._sums(op, used)
        return {name: self._settled(op, [one.field(op.name, along) for one in found]) for name, found in sums.items()}

    def _sums(self, op: Op, used: list[tuple[int, Relation, str]]) -> dict[str, list[Sum]]:
        """What ``op`` reads together of each graph input, by spatial axis of it."""
        collected: dict[str, list[tuple[AxisField, ...]]] = {}
        for index, relation, name in used:
            for source_name, axis_fields in self.fields[name].items():
                collected.setdefault(source_name, []).append(self._pulled(op, index, relation, name, axis_fields))
        return {name: [join(column) for column in zip(*rows, strict=True)] for name, rows in collected.items()}

    def _concatenation(self, op: Op, used: list[tuple[int, Relation, str]], along: int) -> dict[str, list[Sum]]:
        """:meth:`_sums` of one that may be of the tensors of one before, and another after them."""
        if len(used) < len(op.inputs):
            return self._sums(op, used)
        before = self._concatenated.get((along, op.inputs[:-1]))
        index, relation, name = used[-1]
        if before is None or before.keys() != self.fields[name].keys():
            found = self._sums(op, used)
        else:
            found = {
                source_name: [
                    one.and_one(field)
                    for one, field in zip(
                        before[source_name], self._pulled(op, index, relation, name, axis_fields), strict=True
                    )
                ]
                for source_name, axis_fields in self.fields[name].items()
            }
        self._concatenated[along, op.inputs] = found
        return found

    def _pulled(
        self, op: Op, index: int, relation: Relation, name: str, axis_fields: tuple[AxisField, ...]
    ) -> tuple[AxisField, ...]:
        shape = self._graph.tensors[name].shape or ()
        keeps_all = op.kind == "concat"
        pulled = tuple([pull(field, relation, shape, keeps_all=keeps_all) for field in axis_fields])
        if any([field.is_global and not field.strands for field in pulled]):  # noqa: C419  (short; a list is quicker)
            return _with_local_path(op, index, shape, axis_fields, pulled)
        return pulled

    def _settled(self, op: Op, fields: Sequence[AxisField]) -> tuple[AxisField, ...]:
        """``fields`` as the op leaves them: they say where holes opened that are still there."""
        changed = []
        for field in fields:
            open_ = _has_holes(field)
            if open_ != (field.gridded_by is not None):
                field = replace(field, gridded_by=op.name if open_ else None)  # noqa: PLW2901
            changed.append(field)
        return tuple(changed)


def _has_holes(field: AxisField) -> bool:
    for strand in field.strands:  # noqa: SIM110  (a generator takes twice as long)
        if strand.window.has_holes:
            return True
    return False


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
