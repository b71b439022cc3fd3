"""Ready-made pull-backs that several layout families share; each is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cnnprof.ir.tensor import Shape
from cnnprof.ops.rules import everything, same
from cnnprof.ops.spec import Call
from cnnprof.ops.window import Axes, AxisMap, Chain, DataDependent, Fixed, Relation, Reshape, Same

__all__ = [
    "all_data",
    "data_of",
    "first_only",
    "no_data",
    "only",
    "rearranged",
    "replaced",
    "reshaped",
    "same",
    "transposed",
    "unpredictable",
]


def transposed(perm: Sequence[int]) -> Axes:
    """Output axis o is input axis ``perm[o]``."""
    return Axes(tuple(Same(list(perm).index(axis)) for axis in range(len(perm))))


def reshaped(before: Shape, after: Shape) -> Relation:
    """Row-major reinterpretation; axis by axis where only axes of size 1 come and go."""
    kept = [axis for axis, size in enumerate(after) if size != 1]
    if [size for size in before if size != 1] != [after[axis] for axis in kept]:
        return Reshape(before, after)
    targets = iter(kept)
    maps: list[AxisMap] = [Fixed(0) if size == 1 else Same(next(targets)) for size in before]
    return Axes(tuple(maps))


def rearranged(before: Shape, split: Shape, perm: Sequence[int], after: Shape) -> Chain:
    """reshape(before → split), transpose(perm), reshape(→ after): pixel shuffles and their kind."""
    middle = tuple(split[axis] for axis in perm)
    if math.prod(before) != math.prod(after):
        raise ValueError(f"{before} can't be rearranged to {after}")
    return Chain((Reshape(middle, after), transposed(perm), Reshape(before, split)))


def only(call: Call, index: int, relation: Relation | None) -> tuple[Relation | None, ...]:
    """``relation`` for input ``index`` unless a constant stands there, None for the others."""
    return tuple(
        relation if i == index and tensor is not None and not tensor.is_weight else None
        for i, tensor in enumerate(call.inputs)
    )


def first_only(call: Call, relation: Relation | None) -> tuple[Relation | None, ...]:
    return only(call, 0, relation)


def data_of(call: Call) -> tuple[int, ...]:
    """Indices of the inputs that are data: present and no constant."""
    return tuple(i for i, t in enumerate(call.inputs) if t is not None and not t.is_weight)


def replaced(rank: int, changed: Mapping[int, AxisMap]) -> Axes:
    """Every axis from the same position but the ``changed`` ones."""
    return Axes(tuple(changed.get(axis, Same(axis)) for axis in range(rank)))


def all_data(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Window rule of operators that see all of their data from every position."""
    data = data_of(call)
    return tuple(everything(call.shape(i)) if i in data else None for i in range(len(call.inputs)))


def no_data(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Window rule of operators that read shapes only, or nothing."""
    return tuple(None for _ in call.inputs)


def unpredictable(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Window rule of operators whose values decide what is read."""
    data = data_of(call)
    return tuple(DataDependent() if i in data else None for i in range(len(call.inputs)))
