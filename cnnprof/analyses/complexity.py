"""Time and space complexity, layer by layer: work, parameters, activations, traffic.

The counting convention is stated in :mod:`cnnprof.ops` rule by rule and in every report's method
section. Unknown operators have no work (not zero): their rows say why, and totals are then lower bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from cnnprof.ir import Graph, Op, Role, Tensor
from cnnprof.ir.collection import collection_paused
from cnnprof.ir.record import quick_init
from cnnprof.ops.bind import bind
from cnnprof.ops.rules import free
from cnnprof.ops.spec import RULE_FAILURES, Call, Formula, Memory, OpSpec
from cnnprof.ops.table import spec, specs
from cnnprof.ops.work import Work

__all__ = ["Bounds", "Complexity", "LayerCost", "UnknownGroup", "complexity"]

Bounds = tuple[int, int | None]
Metric = Callable[["LayerCost"], int]


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """What one op costs in one run of the graph (already times its ``repeat``).

    ``work`` is None where the cost is unknown, ``reason`` then says why. ``parameters`` holds the
    distinct parameters first used here. Byte counts are None where a shape is unknown.
    """

    name: str
    work: Work | None
    zero_by_definition: bool
    reason: str | None
    formula: Formula | None
    parameters: int
    parameter_bytes: int
    buffers: int
    buffer_bytes: int
    activation_elements: int
    activation_bytes: int | None
    bytes_read: int | None
    bytes_written: int | None
    branches: tuple[tuple[str, int], ...]
    bounded: bool

    @property
    def macs(self) -> int:
        return 0 if self.work is None else self.work.mac

    @property
    def flops(self) -> int:
        return 0 if self.work is None else self.work.flops

    @property
    def transcendentals(self) -> int:
        return 0 if self.work is None else self.work.transcendental

    @property
    def unknown(self) -> bool:
        return self.work is None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownGroup:
    """Layers of one foreign operator type that couldn't be counted."""

    op_type: str
    count: int
    layers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Every layer's cost, in execution order. Totals are properties, so there's no second copy.

    Where an ``If`` leaves two branches, totals take the dearer one and :meth:`bounds` gives both ends.
    """

    rows: tuple[LayerCost, ...]
    op_types: tuple[str, ...]
    unattributed_parameters: int
    unattributed_parameter_bytes: int
    unattributed_buffers: int
    unattributed_buffer_bytes: int

    @cached_property
    def by_name(self) -> Mapping[str, LayerCost]:
        return {row.name: row for row in self.rows}

    def bounds(self, metric: Metric) -> Bounds:
        """(lower, upper) of a summed metric: branches give the range, unknown work and unbounded
        loops leave the upper end open (None)."""
        lower, upper = self._range(metric)
        return lower, None if self._open_ended else upper

    @property
    def settled(self) -> bool:
        """True if both ends of every metric's :meth:`bounds` are equal."""
        return not self._branching and not self._open_ended

    @cached_property
    def _open_ended(self) -> bool:
        return any([row.work is None or not row.bounded for row in self.rows])  # noqa: C419  (short; a list is quicker)

    def total(self, metric: Metric) -> int:
        return self._range(metric)[1]

    def _range(self, metric: Metric) -> tuple[int, int]:
        if not self._branching:
            total = sum(map(metric, self.rows))
            return total, total
        return _branch_sums(((row.branches, metric(row)) for row in self.rows), 0)

    @cached_property
    def _branching(self) -> bool:
        return any([row.branches for row in self.rows])  # noqa: C419  (short; a list is quicker)

    @cached_property
    def work(self) -> Work:
        """The work vector, each component totalled on its own."""
        if not self._branching:
            found = [row.work for row in self.rows if row.work is not None]
            return Work(*(sum([getattr(work, name) for work in found]) for name in Work.__slots__))
        return Work(*(self.total(_component(name)) for name in Work.__slots__))

    @property
    def macs(self) -> int:
        return self.work.mac

    @property
    def flops(self) -> int:
        return self.total(attrgetter("flops"))

    @property
    def parameters(self) -> int:
        return sum([row.parameters for row in self.rows]) + self.unattributed_parameters

    @property
    def parameter_bytes(self) -> int:
        return sum([row.parameter_bytes for row in self.rows]) + self.unattributed_parameter_bytes

    @property
    def buffers(self) -> int:
        return sum([row.buffers for row in self.rows]) + self.unattributed_buffers

    @property
    def buffer_bytes(self) -> int:
        return sum([row.buffer_bytes for row in self.rows]) + self.unattributed_buffer_bytes

    @property
    def activation_elements(self) -> int:
        return self.total(attrgetter("activation_elements"))

    @property
    def activation_bytes(self) -> int:
        return self.total(lambda row: row.activation_bytes or 0)

    @property
    def bytes_read(self) -> int:
        return self.total(lambda row: row.bytes_read or 0)

    @property
    def bytes_written(self) -> int:
        return self.total(lambda row: row.bytes_written or 0)

    @property
    def arithmetic_intensity(self) -> float | None:
        """FLOPs per byte moved; None where nothing moves."""
        moved = self.bytes_read + self.bytes_written
        return self.flops / moved if moved else None

    @cached_property
    def unknown(self) -> tuple[UnknownGroup, ...]:
        groups: dict[str, list[LayerCost]] = {}
        for row, op_type in zip(self.rows, self.op_types, strict=True):
            if row.unknown:
                groups.setdefault(op_type, []).append(row)
        return tuple(
            UnknownGroup(
                op_type=op_type,
                count=len(rows),
                layers=tuple(row.name for row in rows),
                reason=rows[0].reason or "",
            )
            for op_type, rows in groups.items()
        )

    @property
    def counted(self) -> int:
        return sum(1 for row in self.rows if row.work is not None and not row.zero_by_definition)

    @property
    def zero_by_definition(self) -> int:
        return sum(1 for row in self.rows if row.zero_by_definition)

    @property
    def complete(self) -> bool:
        return not self.unknown


