"""What changed between two profiles, layer by layer, and what of it explains the total."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cnnprof.gate.align import align
from cnnprof.gate.nodes import COSTS, LayerNode, nodes_of
from cnnprof.profile import Profile

__all__ = ["Change", "Diff", "LayerChange", "diff", "diff_nodes"]


_VERDICT_WORDS = {
    "macs": "MACs",
    "parameters": "parameters",
    "flops": "FLOPs",
    "activation_bytes": "activation bytes",
}


class Change(Enum):
    """What happened to a layer."""

    SAME = "same"
    RENAMED = "renamed"
    CHANGED = "changed"
    INSERTED = "inserted"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """One layer, aligned. ``old`` is None for an inserted one, ``new`` for a removed one. ``what`` says, for a
    changed one, what of it differs ("shape 1×64×56×56 → 1×96×56×56")."""

    change: Change
    old: LayerNode | None
    new: LayerNode | None
    what: tuple[str, ...] = ()

    @property
    def node(self) -> LayerNode:
        """The layer as it is now, or as it was if it's gone."""
        node = self.new or self.old
        assert node is not None
        return node

    @property
    def name(self) -> str:
        return self.node.name

    def delta(self, metric: str) -> int | None:
        """New minus old; None where either is unknown."""
        ends = [0 if node is None else node.costs.get(metric) for node in (self.old, self.new)]
        return None if ends[0] is None or ends[1] is None else ends[1] - ends[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two models compared. ``layers`` in the new graph's order, removed ones where they stood.
    ``totals``: metric -> (old, new), as the profiles state them."""

    old: str
    new: str
    layers: tuple[LayerChange, ...]
    totals: Mapping[str, tuple[int, int]]
    complete: bool = True

    def of(self, *changes: Change) -> tuple[LayerChange, ...]:
        return tuple(layer for layer in self.layers if layer.change in changes)

    @property
    def moved(self) -> tuple[LayerChange, ...]:
        """Layers that changed, came or went, the largest change of MACs first, then of parameters."""
        rows = self.of(Change.CHANGED, Change.INSERTED, Change.REMOVED)
        return tuple(sorted(rows, key=lambda r: [-abs(r.delta(key) or 0) for key in ("macs", "flops", "parameters")]))

    def change_of(self, metric: str) -> int:
        old, new = self.totals[metric]
        return new - old

    def unexplained(self, metric: str) -> int:
        """What of the total's change no layer accounts for (branches of an If, weights no layer owns)."""
        return self.change_of(metric) - sum(row.delta(metric) or 0 for row in self.layers)

    def aside(self, metric: str) -> int:
        """What layers that are otherwise the same add: a result in place here and in fresh memory there."""
        return sum(row.delta(metric) or 0 for row in self.of(Change.SAME, Change.RENAMED))

    @property
    def verdict(self) -> str:
        """One word or clause: "same", "renamed only", "costlier: +12.3% MACs", ..."""
        parts = {
            key: f"{_percent(*self.totals[key])} {word}"
            for key, word in _VERDICT_WORDS.items()
            if key in self.totals and self.change_of(key)
        }
        main = [key for key in ("macs", "parameters") if key in parts]
        known = "" if self.complete else " (at least: some operators are unknown)"
        if main:
            signs = {self.change_of(key) > 0 for key in main}
            word = "mixed" if len(signs) == 2 else "costlier" if signs == {True} else "cheaper"
            return f"{word}: {', '.join(parts[key] for key in main)}{known}"
        rest = f", {', '.join(parts.values())}" if parts else ""
        if not self.moved:
            return f"{'renamed only' if self.of(Change.RENAMED) else 'same'}{rest}"
        if not parts:
            return f"changed, at the same cost{known}"
        return f"changed, same MACs and parameters{rest}{known}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "cnnprof.diff/1",
            "verdict": self.verdict,
            "old": self.old,
            "new": self.new,
            "totals": {key: {"old": a, "new": b, "change": b - a} for key, (a, b) in self.totals.items()},
            "unexplained": {key: self.unexplained(key) for key in self.totals},
            "counts": {change.value: len(self.of(change)) for change in Change},
            "layers": [_row(layer) for layer in self.layers if layer.change is not Change.SAME],
        }


