"""Predicted receptive fields beside measured ones: what to check, and what came of it. Knows no runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnprof.analyses.receptive_field.propagate import Propagation
from cnnprof.analyses.receptive_field.result import UnitField
from cnnprof.analyses.receptive_field.unit import find_layer, unit_axes, unit_field
from cnnprof.errors import ShapeError, UsageError
from cnnprof.ir import Graph, Op

__all__ = ["FieldCheck", "compare", "units_to_check"]

_EXAMPLES = 5
_SOURCES = ("conv", "pool", "linear", "matmul")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCheck:
    """One unit and input: how many positions were predicted and reached; the first few that differ."""

    layer: str
    position: tuple[int, ...]
    input: str
    predicted: int
    reached: int
    not_reached: tuple[tuple[int, ...], ...] = ()
    not_predicted: tuple[tuple[int, ...], ...] = ()

    @property
    def agrees(self) -> bool:
        """True if the two sets are equal."""
        return not self.not_reached and not self.not_predicted

    def to_dict(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "position": list(self.position),
            "input": self.input,
            "predicted": self.predicted,
            "reached": self.reached,
            "agrees": self.agrees,
            "not_reached": [list(p) for p in self.not_reached],
            "not_predicted": [list(p) for p in self.not_predicted],
        }


def compare(unit: UnitField, reached: Mapping[str, frozenset[tuple[int, ...]]]) -> tuple[FieldCheck, ...]:
    """The unit's predicted sets against what was reached, input by input, position by position."""
    predicted = {seen.input: seen.members() for seen in unit.inputs}
    checks = []
    for name, found in reached.items():
        expected = predicted.get(name, frozenset())
        checks.append(
            FieldCheck(
                layer=unit.layer,
                position=unit.position,
                input=name,
                predicted=len(expected),
                reached=len(found),
                not_reached=tuple(sorted(expected - found)[:_EXAMPLES]),
                not_predicted=tuple(sorted(found - expected)[:_EXAMPLES]),
            )
        )
    return tuple(checks)


def units_to_check(
    graph: Graph,
    propagation: Propagation,
    candidates: Sequence[Op],
    layer: str | None = None,
    position: Sequence[int] | None = None,
) -> tuple[UnitField, ...]:
    """The units of ``layer`` at ``position`` (its first, middle and last where None). Without ``layer``: of
    the output and of three layers spread over those ``candidates`` whose field isn't global."""
    if layer is not None:
        layers = [find_layer(graph, layer)]
        if layers[0] not in candidates:
            raise UsageError(
                f"--layer {layer!r}: its output can't be tapped", f"try {_nearest(graph, layers[0], candidates)}"
            )
    else:
        if position is not None:
            raise UsageError("--position: of which layer?", "add --layer NAME")
        local = [op for op in candidates if any(w in op.kind for w in _SOURCES) and _is_local(graph, propagation, op)]
        picked = {len(local) // 3, 2 * len(local) // 3, len(local) - 1} if local else set()
        layers = [local[number] for number in sorted(picked)]
        made = [name for name in graph.outputs if name in graph.producer and graph.tensors[name].elements]
        layers += [graph.producer[name] for name in made][:1]
    units: dict[tuple[str, tuple[int, ...]], UnitField] = {}
    for op in layers:
        for place in [position] if position is not None else _places(graph, propagation, op):
            unit = unit_field(graph, op.name, place, propagation=propagation)
            units[(op.name, unit.position)] = unit
    return tuple(units.values())


def _places(graph: Graph, propagation: Propagation, op: Op) -> list[tuple[int, ...]]:
    name = op.outputs[0]
    shape = None if name is None else graph.tensors[name].shape
    if name is None or shape is None:
        raise ShapeError(f"{op.name}: the shape of its output depends on data", "choose an earlier layer")
    extent = [shape[axis] for axis in unit_axes(graph, propagation, name)]
    return [tuple(0 for _ in extent), tuple(n // 2 for n in extent), tuple(n - 1 for n in extent)]


def _is_local(graph: Graph, propagation: Propagation, op: Op) -> bool:
    name = op.outputs[0] or ""
    fields = propagation.fields.get(name, {}) if graph.tensors[name].elements else {}
    return bool(fields) and all(field.strands and not field.is_global for rows in fields.values() for field in rows)


def _nearest(graph: Graph, op: Op, candidates: Sequence[Op]) -> str:
    order = {other.name: number for number, other in enumerate(graph.ops)}
    here = order[op.name]
    near = sorted(candidates, key=lambda other: abs(order[other.name] - here))[:3]
    return ", ".join(repr(other.name) for other in near) or "another layer"
