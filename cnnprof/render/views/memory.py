"""Memory over the execution: the timeline, its peak, what is alive there, and what would lower it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain

__all__ = ["Alive", "Lowering", "MemoryView", "Point", "memory_view"]

_LISTED = 12
_POINTS = 128
_WEIGHTS = ("parameter", "buffer", "constant", "optimizer state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The most alive while layers ``first``..``last`` (indices, inclusive) run."""

    first: int
    last: int
    live_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """One piece of memory alive at the peak. ``key`` is the page's anchor of the layer that makes it."""

    name: str
    category: str
    shape: tuple[int, ...] | None
    nbytes: int
    made_by: str | None
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """A measure and what it saves, taken alone."""

    what: str
    detail: str
    peak_bytes: int
    saving_bytes: int

    @property
    def retypes(self) -> bool:
        """Smaller numbers rather than another schedule: true of every network, so nothing that stands out."""
        return self.what.partition(" ")[0] in ("dtype", "weights", "activations")


@dataclass(frozen=True, kw_only=True)
class MemoryView:
    """``peak_layer`` is the index of the layer at the peak where it is one of this profile's layers;
    ``alive`` holds the largest tensors there beside the weights, of those that the profile lists."""

    mode: str
    peak_bytes: int
    peak_activation_bytes: int
    weight_bytes: int
    peak_layer: int | None
    peak_name: str | None
    points: tuple[Point, ...]
    ops: int
    alive: tuple[Alive, ...]
    categories: tuple[tuple[str, int], ...]
    arena_bytes: int | None
    arena_bound_bytes: int | None
    savings: tuple[Lowering, ...]
    complete: bool


def memory_view(profile: Profile) -> MemoryView | None:
    """None where the profile has no memory section."""
    data = profile.memory
    if not data or "timeline" not in data or "peak" not in data:
        return None
    index = {layer.name: i for i, layer in enumerate(profile.layers)}
    peak = data["peak"]
    name = peak.get("op") or peak.get("layer")
    timeline = data["timeline"]
    arena: Mapping[str, Any] = data.get("arena") or {}
    peak_bytes = int(peak["bytes"])
    activations = int(data.get("peak_activation_bytes", peak_bytes))
    passing = [row for row in data.get("alive_at_peak", ()) if row.get("category") not in _WEIGHTS]
    return MemoryView(
        mode=str(data.get("mode", profile.mode)),
        peak_bytes=peak_bytes,
        peak_activation_bytes=activations,
        weight_bytes=peak_bytes - activations,
        peak_layer=index.get(name) if name else None,
        peak_name=plain(name) if name else None,
        points=_points(timeline),
        ops=int(timeline.get("ops", len(timeline["live_bytes"]))),
        alive=tuple(_alive(row, index) for row in passing[:_LISTED]),
        categories=tuple(
            sorted(
                ((str(key), int(value)) for key, value in (data.get("by_category") or {}).items() if value),
                key=lambda pair: (-pair[1], pair[0]),
            )
        ),
        arena_bytes=arena.get("bytes"),
        arena_bound_bytes=arena.get("lower_bound_bytes"),
        savings=tuple(
            Lowering(
                what=plain(row["what"]),
                detail=plain(row["detail"]),
                peak_bytes=int(row["peak_bytes"]),
                saving_bytes=int(row["saving_bytes"]),
            )
            for row in data.get("savings", ())[:6]
        ),
        complete=bool(data.get("complete", True)),
    )


def _points(timeline: Mapping[str, Any]) -> tuple[Point, ...]:
    """At most 128 buckets, each with its maximum: the peak survives."""
    width = int(timeline.get("ops_per_point", 1))
    values = list(timeline["live_bytes"])
    ops = int(timeline.get("ops", len(values) * width))
    step = max(1, -(-len(values) // _POINTS))
    return tuple(
        Point(
            first=at * width,
            last=min((at + step) * width, ops) - 1,
            live_bytes=int(max(values[at : at + step])),
        )
        for at in range(0, len(values), step)
    )


def _alive(row: Mapping[str, Any], index: Mapping[str, int]) -> Alive:
    made_by = row.get("made_by")
    found = row.get("shape")
    return Alive(
        name=plain(row["name"]),
        category=str(row.get("category", "")),
        shape=None if found is None else tuple(found),
        nbytes=int(row["bytes"]),
        made_by=None if made_by is None else plain(made_by),
        key=f"n{index[made_by]}" if isinstance(made_by, str) and made_by in index else None,
    )
