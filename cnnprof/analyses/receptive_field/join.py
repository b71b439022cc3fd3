"""How branches join: what several fields read together comes to.

Networks that keep joining the same tensors and one more (DenseNet's blocks) would unite the same windows again and
again: what the first of them came to is remembered, so that each join costs its last branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cnnprof.analyses.receptive_field.field import AxisField, Branch
from cnnprof.analyses.receptive_field.sets import Window
from cnnprof.analyses.receptive_field.strand import Digit, Strand

__all__ = ["Joins"]

_MAX_STRANDS = 16
_REMEMBERED_FROM = 3  # branches: two are joined as quickly as looked up
Step = tuple[int, int]


@dataclass(slots=True)
class _Sum:
    """What a run of distinct fields comes to. ``fields`` also keeps their ids theirs."""

    fields: tuple[AxisField, ...] = ()
    merged: dict[tuple[tuple[Digit, ...], Step], Strand] = field(default_factory=dict)
    branches: dict[tuple[Step, Step], Window] = field(default_factory=dict)
    is_global: bool = False
    exact: bool = True
    data_dependent: bool = False
    unknown: bool = False
    misaligned: AxisField | None = None
    gridded_by: str | None = None
    mixed: int = -1
    differ: bool = False

    def copy(self) -> _Sum:
        return _Sum(
            self.fields, dict(self.merged), dict(self.branches), self.is_global, self.exact, self.data_dependent,
            self.unknown, self.misaligned, self.gridded_by, self.mixed, self.differ,
        )  # fmt: skip

    def add(self, one: AxisField) -> None:
        for strand in one.strands:
            window = strand.window
            step = window.step
            key = (strand.digits, step)
            known = self.merged.get(key)
            if known is None:
                self.merged[key] = strand
            elif known is not strand:
                self.merged[key] = Strand(strand.digits, known.window.united(window), known.exact and strand.exact)
            self.branches[(step, window.middle)] = window
        first = self.fields[0] if self.fields else one
        self.differ = self.differ or one.strands != first.strands
        self.fields += (one,)
        self.is_global = self.is_global or one.is_global
        self.exact = self.exact and one.exact
        self.data_dependent = self.data_dependent or one.data_dependent
        self.unknown = self.unknown or one.unknown
        self.misaligned = self.misaligned or (one if one.misaligned_by else None)
        self.gridded_by = self.gridded_by or one.gridded_by
        self.mixed = max(self.mixed, one.mixed)


class Joins:
    """Joins fields; one for each propagation, whose fields it keeps."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], _Sum] = {}

    def join(self, fields: Sequence[AxisField], op: str, *, concatenated: int = -1) -> AxisField:
        """All of ``fields`` read together by ``op``: strands of one stride become one, the others stay apart.

        Branches are aligned if their strides and centres are equal (Araujo, Norris, Sim 2019).
        """
        distinct = {id(one): one for one in fields}
        if len(distinct) == 1:
            return fields[0]
        found = self._sum(tuple(distinct), tuple(distinct.values()))
        strands = tuple(found.merged.values())
        is_global, exact = found.is_global, found.exact
        if len(strands) > _MAX_STRANDS:
            strands, is_global, exact = (), True, False
        misaligned_by: str | None = None
        at: tuple[Branch, ...] = ()
        if found.misaligned is not None:
            misaligned_by, at = found.misaligned.misaligned_by, found.misaligned.branches
        elif len(found.branches) > 1:
            misaligned_by, at = op, tuple([Branch(w.ratio, w.centre) for w in found.branches.values()])
        return AxisField(
            strands=strands,
            is_global=is_global,
            exact=exact,
            data_dependent=found.data_dependent,
            unknown=found.unknown,
            misaligned_by=misaligned_by,
            branches=at,
            gridded_by=found.gridded_by,
            mixed=concatenated if concatenated >= 0 and found.differ else found.mixed,
        )

    def _sum(self, ids: tuple[int, ...], fields: tuple[AxisField, ...]) -> _Sum:
        before = self._known.get(ids[:-1]) if len(ids) > _REMEMBERED_FROM else None
        found, rest = (_Sum(), fields) if before is None else (before.copy(), fields[-1:])
        for one in rest:
            found.add(one)
        if len(ids) >= _REMEMBERED_FROM:
            self._known[ids] = found
        return found
