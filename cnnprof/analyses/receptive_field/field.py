"""What a tensor knows of one axis of one graph input, and how branches join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from cnnprof.analyses.receptive_field.relations import UNKNOWN, identity, steps
from cnnprof.analyses.receptive_field.sets import Window
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

__all__ = ["AxisField", "Branch", "join", "pull", "shapes_along", "source"]

_MAX_STRANDS = 16


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


def join(fields: list[AxisField], op: str, *, concatenated: int = -1) -> AxisField:
    """All of ``fields`` read together by ``op``: strands of one stride become one, the others stay apart.

    Branches are aligned if their strides and centres are equal (Araujo, Norris, Sim 2019).
    """
    distinct = list({id(field): field for field in fields}.values())
    if len(distinct) == 1:
        return distinct[0]
    merged: dict[tuple[object, tuple[int, int]], Strand] = {}
    branches: dict[tuple[tuple[int, int], tuple[int, int]], Window] = {}
    for field in distinct:
        for strand in field.strands:
            window = strand.window
            step = window.step
            key = (strand.digits, step)
            known = merged.get(key)
            if known is None:
                merged[key] = strand
            elif known is not strand:
                merged[key] = Strand(strand.digits, known.window.united(window), known.exact and strand.exact)
            branches[(step, window.middle)] = window
    strands = tuple(merged.values())
    exact = all(field.exact for field in distinct)
    is_global = any(field.is_global for field in distinct)
    if len(strands) > _MAX_STRANDS:
        strands, is_global, exact = (), True, False
    misaligned = next((field for field in distinct if field.misaligned_by), None)
    misaligned_by, at = (misaligned.misaligned_by, misaligned.branches) if misaligned else (None, ())
    if misaligned is None and len(branches) > 1:
        misaligned_by, at = op, tuple(Branch(w.ratio, w.centre) for w in branches.values())
    return AxisField(
        strands=strands,
        is_global=is_global,
        exact=exact,
        data_dependent=any(field.data_dependent for field in distinct),
        unknown=any(field.unknown for field in distinct),
        misaligned_by=misaligned_by,
        branches=at,
        gridded_by=next((field.gridded_by for field in distinct if field.gridded_by), None),
        mixed=concatenated
        if concatenated >= 0 and any(field.strands != distinct[0].strands for field in distinct)
        else max(field.mixed for field in distinct),
    )
