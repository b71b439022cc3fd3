"""Names beside points, none over another: greedy, in the order given, left out where there is no room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnprof.render.charts.svg import text_px

__all__ = ["PlacedLabel", "place_labels"]

_FONT = 11.0


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """``align`` is Vega's: "left", "right" or "center"; (x, y) is the baseline's anchor."""

    index: int
    text: str
    x: float
    y: float
    align: str


Box = tuple[float, float, float, float]


def place_labels(
    points: Sequence[tuple[float, float, float, str]], width: float, height: float
) -> tuple[PlacedLabel, ...]:
    """``points`` are (x, y, radius, name), the most important first. A label stands right, left, above or below
    its point, inside the plot, over no other label and no other point."""
    dots = [(x - r, y - r, x + r, y + r) for x, y, r, _ in points]
    taken: list[Box] = []
    placed: list[PlacedLabel] = []
    for index, (x, y, r, name) in enumerate(points):
        w = text_px(name, _FONT)
        for px, py, align in (
            (x + r + 4, y + 4, "left"), (x - r - 4, y + 4, "right"),
            (x, y - r - 4, "center"), (x, y + r + 12, "center"),
        ):  # fmt: skip
            left = px if align == "left" else px - w if align == "right" else px - w / 2
            box = (left - 1, py - 11, left + w + 1, py + 3)
            if box[0] < 0 or box[2] > width or box[1] < 0 or box[3] > height:
                continue
            if any(_meet(box, other) for other in taken):
                continue
            if any(i != index and _meet(box, dot) for i, dot in enumerate(dots)):
                continue
            taken.append(box)
            placed.append(PlacedLabel(index, name, px, py, align))
            break
    return tuple(placed)


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
