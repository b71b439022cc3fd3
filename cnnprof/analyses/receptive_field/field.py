"""What a tensor knows of one axis of one graph input, and how an op's output reads it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from cnnprof.analyses.receptive_field.relations import UNKNOWN, identity, steps
from cnnprof.analyses.receptive_field.strand import (
    GLOBAL,
    Strand,
    pull_axes,
    pull_reshape,
    source_strand,
)
from cnnprof.ir.record import quick_init
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import Axes, DataDependent, Fixed, Relation, Reshape, Same

__all__ = ["AxisField", "Branch", "pull", "shapes_along", "source"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One kind of path into a join: input positions per step, and where unit 0 is centred."""

    stride: Fraction
    centre: Fraction


@quick_init
@dataclass(frozen=True, slots=True)
class AxisField:
    """One axis of a graph input as a tensor's units read it.

    ``strands`` are the local paths, all read together; ``is_global`` says that some path reads the whole
    axis. ``exact`` is False where a path couldn't be followed or the hull hides differences between channels.
    ``mixed`` holds the tensor's axis along which pieces with different fields were concatenated, -1 for none.
    """

    strands: tuple[Strand, ...] = ()
    is_global: bool = False
    exact: bool = True
    data_dependent: bool = False
    unknown: bool = False
    misaligned_by: str | None = None
    branches: tuple[Branch, ...] = ()
    gridded_by: str | None = None
    mixed: int = -1

    @property
    def density(self) -> Fraction:
        """The smallest over the strands; 1 where several together may fill each other's holes exactly."""
        return min((strand.window.density for strand in self.strands), default=Fraction(1))


def source(axis: int) -> AxisField:
    """The graph input itself."""
    return AxisField((source_strand(axis),))


def pull(field: AxisField, relation: Relation, shape: Shape, *, keeps_all: bool = False) -> AxisField:
    """The field as the output of an op has it that reads a tensor of ``shape`` by ``relation``.

    ``keeps_all`` says that the op drops no element (concatenation), whatever it moves.
    """
    if _unmoved(field, relation):
        return field
    if isinstance(relation, Axes):
        return _pull_step(field, relation, shape, keeps_all=keeps_all)
    links = steps(relation)
    for step, size_of in zip(reversed(links), shapes_along(links, shape), strict=True):
        if isinstance(step, DataDependent):
            return replace(
                field,
                strands=(),
                is_global=True,
                exact=False,
                data_dependent=field.data_dependent or step is not UNKNOWN,
                unknown=field.unknown or step is UNKNOWN,
                gridded_by=None,
            )
        field = _pull_step(field, step, size_of, keeps_all=keeps_all)
    return field


def _unmoved(field: AxisField, relation: Relation) -> bool:
    """True if every axis that the field follows stays where it is."""
    if not isinstance(relation, Axes) or field.mixed >= 0:
        return identity(relation)
    for strand in field.strands:
        for digit in strand.digits:
            rule = relation.maps[digit.axis]
            if not (isinstance(rule, Same) and rule.axis == digit.axis):
                return False
    return True


def shapes_along(links: Sequence[Relation], shape: Shape) -> list[Shape]:
    """The shape that each link reads, from the input's ``shape`` on (the last link reads the input)."""
    shapes = [shape]
    for link in reversed(links[1:]):
        shapes.append(_shape_after(link, shapes[-1]))
    return shapes


def _shape_after(step: Relation, shape: Shape) -> Shape:
    if isinstance(step, Reshape):
        return step.output_shape
    if not isinstance(step, Axes):
        return shape
    sizes: dict[int, int] = {}
    for size, rule in zip(shape, step.maps, strict=True):
        if hasattr(rule, "axis"):
            sizes[rule.axis] = size
    return tuple(sizes.get(axis, 1) for axis in range(max(sizes, default=-1) + 1))


def _pull_step(field: AxisField, step: Relation, shape: Shape, *, keeps_all: bool) -> AxisField:
    strands: list[Strand] = []
    is_global, exact = field.is_global, field.exact
    mixed = field.mixed if keeps_all else _mixed_after(field.mixed, step)
    if mixed == _CUT:
        mixed, exact = -1, False
    for strand in field.strands:
        if isinstance(step, Axes):
            pulled = pull_axes(strand, step.maps, shape)
        elif isinstance(step, Reshape):
            pulled = pull_reshape(strand, step)
        else:
            pulled = None
        if isinstance(pulled, Strand):
            strands.append(pulled)
        else:
            is_global = True
            exact = exact and pulled is GLOBAL
    return AxisField(
        tuple(strands),
        is_global,
        exact and all([strand.exact for strand in strands]),  # noqa: C419  (short; a list is quicker)
        field.data_dependent,
        field.unknown,
        field.misaligned_by,
        field.branches,
        field.gridded_by,
        mixed,
    )


_CUT = -2


def _mixed_after(mixed: int, step: Relation) -> int:
    """Where the concatenated axis goes; _CUT if only a part of it may be read on."""
    if mixed < 0 or not isinstance(step, Axes):
        return mixed if mixed < 0 else _CUT
    rule = step.maps[mixed]
    if isinstance(rule, Same):
        return rule.axis
    return _CUT if isinstance(rule, Fixed) or hasattr(rule, "axis") else -1
