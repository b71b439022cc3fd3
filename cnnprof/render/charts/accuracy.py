"""Prediction against measurement over many networks: the scatter, and the errors one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from cnnprof.render.charts.axes import close_log_ticks, short, ticks
from cnnprof.render.charts.frame import frame, layers, line, points, spans, texts
from cnnprof.render.charts.labels import place_labels
from cnnprof.render.charts.svg import draw, fit, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import seconds, signed
from cnnprof.render.views.accuracy import AccuracyView, Network

__all__ = ["LISTED", "NEAR", "errors_chart", "scatter_chart"]

NEAR = 0.10  # the band drawn around a right prediction; networks beyond it are named
LISTED = 120
_SIDE = 440
_NAMES, _PLOT, _ROW, _WIDEST = 190, 600, 19, 1.0


def _colour(row: Network) -> str:
    return "var(--s0)" if row.inside else "var(--s1)"


def _mark(row: Network, t: Translator) -> str:
    return keyed(
        row.key,
        t(
            "accuracy.mark",
            name=row.name,
            predicted=seconds(row.predicted_s),
            low=seconds(row.low_s),
            high=seconds(row.high_s),
            measured=seconds(row.measured_s),
            error=signed(row.error),
        ),
    )


def _log(low: float, high: float) -> Callable[[float], float]:
    span = math.log10(high / low)
    return lambda value: _SIDE * math.log10(min(max(value, low), high) / low) / span


def scatter_chart(view: AccuracyView, t: Translator) -> Markup | None:
    """Predicted (x, with its 90 % interval) against measured (y); the line is a right prediction. None for none."""
    rows = [row for row in view.networks if row.predicted_s > 0 and row.measured_s > 0]
    if not rows:
        return None
    low, high, marks = close_log_ticks(
        min(min(r.measured_s, r.predicted_s) for r in rows), max(max(r.measured_s, r.predicted_s) for r in rows)
    )
    at = _log(low, high)
    far = sorted((row for row in rows if abs(row.error) > NEAR), key=lambda row: (-abs(row.error), row.key))
    near = [row for row in rows if abs(row.error) <= NEAR]
    placed = place_labels(
        [(at(r.predicted_s), _SIDE - at(r.measured_s), 4.0, r.name) for r in (*far, *near)], _SIDE, _SIDE
    )
    spec = {
        "width": _SIDE,
        "height": _SIDE,
        "padding": {"left": 62, "right": 24, "top": 30, "bottom": 46},
        "data": layers({
            "right": [{"x": 0, "y": _SIDE}, {"x": _SIDE, "y": 0}],
            "spans": [
                {"x": at(r.low_s), "x2": at(r.high_s), "y": _SIDE - at(r.measured_s), "c": _colour(r)} for r in rows
            ],
            "dots": [
                {"x": at(r.predicted_s), "y": _SIDE - at(r.measured_s), "a": 44, "c": _colour(r), "k": _mark(r, t)}
                for r in rows
            ],
            "labels": [{"x": p.x, "y": p.y, "t": p.text, "align": p.align} for p in placed if p.index < len(far)],
        }),
        "marks": [
            *frame(
                _SIDE, _SIDE,
                x_ticks=[(at(v), short(seconds(v))) for v in marks],
                y_ticks=[(_SIDE - at(v), short(seconds(v))) for v in marks],
                x_title=t("latency.predicted"), y_title=t("latency.measured"),
            ),
            line("right", "var(--muted)", width=1),
            spans("spans"),
            points("dots"),
            texts("labels"),
        ],
    }  # fmt: skip
    return draw(spec, label=t("accuracy.scatter"))


def errors_chart(view: AccuracyView, t: Translator) -> Markup | None:
    """A row per network, from too fast to too slow: its error as a dot, its 90 % interval as a line; the interval
    crosses zero where it covers the measurement. None for none."""
    most = sorted(view.networks, key=lambda row: (-abs(row.error), row.key))[:LISTED]
    rows = [row for row in view.networks if row in most]
    if not rows:
        return None
    ends = [value / r.measured_s - 1.0 for r in rows for value in (r.low_s, r.high_s, r.predicted_s)]
    reach, marks = ticks(min(max(*map(abs, ends), NEAR), _WIDEST), 4)
    height = len(rows) * _ROW

    def at(error: float) -> float:
        return _PLOT * (1 + max(-reach, min(reach, error)) / reach) / 2

    middles = [(index + 0.5) * _ROW for index in range(len(rows))]
    data: dict[str, list[dict[str, Any]]] = {"spans": [], "dots": [], "texts": []}
    for row, y in zip(rows, middles, strict=True):
        low, high = (at(value / row.measured_s - 1.0) for value in (row.low_s, row.high_s))
        data["spans"].append({"x": low, "x2": high, "y": y, "c": _colour(row)})
        data["dots"].append({"x": at(row.error), "y": y, "a": 44, "c": _colour(row), "k": _mark(row, t)})
        data["texts"] += [
            {"x": -12, "y": y + 4, "t": fit(row.name, _NAMES - 20, 12), "align": "right", "c": "var(--ink)"},
            {"x": _PLOT + 66, "y": y + 4, "t": signed(row.error), "align": "right", "c": "var(--soft)"},
        ]
    spec = {
        "width": _PLOT,
        "height": height,
        "padding": {"left": _NAMES, "right": 84, "top": 8, "bottom": 46},
        "data": layers(data),
        "marks": [
            _band(at(-NEAR), at(NEAR), height),
            *frame(
                _PLOT, height,
                x_ticks=[(at(sign * v), signed(sign * v, 0) if v else "0 %")
                         for v in marks for sign in ((1,) if not v else (-1, 1))],
                x_title=t("accuracy.axis"),
            ),
            _zero(at(0.0), height),
            spans("spans"),
            points("dots"),
            texts("texts", colour=None, size=12),
        ],
    }  # fmt: skip
    return draw(spec, label=t("accuracy.errors"))


def _band(x: float, x2: float, height: float) -> dict[str, Any]:
    values = {"x": x, "x2": x2, "y": 0, "y2": height, "fill": "var(--raise)", "aria": False}
    return {"type": "rect", "encode": {"enter": {key: {"value": value} for key, value in values.items()}}}


def _zero(x: float, height: float) -> dict[str, Any]:
    values = {"x": x, "x2": x, "y": 0, "y2": height, "stroke": "var(--muted)", "aria": False}
    return {"type": "rule", "encode": {"enter": {key: {"value": value} for key, value in values.items()}}}
