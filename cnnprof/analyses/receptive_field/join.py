"""How branches join: what several fields read together comes to.

Networks that keep joining the same tensors and one more (DenseNet's blocks) would unite the same windows again and
again: a :class:`Sum` of those before takes one more, so that each join costs its last branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cnnprof.analyses.receptive_field.field import AxisField, Branch
from cnnprof.analyses.receptive_field.sets import Window
from cnnprof.analyses.receptive_field.strand import Digit, Strand

__all__ = ["Sum", "join"]

_MAX_STRANDS = 16
Step = tuple[int, int]


@dataclass(slots=True)
class Sum:
    """What a run of distinct fields comes to."""

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

    def and_one(self, one: AxisField) -> Sum:
        """This and one more."""
        found = Sum(
            self.fields, dict(self.merged), dict(self.branches), self.is_global, self.exact, self.data_dependent,
            self.unknown, self.misaligned, self.gridded_by, self.mixed, self.differ,
        )  # fmt: skip
        found.add(one)
        return found

    def add(self, one: AxisField) -> None:
        """Let one more in; one that is there already changes nothing."""
        if any([one is known for known in self.fields]):  # noqa: C419  (short; a list is quicker)
            return
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

    def field(self, op: str, concatenated: int) -> AxisField:
        """All of it read together by ``op``: strands of one stride become one, the others stay apart. ``concatenated``
        is the axis that it lays them end to end on, -1 for none.

        Branches are aligned if their strides and centres are equal (Araujo, Norris, Sim 2019).
        """
        if len(self.fields) == 1:
            return self.fields[0]
        strands = tuple(self.merged.values())
        is_global, exact = self.is_global, self.exact
        if len(strands) > _MAX_STRANDS:
            strands, is_global, exact = (), True, False
        if concatenated >= 0 and exact:  # pieces laid end to end, not read together
            exact = not any([digit.axis == concatenated for strand in strands for digit in strand.digits])  # noqa: C419  (short; a list is quicker)
        misaligned_by: str | None = None
        at: tuple[Branch, ...] = ()
        if self.misaligned is not None:
            misaligned_by, at = self.misaligned.misaligned_by, self.misaligned.branches
        elif len(self.branches) > 1:
            misaligned_by, at = op, tuple([Branch(w.ratio, w.centre) for w in self.branches.values()])
        return AxisField(
            strands=strands,
            is_global=is_global,
            exact=exact,
            data_dependent=self.data_dependent,
            unknown=self.unknown,
            misaligned_by=misaligned_by,
            branches=at,
            gridded_by=self.gridded_by,
            mixed=concatenated if concatenated >= 0 and self.differ else self.mixed,
        )


def join(fields: Sequence[AxisField]) -> Sum:
    """What they come to together, each counted once."""
    found = Sum()
    for one in fields:
        found.add(one)
    return found
