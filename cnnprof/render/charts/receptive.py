"""Receptive field: its growth over depth, and windows on the input."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from cnnprof.render.charts.axes import ticks
from cnnprof.render.charts.svg import draw, fit, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.views.receptive import Growth, ReceptiveView

__all__ = ["growth_chart", "windows_chart"]

_WIDTH, _HEIGHT = 400, 230
_MOST_MARKS = 160


def growth_chart(view: ReceptiveView, t: Translator) -> Markup:
    """A step line; a point where the stride changes; a dashed line at the input's longer side."""
    side = max(view.input_size)
    top, marks_at = ticks(max(side, *(g.size for g in view.growth)) * 1.04)
    last = max(len(view.growth) - 1, 1)

    def place(g: Growth) -> dict[str, Any]:
        text = t("receptive.mark", name=g.name, size=f"{g.size:g}", stride=f"{g.stride:g}")
        return {
            "x": _WIDTH * g.position / last,
            "y": _HEIGHT * (1 - g.size / top),
            "k": keyed(g.key, text),
            "c": "var(--red)" if g.density < 1 else "var(--mark)",
        }

    line = [place(g) for g in view.growth]
    corners = [
        g
        for before, g in zip((None, *view.growth), view.growth, strict=False)
        if before is None or g.size != before.size or g.stride != before.stride
    ]
    step = max(1, -(-len(corners) // _MOST_MARKS))
    limit_y = _HEIGHT * (1 - side / top)
    spec = {
        "width": _WIDTH,
        "height": _HEIGHT,
        "padding": {"left": 44, "right": 10, "top": 10, "bottom": 34},
        "data": [
            {"name": "ticks", "values": [{"y": _HEIGHT * (1 - v / top), "t": f"{v:g}"} for v in marks_at]},
            {"name": "line", "values": line},
            {"name": "points", "values": [place(g) for g in corners[::step]]},
        ],
        "marks": [
            {"type": "rule", "from": {"data": "ticks"}, "encode": {"enter": {
                "x": {"value": 0}, "x2": {"value": _WIDTH}, "y": {"field": "y"},
                "stroke": {"value": "var(--grid)"}}}},
            {"type": "text", "from": {"data": "ticks"}, "encode": {"enter": {
                "x": {"value": -8}, "y": {"field": "y", "offset": 4}, "align": {"value": "right"},
                "text": {"field": "t"}, "fill": {"value": "var(--muted)"}, "aria": {"value": False}}}},
            {"type": "rule", "encode": {"enter": {
                "x": {"value": 0}, "x2": {"value": _WIDTH}, "y": {"value": limit_y},
                "stroke": {"value": "var(--mark-2)"}, "strokeDash": {"value": [5, 4]},
                "strokeWidth": {"value": 1.5}}}},
            {"type": "text", "encode": {"enter": {
                "x": {"value": 4}, "y": {"value": limit_y - 6},
                "text": {"value": t("receptive.input", side=side)}, "fill": {"value": "var(--soft)"},
                "aria": {"value": False}}}},
            {"type": "line", "from": {"data": "line"}, "encode": {"enter": {
                "x": {"field": "x"}, "y": {"field": "y"}, "interpolate": {"value": "step-after"},
                "stroke": {"value": "var(--mark)"}, "strokeWidth": {"value": 2},
                "aria": {"value": False}}}},
            {"type": "symbol", "from": {"data": "points"}, "encode": {"enter": {
                "x": {"field": "x"}, "y": {"field": "y"}, "size": {"value": 26}, "fill": {"field": "c"},
                "description": {"field": "k"}}}},
            {"type": "text", "encode": {"enter": {
                "x": {"value": _WIDTH / 2}, "y": {"value": _HEIGHT + 26}, "align": {"value": "center"},
                "text": {"value": t("axis.layers")}, "fill": {"value": "var(--muted)"},
                "aria": {"value": False}}}},
        ],
    }  # fmt: skip
    return draw(spec, label=t("receptive.chart"))


def windows_chart(view: ReceptiveView, t: Translator) -> Markup:
    """Nested windows around the input's centre, names at their right edges' own rows below."""
    height, width = view.input_size
    biggest_h = max([height, *(w.height for w in view.windows)])
    biggest_w = max([width, *(w.width for w in view.windows)])
    scale = min(250 / max(biggest_w, 1), 230 / max(biggest_h, 1))
    centre_x, centre_y = 130.0, 124.0
    legend_x = 272.0

    def box(h: float, w: float) -> dict[str, float]:
        return {
            "x": centre_x - w * scale / 2,
            "x2": centre_x + w * scale / 2,
            "y": centre_y - max(h * scale, 1.5) / 2,
            "y2": centre_y + max(h * scale, 1.5) / 2,
        }

    windows = []
    for at, w in enumerate(reversed(view.windows)):
        size = f"{w.height:g}×{w.width:g}"
        colour = f"var(--h{(len(view.windows) - 1 - at) % 8})"
        text = t("receptive.window", name=w.name, height=f"{w.height:g}", width=f"{w.width:g}")
        windows.append({
            **box(w.height, w.width), "k": keyed(w.key, text), "c": colour, "s": size,
            "n": fit(w.name, 118), "ly": 16 + 34 * (len(view.windows) - 1 - at),
        })  # fmt: skip
    spec = {
        "width": 410,
        "height": 248,
        "padding": 2,
        "data": [{"name": "windows", "values": windows}],
        "marks": [
            {"type": "rect", "from": {"data": "windows"}, "encode": {"enter": {
                **{k: {"field": k} for k in ("x", "x2", "y", "y2")}, "fill": {"field": "c"},
                "fillOpacity": {"value": 0.75}, "stroke": {"value": "var(--muted)"},
                "strokeOpacity": {"value": 0.6}, "description": {"field": "k"}}}},
            {"type": "rect", "encode": {"enter": {
                **{k: {"value": v} for k, v in box(height, width).items()},
                "stroke": {"value": "var(--ink)"}, "strokeWidth": {"value": 2},
                "strokeDash": {"value": [5, 4]}, "aria": {"value": False}}}},
            {"type": "rect", "from": {"data": "windows"}, "encode": {"enter": {
                "x": {"value": legend_x}, "width": {"value": 10}, "y": {"field": "ly", "offset": -9},
                "height": {"value": 10}, "fill": {"field": "c"}, "stroke": {"value": "var(--muted)"},
                "strokeOpacity": {"value": 0.6}, "aria": {"value": False}}}},
            {"type": "text", "from": {"data": "windows"}, "encode": {"enter": {
                "x": {"value": legend_x + 16}, "y": {"field": "ly"}, "text": {"field": "s"},
                "fill": {"value": "var(--ink)"}, "aria": {"value": False}}}},
            {"type": "text", "from": {"data": "windows"}, "encode": {"enter": {
                "x": {"value": legend_x + 16}, "y": {"field": "ly", "offset": 14}, "text": {"field": "n"},
                "fontSize": {"value": 11}, "fill": {"value": "var(--muted)"}, "aria": {"value": False}}}},
        ],
    }  # fmt: skip
    return draw(spec, label=t("receptive.chart_windows"))
