"""The frame of a plot: grid lines, tick labels, axis titles; as Vega data and marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["frame", "layers", "line", "points", "spans", "texts"]

Tick = tuple[float, str]


def frame(
    width: float,
    height: float,
    *,
    x_ticks: Sequence[Tick] = (),
    y_ticks: Sequence[Tick] = (),
    x_title: str = "",
    y_title: str = "",
) -> list[dict[str, Any]]:
    """Marks with their data inside; ticks are (place in pixels, text). A y title stands above the plot."""
    marks: list[dict[str, Any]] = []
    for place, text in y_ticks:
        marks.append(_rule(0, width, place, place))
        marks.append(_text(-8, place + 4, text, "right"))
    for place, text in x_ticks:
        marks.append(_rule(place, place, 0, height))
        marks.append(_text(place, height + 17, text, "center"))
    if x_title:
        marks.append(_text(width / 2, height + 36, x_title, "center"))
    if y_title:
        marks.append(_text(0, -12, y_title, "left"))
    return marks


def _rule(x: float, x2: float, y: float, y2: float) -> dict[str, Any]:
    values = {"x": x, "x2": x2, "y": y, "y2": y2, "stroke": "var(--grid)"}
    return {"type": "rule", "encode": {"enter": {key: {"value": value} for key, value in values.items()}}}


def _text(x: float, y: float, text: str, align: str) -> dict[str, Any]:
    values = {"x": x, "y": y, "text": text, "align": align, "fill": "var(--muted)", "aria": False}
    return {"type": "text", "encode": {"enter": {key: {"value": value} for key, value in values.items()}}}


def line(data: str, colour: str, *, width: float = 2, step: bool = False) -> dict[str, Any]:
    """A line through the rows of ``data`` (x, y in pixels)."""
    enter: dict[str, Any] = {
        "x": {"field": "x"},
        "y": {"field": "y"},
        "stroke": {"value": colour},
        "strokeWidth": {"value": width},
        "aria": {"value": False},
    }
    if step:
        enter["interpolate"] = {"value": "step-after"}
    return {"type": "line", "from": {"data": data}, "encode": {"enter": enter}}


def points(data: str) -> dict[str, Any]:
    """Circles of the rows of ``data``: x, y, a (area), c (fill), k (description)."""
    return {
        "type": "symbol",
        "from": {"data": data},
        "encode": {
            "enter": {
                "x": {"field": "x"},
                "y": {"field": "y"},
                "size": {"field": "a"},
                "fill": {"field": "c"},
                "fillOpacity": {"value": 0.75},
                "stroke": {"value": "var(--paper)"},
                "description": {"field": "k"},
            }
        },
    }


def spans(data: str) -> dict[str, Any]:
    """Horizontal intervals of the rows of ``data``: x, x2, y, c (stroke)."""
    return {
        "type": "rule",
        "from": {"data": data},
        "encode": {
            "enter": {
                "x": {"field": "x"},
                "x2": {"field": "x2"},
                "y": {"field": "y"},
                "stroke": {"field": "c"},
                "strokeOpacity": {"value": 0.55},
                "strokeWidth": {"value": 1.5},
                "aria": {"value": False},
            }
        },
    }


def texts(data: str, *, colour: str | None = "var(--soft)", size: float = 11) -> dict[str, Any]:
    """Labels of the rows of ``data``: x, y, t, align; with no ``colour``, each row's own, c."""
    return {
        "type": "text",
        "name": "c-halo",
        "from": {"data": data},
        "encode": {
            "enter": {
                "x": {"field": "x"},
                "y": {"field": "y"},
                "text": {"field": "t"},
                "align": {"field": "align"},
                "fill": {"field": "c"} if colour is None else {"value": colour},
                "fontSize": {"value": size},
                "aria": {"value": False},
            }
        },
    }


def layers(data: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Vega's list of named data from a mapping."""
    return [{"name": name, "values": list(rows)} for name, rows in data.items()]