def _component(name: str) -> Metric:
    component = attrgetter(name)
    return lambda row: 0 if row.work is None else component(row.work)


@collection_paused()
def complexity(graph: Graph) -> Complexity:
    """Cost every op of ``graph``, linear in ops. Raises nothing: what can't be counted is unknown."""
    weights = _WeightLedger(graph)
    table = specs()
    rows = tuple([_cost(graph, op, table.get(op.kind), weights) for op in graph.ops])
    return Complexity(
        rows=rows,
        op_types=tuple(op.op_type for op in graph.ops),
        unattributed_parameters=weights.left(Role.PARAMETER)[0],
        unattributed_parameter_bytes=weights.left(Role.PARAMETER)[1],
        unattributed_buffers=weights.left(Role.BUFFER)[0],
        unattributed_buffer_bytes=weights.left(Role.BUFFER)[1],
    )


class _WeightLedger:
    """Which op each weight is first used by: a shared weight counts once, and a weight that only passes
    through ops on weights (transposes, casts, dequantisation, weight norm) belongs to the op it reaches."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._left = {t.name: t for t in graph.tensors.values() if t.role in (Role.PARAMETER, Role.BUFFER)}
        self._carried: dict[str, tuple[Tensor, ...]] = {}

    def take(self, op: Op, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The weights that are ``op``'s to report, of those that it reads."""
        found: list[Tensor] = []
        only_weights = bool(inputs)
        known = self._carried
        for tensor in inputs:
            if known and (carried := known.get(tensor.name)) is not None:
                found.extend(carried)
            elif tensor.is_weight:
                found.append(tensor)
            else:
                only_weights = False
        if not found:
            return found
        if only_weights and self._passes_on(op):
            for out in op.present_outputs:
                self._carried[out] = tuple(found)
            return []
        left = self._left
        return [t for t in found if left.pop(t.name, None) is not None]

    def _passes_on(self, op: Op) -> bool:
        entry = spec(op.kind)
        is_output = any(out in self._graph.outputs for out in op.present_outputs)
        return entry is not None and not entry.mac_operator and not is_output

    def left(self, role: Role) -> tuple[int, int]:
        """Elements and bytes of the weights of ``role`` that no op reported."""
        nbytes = self._graph.tensor_bytes
        rest = [t for t in self._left.values() if t.role is role]
        return sum([t.elements or 0 for t in rest]), sum([nbytes[t.name] or 0 for t in rest])


