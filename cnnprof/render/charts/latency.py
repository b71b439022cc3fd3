"""Roofline, and predicted against measured: both log-log."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from cnnprof.render.charts.axes import log_ticks, short
from cnnprof.render.charts.frame import frame, layers, line, points, spans, texts
from cnnprof.render.charts.svg import draw, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import percent, seconds, si
from cnnprof.render.views.latency import LatencyView
from cnnprof.render.views.roofline import Roofline, RoofPoint

__all__ = ["BOUND_COLOURS", "error_chart", "roofline_chart"]

BOUND_COLOURS = {"compute": "var(--s0)", "memory": "var(--s1)", "overhead": "var(--s8)"}
_WIDTH, _HEIGHT, _MOST = 880, 340, 400


def _scale(low: float, high: float, length: float) -> Callable[[float], float]:
    span = math.log10(high) - math.log10(low)
    return lambda value: length * (math.log10(max(value, low)) - math.log10(low)) / span


def roofline_chart(view: Roofline, t: Translator) -> Markup:
    """The roof, and a point per layer (those with most time, if there are many), its area the share of time."""
    shown: Sequence[RoofPoint] = sorted(view.points, key=lambda p: (-p.share, p.key))[:_MOST]
    ridge = view.ridge_flops_per_byte
    x_low, x_high, x_ticks = log_ticks(
        min([ridge / 10, *(p.intensity for p in shown)]), max([ridge * 10, *(p.intensity for p in shown)])
    )
    rates = [p.flops_per_s for p in shown]
    y_low, y_high, y_ticks = log_ticks(
        min([view.bandwidth_bytes_per_s * x_low, *rates]), max([view.peak_flops_per_s * 1.2, *rates])
    )
    x, up = _scale(x_low, x_high, _WIDTH), _scale(y_low, y_high, _HEIGHT)
    roof = [
        (x_low, view.bandwidth_bytes_per_s * x_low),
        (ridge, view.peak_flops_per_s),
        (x_high, view.peak_flops_per_s),
    ]
    peak = f"{si(view.peak_flops_per_s)}FLOP/s"
    spec = {
        "width": _WIDTH,
        "height": _HEIGHT,
        "padding": {"left": 62, "right": 18, "top": 30, "bottom": 46},
        "data": layers({
            "roof": [{"x": x(a), "y": _HEIGHT - up(b)} for a, b in roof],
            "dots": [
                {
                    "x": x(p.intensity), "y": _HEIGHT - up(p.flops_per_s), "a": 24 + 2400 * p.share,
                    "c": BOUND_COLOURS.get(p.bound, "var(--s8)"),
                    "k": keyed(p.key, t("roofline.mark", name=p.name, intensity=f"{p.intensity:.3g}",
                                        rate=f"{si(p.flops_per_s)}FLOP/s", share=percent(p.share, 1))),
                }
                for p in shown
            ],
            "labels": [{"x": _WIDTH - 6, "y": _HEIGHT - up(view.peak_flops_per_s) - 7, "t": peak, "align": "right"}],
        }),
        "marks": [
            *frame(
                _WIDTH, _HEIGHT,
                x_ticks=[(x(v), short(f"{v:g}")) for v in x_ticks],
                y_ticks=[(_HEIGHT - up(v), short(si(v))) for v in y_ticks],
                x_title=t("roofline.x"), y_title=t("roofline.y"),
            ),
            line("roof", "var(--ink)", width=1.5),
            points("dots"),
            texts("labels"),
        ],
    }  # fmt: skip
    return draw(spec, label=t("nav.roofline"))


def error_chart(view: LatencyView, t: Translator) -> Markup | None:
    """Predicted (x, with its interval) against measured (y) by layer; the diagonal is a right prediction. None
    without pairs."""
    if not view.pairs:
        return None
    width, height = 400, 300
    times = [v for p in view.pairs for v in (p.predicted_s, p.measured_s) if v > 0]
    low, high, ticks = log_ticks(min(times), max(times))
    x, up = _scale(low, high, width), _scale(low, high, height)
    shown = sorted(view.pairs, key=lambda p: (-p.measured_s, p.key))[:_MOST]
    spec = {
        "width": width,
        "height": height,
        "padding": {"left": 62, "right": 18, "top": 30, "bottom": 46},
        "data": layers({
            "right": [{"x": 0, "y": height}, {"x": width, "y": 0}],
            "spans": [
                {
                    "x": x(p.interval[0]), "x2": x(min(p.interval[1], high)), "y": height - up(p.measured_s),
                    "c": "var(--s0)" if p.inside else "var(--s1)",
                }
                for p in shown if p.interval is not None
            ],
            "dots": [
                {
                    "x": x(p.predicted_s), "y": height - up(p.measured_s), "a": 40,
                    "c": "var(--s1)" if p.inside is False else "var(--s0)",
                    "k": keyed(p.key, t("latency.mark", name=p.name, predicted=seconds(p.predicted_s),
                                        measured=seconds(p.measured_s))),
                }
                for p in shown
            ],
        }),
        "marks": [
            *frame(
                width, height,
                x_ticks=[(x(v), short(seconds(v))) for v in ticks],
                y_ticks=[(height - up(v), short(seconds(v))) for v in ticks],
                x_title=t("latency.predicted"), y_title=t("latency.measured"),
            ),
            line("right", "var(--muted)", width=1),
            spans("spans"),
            points("dots"),
        ],
    }  # fmt: skip
    return draw(spec, label=t("latency.chart"))
