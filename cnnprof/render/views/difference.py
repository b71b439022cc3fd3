"""Two models: what differs, stage by stage, and which layers explain it."""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.gate.diff import Change, diff
from cnnprof.profile import Profile
from cnnprof.render.quantities import plain, shape
from cnnprof.render.views.breakdown import stages

__all__ = ["Difference", "Explained", "StagePair", "difference"]

_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePair:
    """One stage of both models; 0 where a model hasn't got it."""

    label: str
    macs: tuple[int, int]
    parameters: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Layers that changed alike: ``count`` of them, together ``macs`` and ``parameters`` more (or less)."""

    change: str
    kind: str
    example: str
    what: str
    count: int
    macs: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``rows`` largest first; ``more`` groups are left out."""

    verdict: str
    stages: tuple[StagePair, ...]
    rows: tuple[Explained, ...]
    more: int


def difference(old: Profile, new: Profile) -> Difference:
    """From ``old`` to ``new``, aligned by structure."""
    changes = diff(old, new)
    groups: dict[tuple[str, str], list[tuple[str, str, int, int]]] = {}
    for row in changes.moved:
        what = "; ".join(row.what[:2]) if row.change is Change.CHANGED else shape(next(iter(row.node.shapes), None))
        groups.setdefault((row.change.value, row.node.kind), []).append(
            (plain(row.name), plain(what), row.delta("macs") or 0, row.delta("parameters") or 0)
        )
    rows = [
        Explained(
            change=change,
            kind=plain(kind),
            example=members[0][0],
            what=members[0][1],
            count=len(members),
            macs=sum(m[2] for m in members),
            parameters=sum(m[3] for m in members),
        )
        for (change, kind), members in groups.items()
    ]
    rows = [row for row in rows if row.macs or row.parameters]
    rows.sort(key=lambda r: (-abs(r.macs), -abs(r.parameters), r.change, r.kind))
    return Difference(
        verdict=changes.verdict,
        stages=_stages(old, new),
        rows=tuple(rows[:_LISTED]),
        more=max(0, len(rows) - _LISTED),
    )


def _stages(old: Profile, new: Profile) -> tuple[StagePair, ...]:
    """By the old model's stages, then what only the new one has."""
    sides = [{row.label: row for row in stages(profile).rows} for profile in (old, new)]
    pairs = []
    for label in dict.fromkeys([*sides[0], *sides[1]]):
        found = [side.get(label) for side in sides]
        macs = tuple(row.sums.macs if row else 0 for row in found)
        parameters = tuple(row.sums.parameters if row else 0 for row in found)
        pairs.append(StagePair(label=label, macs=(macs[0], macs[1]), parameters=(parameters[0], parameters[1])))
    return tuple(pairs)