def _cost(graph: Graph, op: Op, entry: OpSpec | None, weights: _WeightLedger) -> LayerCost:
    call, times = bind(graph, op), op.execution.repeat
    work, reason = _work(call, entry, op)
    inputs = [tensor for tensor in call.inputs if tensor is not None]
    held = [0, 0, 0, 0]  # parameters, their bytes, buffers, their bytes
    nbytes = graph.tensor_bytes
    for tensor in weights.take(op, inputs):
        at = 0 if tensor.role is Role.PARAMETER else 2
        held[at] += tensor.elements or 0
        held[at + 1] += nbytes[tensor.name] or 0
    read, written, fresh = _traffic(op, inputs, call, entry, nbytes)
    return LayerCost(
        name=op.name,
        work=None if work is None else work * times if times != 1 else work,
        zero_by_definition=entry is not None and entry.work is free,
        reason=reason,
        formula=_formula(call, entry),
        parameters=held[0],
        parameter_bytes=held[1],
        buffers=held[2],
        buffer_bytes=held[3],
        activation_elements=_activation_elements(call, entry) * times,
        activation_bytes=_times(fresh, times),
        bytes_read=_times(read, times),
        bytes_written=_times(written, times),
        branches=op.execution.branches,
        bounded=op.execution.bounded,
    )


def _work(call: Call, entry: OpSpec | None, op: Op) -> tuple[Work | None, str | None]:
    if entry is None:
        return None, f"no cost rule for {op.op_type}"
    if entry.work is None:
        return None, f"{op.op_type} is known, but its cost depends on data"
    try:
        return entry.work(call), None
    except RULE_FAILURES as error:
        return None, str(error) or type(error).__name__


def _formula(call: Call, entry: OpSpec | None) -> Formula | None:
    if entry is None or entry.formula is None:
        return None
    try:
        return entry.formula(call)
    except RULE_FAILURES:
        return None


def _activation_elements(call: Call, entry: OpSpec | None) -> int:
    if entry is None or not entry.mac_operator or not call.outputs or call.outputs[0] is None:
        return 0
    return call.outputs[0].elements or 0


def _traffic(
    op: Op, inputs: Sequence[Tensor], call: Call, entry: OpSpec | None, nbytes: Mapping[str, int | None]
) -> tuple[int | None, int | None, int | None]:
    """(bytes read, bytes written, bytes of new memory): each distinct tensor once; a view moves nothing."""
    outputs = [t for t in call.outputs if t is not None]
    sources = {t.storage or t.name for t in inputs}
    fresh = [t for t in outputs if (t.storage or t.name) not in sources]
    moves = fresh or op.writes_in_place or (entry is not None and entry.arithmetic and outputs)
    if not moves or (entry is not None and entry.memory is Memory.VIEW and not fresh):
        return 0, 0, 0
    reads = set() if entry is not None and entry.memory is Memory.METADATA else {t.name for t in inputs}
    written = _sum([nbytes[t.name] for t in outputs])
    made = written if len(fresh) == len(outputs) else _sum([nbytes[t.name] for t in fresh])
    return _sum([nbytes[name] for name in reads]), written, made


def _sum(values: list[int | None]) -> int | None:
    return None if None in values else sum(values)  # type: ignore[arg-type]


def _times(value: int | None, times: int) -> int | None:
    return None if value is None else value * times


def _branch_sums(rows: Iterable[tuple[tuple[tuple[str, int], ...], int]], depth: int) -> tuple[int, int]:
    """(least, most) that ``rows`` sum to when each If runs exactly one of its branches."""
    least = most = 0
    nested: dict[str, dict[int, list[tuple[tuple[tuple[str, int], ...], int]]]] = {}
    for branches, value in rows:
        if len(branches) == depth:
            least += value
            most += value
        else:
            name, index = branches[depth]
            nested.setdefault(name, {}).setdefault(index, []).append((branches, value))
    for alternatives in nested.values():
        # An If has two branches; one that holds no op at all costs nothing.
        sums = [_branch_sums(group, depth + 1) for group in alternatives.values()]
        least += min(low for low, _ in sums) if len(sums) > 1 else 0
        most += max(high for _, high in sums)
    return least, most
