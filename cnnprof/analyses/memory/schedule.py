"""From a Graph to what memory analyses work on: storages with sizes, and steps that touch them.

A *storage* is a piece of memory; views and in-place results share one. A *step* is one run of an op. A
storage is *resident* when it is there before the first step (weights, buffers, constants, graph inputs,
optimizer state): it then lives throughout. Every other storage is born at the first step that touches it.
What-ifs (another order, recomputation, results in place) are other schedules of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from cnnprof.ir import DType, Graph, Op, Role, Tensor
from cnnprof.ir.record import quick_init

__all__ = ["Category", "Schedule", "Step", "Storage", "build_schedule", "retype", "retyped_sizes"]


class Category(Enum):
    """What a storage holds."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    CONSTANT = "constant"
    OPTIMIZER = "optimizer state"
    INPUT = "input"
    ACTIVATION = "activation"
    SAVED = "saved for backward"
    GRADIENT = "gradient"

    __hash__ = object.__hash__  # Enum's own is Python; members are single objects

    @property
    def is_weight(self) -> bool:
        return self in _WEIGHTS


_WEIGHTS = frozenset({Category.PARAMETER, Category.BUFFER, Category.CONSTANT, Category.OPTIMIZER})
_WITH_WEIGHTS = _WEIGHTS | {Category.GRADIENT}
_BY_ROLE = {
    Role.PARAMETER: Category.PARAMETER,
    Role.BUFFER: Category.BUFFER,
    Role.CONSTANT: Category.CONSTANT,
    Role.INPUT: Category.INPUT,
    Role.ACTIVATION: Category.ACTIVATION,
}


@quick_init
@dataclass(frozen=True, slots=True)
class Storage:
    """One piece of memory. ``tensor`` is the first tensor that fills it; ``to_end`` marks graph outputs.

    ``nbytes`` is what it takes under the schedule's what-ifs, ``model_bytes`` and ``dtype`` what the model says.
    """

    name: str
    tensor: str
    nbytes: int
    category: Category
    resident: bool = False
    to_end: bool = False
    model_bytes: int = 0
    dtype: DType = DType.UNKNOWN


@quick_init
@dataclass(frozen=True, slots=True)
class Step:
    """One run of ``op``: the storages it touches (reads, writes or views), each once."""

    op: Op
    touches: tuple[int, ...]
    recomputed: bool = False


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Storages by index, steps in order. ``held_until`` is the last step during which the framework held a
    storage, where that was observed; else a storage dies with the last step that touches it.
    ``unsized`` names tensors of unknown size, which count as nothing."""

    storages: tuple[Storage, ...]
    steps: tuple[Step, ...]
    held_until: tuple[int | None, ...] | None = None
    unsized: tuple[str, ...] = ()

    @cached_property
    def moving(self) -> tuple[tuple[int, ...], ...]:
        """What each step touches of what isn't resident: all that an order of the steps, or a plan, can change."""
        resident = [storage.resident for storage in self.storages]
        return tuple([tuple([at for at in step.touches if not resident[at]]) for step in self.steps])

    @cached_property
    def types(self) -> list[tuple[int, bool, int]]:
        """Of each storage: bytes in the model, is it (like) a weight, bits of its floating-point type, 0 for another
        (integers stay what they are)."""
        return [(s.model_bytes, s.category in _WITH_WEIGHTS, _FLOATING_BITS.get(s.dtype, 0)) for s in self.storages]

    @cached_property
    def resident_bytes(self) -> int:
        return sum([storage.nbytes for storage in self.storages if storage.resident])

    def in_order(self, order: Sequence[int]) -> Schedule:
        """The same steps in another order; what was observed of the framework no longer holds."""
        return replace(self, steps=tuple(self.steps[i] for i in order), held_until=None)

    def by_last_reader(self) -> Schedule:
        return self if self.held_until is None else replace(self, held_until=None)


def build_schedule(
    graph: Graph,
    *,
    weight_dtype: DType | None = None,
    activation_dtype: DType | None = None,
    rounding_bytes: int = 1,
) -> Schedule:
    """The schedule of ``graph`` in its own order; for the keywords see :func:`retype`."""
    index: dict[str, int] = {}
    first: list[Tensor] = []
    largest: dict[int, Tensor] = {}  # where it isn't the first
    place: dict[str, int] = {}  # tensor -> its storage
    nbytes = graph.tensor_bytes
    for name, tensor in graph.tensors.items():
        key = tensor.storage or name
        at = index.get(key)
        if at is None:
            at = index[key] = len(first)
            first.append(tensor)
        elif (nbytes[name] or 0) > (nbytes[largest.get(at, first[at]).name] or 0):
            largest[at] = tensor
        place[name] = at
    producer, sizes = graph.producer, graph.storages
    ends = {place[name] for name in graph.outputs}
    resident = {at for at, tensor in enumerate(first) if tensor.name not in producer}
    training = _training_categories(graph, index, resident)
    storages = []
    for (key, at), tensor in zip(index.items(), first, strict=True):
        category = training.get(at) or _BY_ROLE[tensor.role]
        size = sizes[key]
        storages.append(
            Storage(
                key,
                tensor.name,
                size,
                category,
                at in resident or category is Category.OPTIMIZER,
                at in ends or category is Category.GRADIENT,
                size,
                largest.get(at, tensor).dtype,
            )
        )
    rest = _rest_of_optimizer_state(graph, storages)
    storages.extend([rest] if rest else [])
    steps = tuple(
        [Step(op, tuple({place[n]: None for n in (*op.inputs, *op.outputs) if n is not None})) for op in graph.ops]
    )
    held = tuple([graph.released.get(s.name) for s in storages]) if graph.released else None
    unsized = tuple([t.name for t in graph.tensors.values() if t.shape is None or t.dtype is DType.UNKNOWN])
    plain = Schedule(storages=tuple(storages), steps=steps, held_until=held, unsized=unsized)
    return retype(plain, weight_dtype, activation_dtype, rounding_bytes)