def diff(old: Profile, new: Profile) -> Diff:
    """Align two profiles and say what changed."""
    totals = {key: ends for key in COSTS if (ends := _ends(old, new, key)) is not None}
    return diff_nodes(
        nodes_of(old), nodes_of(new), totals=totals, names=(old.name, new.name),
        complete=old.complete and new.complete,
    )  # fmt: skip


def diff_nodes(
    old: Sequence[LayerNode],
    new: Sequence[LayerNode],
    *,
    totals: Mapping[str, tuple[int, int]],
    names: tuple[str, str],
    complete: bool = True,
) -> Diff:
    """As :func:`diff`, on the layers alone."""
    matched = align(old, new)
    return Diff(
        old=names[0],
        new=names[1],
        layers=tuple(_changes(old, new, matched)),
        totals=totals,
        complete=complete,
    )


def _changes(old: Sequence[LayerNode], new: Sequence[LayerNode], matched: Mapping[int, int]) -> Iterable[LayerChange]:
    came_from = {j: i for i, j in matched.items()}
    gone = [i for i in range(len(old)) if i not in matched]
    at = 0
    for j, node in enumerate(new):
        i = came_from.get(j)
        if i is None:
            yield LayerChange(change=Change.INSERTED, old=None, new=node)
            continue
        while at < len(gone) and gone[at] < i:
            yield LayerChange(change=Change.REMOVED, old=old[gone[at]], new=None)
            at += 1
        before = old[i]
        if before.label == node.label:
            change = Change.SAME if before.name == node.name else Change.RENAMED
            yield LayerChange(change=change, old=before, new=node)
        else:
            yield LayerChange(change=Change.CHANGED, old=before, new=node, what=tuple(_what(before, node)))
    for i in gone[at:]:
        yield LayerChange(change=Change.REMOVED, old=old[i], new=None)


def _what(old: LayerNode, new: LayerNode) -> Iterable[str]:
    if old.shapes != new.shapes:
        yield f"shape {_shapes(old)} → {_shapes(new)}"
    if old.dtypes != new.dtypes:
        yield f"dtype {', '.join(old.dtypes)} → {', '.join(new.dtypes)}"
    before, after = json.loads(old.attributes), json.loads(new.attributes)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield f"{key} {_value(before.get(key))} → {_value(after.get(key))}"
    for key, word in (("parameters", "parameters"), ("macs", "MACs"), ("flops", "FLOPs")):
        a, b = old.costs.get(key), new.costs.get(key)
        if a != b:
            yield f"{word} {'?' if a is None else f'{a:,}'} → {'?' if b is None else f'{b:,}'}"


def _shapes(node: LayerNode) -> str:
    return ", ".join("?" if s is None else "×".join(map(str, s)) or "scalar" for s in node.shapes)


def _value(value: object) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)


def _ends(old: Profile, new: Profile, key: str) -> tuple[int, int] | None:
    ends = []
    for totals in (old.totals, new.totals):
        if key == "bytes_moved":
            parts = (totals.get("bytes_read"), totals.get("bytes_written"))
            ends.append(None if None in parts else sum(map(int, parts)))  # type: ignore[arg-type]
        else:
            ends.append(totals.get(key))
    return None if None in ends else (int(ends[0]), int(ends[1]))  # type: ignore[arg-type]


def _percent(old: int, new: int) -> str:
    if not old:
        return f"+{new:,}"
    share = 100 * (new - old) / old
    digits = 1 if abs(share) >= 0.05 else 4
    return f"{share:+.{digits}f}%"


def _row(layer: LayerChange) -> dict[str, Any]:
    return {
        "change": layer.change.value,
        "old": None if layer.old is None else layer.old.name,
        "new": None if layer.new is None else layer.new.name,
        "kind": layer.node.kind,
        "what": list(layer.what),
        "delta": {key: layer.delta(key) for key in COSTS},
    }
