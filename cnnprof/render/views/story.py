"""The story's numbers: each idea before and after, as rows with ratios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnnprof.profile import Profile
from cnnprof.render.story.ideas import IDEAS, Idea
from cnnprof.render.views.receptive import receptive_view

__all__ = ["Cell", "IdeaView", "Row", "story"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number: ``ratio`` to its base row's, ``fraction`` of the column's largest."""

    metric: str
    unit: str
    value: float
    ratio: float
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``is_base``: the row that others are compared with."""

    key: str
    is_base: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class IdeaView:
    idea: Idea
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def _field(profile: Profile) -> float:
    view = receptive_view(profile)
    return 0.0 if view is None else float(view.output.largest or 0)


def _moved(profile: Profile) -> float:
    return float(profile.totals["bytes_read"] + profile.totals["bytes_written"])


_COLUMNS: dict[str, tuple[str, Callable[[Profile], float]]] = {
    "macs": ("count", lambda p: p.totals["macs"]),
    "parameters": ("count", lambda p: p.totals["parameters"]),
    "flops": ("count", lambda p: p.totals["flops"]),
    "peak": ("bytes", lambda p: p.totals.get("peak_activation_bytes", 0)),
    "moved": ("bytes", _moved),
    "intensity": ("ratio", lambda p: p.totals.get("arithmetic_intensity", 0.0)),
    "field": ("side", _field),
}


def story() -> tuple[IdeaView, ...]:
    """Every idea, its graphs built and analysed."""
    return tuple(_view(idea) for idea in IDEAS)


def _view(idea: Idea) -> IdeaView:
    columns = ("macs", "parameters", *idea.shows)
    profiles = [variant.make() for variant in idea.variants]
    values = {column: [float(_COLUMNS[column][1](profile)) for profile in profiles] for column in columns}
    return IdeaView(
        idea=idea,
        columns=columns,
        rows=tuple(
            Row(
                key=variant.key,
                is_base=variant.base == at,
                cells=tuple(
                    Cell(
                        metric=column,
                        unit=_COLUMNS[column][0],
                        value=values[column][at],
                        ratio=values[column][at] / base if (base := values[column][variant.base]) else 0.0,
                        fraction=values[column][at] / max(values[column]) if max(values[column]) else 0.0,
                    )
                    for column in columns
                ),
            )
            for at, variant in enumerate(idea.variants)
        ),
    )