def retype(
    schedule: Schedule, weight_dtype: DType | None, activation_dtype: DType | None, rounding_bytes: int = 1
) -> Schedule:
    """The schedule with floating-point weights (with buffers, gradients and optimizer state) and activations
    (with inputs) of other types; None leaves the model's own. ``rounding_bytes`` rounds every storage up to a
    multiple (torch's CUDA caching allocator: 512). What-ifs start from the model's sizes, they don't add up."""
    if weight_dtype is None and activation_dtype is None and rounding_bytes == 1:
        return schedule
    sizes = retyped_sizes(schedule, weight_dtype, activation_dtype, rounding_bytes)
    rows = zip(schedule.storages, sizes, strict=True)
    return replace(schedule, storages=tuple([_sized(storage, nbytes) for storage, nbytes in rows]))


def retyped_sizes(
    schedule: Schedule, weight_dtype: DType | None, activation_dtype: DType | None, rounding_bytes: int = 1
) -> list[int]:
    """Bytes of each storage under the what-ifs of :func:`retype`."""
    bits = [None if dtype is None else dtype.bits for dtype in (activation_dtype, weight_dtype)]
    sizes = [
        nbytes if not own or (wanted := bits[is_weight]) is None else -(-nbytes * wanted // own)
        for nbytes, is_weight, own in schedule.types
    ]
    return sizes if rounding_bytes == 1 else [-(-nbytes // rounding_bytes) * rounding_bytes for nbytes in sizes]


def _sized(storage: Storage, nbytes: int) -> Storage:
    # Spelt out: dataclasses.replace takes three times as long, and there's one for every tensor.
    return Storage(
        storage.name,
        storage.tensor,
        nbytes,
        storage.category,
        storage.resident,
        storage.to_end,
        storage.model_bytes,
        storage.dtype,
    )


def _training_categories(graph: Graph, index: Mapping[str, int], resident: Set[int]) -> dict[int, Category]:
    """What the storages of a training graph are, beyond their tensors' roles.

    Saved: made in the forward phase and kept for backward. Gradient of a parameter: made in the backward
    phase and used by the optimizer, or never let go of. Optimizer state: made by the optimizer and never let
    go of.
    """
    if graph.mode != "training":
        return {}
    names = graph.tensors
    born: dict[int, str] = {}
    updated: set[int] = set()
    for op in graph.ops:
        for name in op.present_outputs:
            born.setdefault(index[names[name].storage_name], op.phase)
        if op.phase == "optimizer":
            updated.update(index[names[name].storage_name] for name in op.present_inputs)
    outputs = {index[names[name].storage_name] for name in graph.outputs}
    gone = {index[key] for key in graph.released if key in index}
    found: dict[int, Category] = {}
    for at, phase in born.items():
        if at in resident:  # a weight written in place
            continue
        kept = bool(gone) and at not in gone
        if phase == "backward" and (kept or at in updated or at in outputs):
            found[at] = Category.GRADIENT
        elif phase == "optimizer" and kept:
            found[at] = Category.OPTIMIZER
    for name in graph.saved_for_backward:
        at = index[names[name].storage_name if name in names else name]
        if born.get(at) == "forward" and at not in resident:
            found[at] = Category.SAVED
    return found


def _rest_of_optimizer_state(graph: Graph, storages: Sequence[Storage]) -> Storage | None:
    """One resident storage for what no op of the graph makes, of the parameters' type."""
    seen = sum(s.nbytes for s in storages if s.category is Category.OPTIMIZER)
    nbytes, name = graph.optimizer_state_bytes - seen, "optimizer state"
    if nbytes <= 0:
        return None
    dtype = next((t.dtype for t in graph.role(Role.PARAMETER)), DType.FLOAT32)
    return Storage(name, name, nbytes, Category.OPTIMIZER, True, False, nbytes, dtype)


_COMPLEX = (DType.COMPLEX64, DType.COMPLEX128)
_FLOATING_BITS = {dtype: dtype.bits for dtype in DType if dtype.is_float and dtype.bits and dtype not in _COMPLEX}
