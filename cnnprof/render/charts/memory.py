"""Memory alive over the execution beside the weights: a stepped area, the peak marked."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from cnnprof.profile import Profile
from cnnprof.render.charts.axes import bytes_ticks
from cnnprof.render.charts.svg import draw, keyed, text_px
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import nbytes, plain
from cnnprof.render.views.memory import MemoryView

__all__ = ["memory_chart"]

_WIDTH, _HEIGHT = 880, 220


def memory_chart(view: MemoryView, profile: Profile, t: Translator) -> Markup:
    """One step per layer (or bucket of layers); each is a mark of its own for pointing and selecting."""
    top, ticks = bytes_ticks(view.peak_bytes - view.weight_bytes)

    def y(value: float) -> float:
        return _HEIGHT * (1 - value / top)

    per_op = _WIDTH / max(view.ops, 1)
    names = [plain(layer.name) for layer in profile.layers]
    steps: list[dict[str, Any]] = []
    for point in view.points:
        first = names[point.first] if point.first < len(names) else str(point.first)
        last = names[point.last] if point.last < len(names) else str(point.last)
        key = "memory.mark" if point.first == point.last else "memory.marks"
        steps.append({
            "x": point.first * per_op,
            "x2": (point.last + 1) * per_op,
            "y": y(max(point.live_bytes - view.weight_bytes, 0)),
            "k": keyed(
                f"n{point.first}" if point.first < len(names) else "",
                t(
                    key,
                    name=first,
                    first=first,
                    last=last,
                    bytes=nbytes(max(point.live_bytes - view.weight_bytes, 0)),
                ),
            ),
        })  # fmt: skip
    at = next((s for s, p in zip(steps, view.points, strict=True) if p.live_bytes == view.peak_bytes), None)
    caption = t(
        "memory.peak",
        live=nbytes(view.peak_bytes - view.weight_bytes),
        weights=nbytes(view.weight_bytes),
        peak=nbytes(view.peak_bytes),
    )
    peak_x = (at["x"] + at["x2"]) / 2 if at else 0.0
    right = peak_x + 10 + text_px(caption) > _WIDTH
    marks = [
        {"type": "rule", "from": {"data": "ticks"}, "encode": {"enter": {
            "x": {"value": 0}, "x2": {"value": _WIDTH}, "y": {"field": "y"},
            "stroke": {"value": "var(--grid)"}}}},
        {"type": "text", "from": {"data": "ticks"}, "encode": {"enter": {
            "x": {"value": -8}, "y": {"field": "y", "offset": 4}, "align": {"value": "right"},
            "text": {"field": "t"}, "fill": {"value": "var(--muted)"}, "aria": {"value": False}}}},
        {"type": "rect", "from": {"data": "steps"}, "encode": {"enter": {
            "x": {"field": "x"}, "x2": {"field": "x2"}, "y": {"field": "y"}, "y2": {"value": _HEIGHT},
            "fill": {"value": "var(--area)"}, "description": {"field": "k"}}}},
        {"type": "line", "from": {"data": "line"}, "encode": {"enter": {
            "x": {"field": "x"}, "y": {"field": "y"}, "interpolate": {"value": "step-after"},
            "stroke": {"value": "var(--mark)"}, "strokeWidth": {"value": 1.5}, "aria": {"value": False}}}},
        {"type": "text", "encode": {"enter": {
            "x": {"value": _WIDTH / 2}, "y": {"value": _HEIGHT + 24}, "align": {"value": "center"},
            "text": {"value": t("axis.layers")}, "fill": {"value": "var(--muted)"},
            "aria": {"value": False}}}},
    ]  # fmt: skip
    if at:
        marks += [
            {"type": "rule", "encode": {"enter": {
                "x": {"value": peak_x}, "y": {"value": -8}, "y2": {"value": at["y"]},
                "stroke": {"value": "var(--mark-2)"}, "strokeWidth": {"value": 1.5}}}},
            {"type": "text", "encode": {"enter": {
                "x": {"value": peak_x + (-6 if right else 6)}, "y": {"value": -6},
                "align": {"value": "right" if right else "left"}, "text": {"value": caption},
                "fill": {"value": "var(--ink)"}, "fontWeight": {"value": 600},
                "aria": {"value": False}}}},
        ]  # fmt: skip
    spec = {
        "width": _WIDTH,
        "height": _HEIGHT,
        "padding": {"left": 76, "right": 4, "top": 22, "bottom": 32},
        "data": [
            {"name": "ticks", "values": [{"y": y(tick), "t": nbytes(tick)} for tick in ticks]},
            {"name": "steps", "values": steps},
            {"name": "line", "values": [*({"x": s["x"], "y": s["y"]} for s in steps), *_end(steps)]},
        ],
        "marks": marks,
    }
    return draw(spec, label=t("memory.chart"))


def _end(steps: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [{"x": steps[-1]["x2"], "y": steps[-1]["y"]}] if steps else []
