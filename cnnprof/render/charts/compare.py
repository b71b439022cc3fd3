"""The compare page's charts: fronts, cost over depth, receptive field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cnnprof.render.charts.axes import log_ticks, short, ticks
from cnnprof.render.charts.frame import frame, layers, line, points, texts
from cnnprof.render.charts.labels import place_labels
from cnnprof.render.charts.svg import draw, fit, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import si
from cnnprof.render.units import quantity
from cnnprof.render.views.compare import AXES, CompareRow, Cumulative, FieldCurve, families, pareto

__all__ = ["HEIGHT", "PADDING", "WIDTH", "cumulative_chart", "family_colour", "field_chart", "front_chart", "log_place",
           "radius_of"]  # fmt: skip

WIDTH, HEIGHT = 880, 380
_BESIDE = 190.0
_FIELD_WIDTH = WIDTH - _BESIDE + 18
PADDING = {"left": 62, "right": 18, "top": 30, "bottom": 46}


def log_place(low: float, high: float, length: float, value: float) -> float:
    span = math.log10(high) - math.log10(low)
    return length * (math.log10(value) - math.log10(low)) / span


def radius_of(parameters: int) -> float:
    """Area grows with the square root of parameters: 60 k and 140 M both stay readable."""
    return float(3 + 2.4 * (max(parameters, 1) / 1e6) ** 0.25)


def family_colour(numbers: Mapping[str, int], family: str) -> str:
    if family in numbers:
        return f"var(--s{numbers[family] % 12})"
    return "var(--muted)" if numbers else "var(--s0)"


def front_chart(rows: Sequence[CompareRow], axis: str, t: Translator) -> Markup | None:
    """Accuracy against a cost (log), bubbles for parameters, the Pareto front as a line. None below 4 points."""
    unit = dict(AXES)[axis]
    shown = [row for row in rows if row.top1_percent is not None and (row.value(axis) or 0) > 0]
    if len(shown) < 4:
        return None
    costs = [row.value(axis) or 0.0 for row in shown]
    scores = [row.top1_percent or 0.0 for row in shown]
    low, high, x_ticks = log_ticks(min(costs), max(costs))
    base = math.floor(min(scores) / 5) * 5.0
    top, y_marks = ticks(max(scores) - base, 5)

    def place(i: int) -> tuple[float, float]:
        return log_place(low, high, WIDTH, costs[i]), HEIGHT * (1 - (scores[i] - base) / top)

    front = pareto(list(zip(costs, scores, strict=True)))
    order = [*front, *sorted(set(range(len(shown))) - set(front))]
    labels = place_labels([(*place(i), radius_of(shown[i].parameters), shown[i].name) for i in order], WIDTH, HEIGHT)
    numbers = families(rows)
    dots = [
        {
            "x": place(i)[0],
            "y": place(i)[1],
            "a": math.pi * radius_of(row.parameters) ** 2,
            "c": family_colour(numbers, row.family),
            "k": keyed(
                row.key,
                t(
                    "compare.mark",
                    name=row.name,
                    top1=f"{scores[i]:.1f} %",
                    cost=quantity(costs[i], unit),
                    metric=t(f"metric.{axis}"),
                    parameters=si(row.parameters),
                ),
            ),
        }
        for i, row in enumerate(shown)
    ]
    spec = {
        "width": WIDTH,
        "height": HEIGHT,
        "padding": PADDING,
        "data": layers({
            "front": [{"x": place(i)[0], "y": place(i)[1]} for i in front],
            "dots": dots,
            "labels": [{"x": p.x, "y": p.y, "t": p.text, "align": p.align} for p in labels],
        }),
        "marks": [
            *frame(
                WIDTH,
                HEIGHT,
                x_ticks=[(log_place(low, high, WIDTH, v), short(quantity(v, unit))) for v in x_ticks],
                y_ticks=[(HEIGHT * (1 - v / top), f"{base + v:g} %") for v in y_marks],
                x_title=t(f"metric.{axis}"),
                y_title=t("compare.top1"),
            ),
            line("front", "var(--mark-2)", width=1.5),
            points("dots"),
            texts("labels"),
        ],
    }  # fmt: skip
    return draw(spec, label=t("compare.front_label", metric=t(f"metric.{axis}")))


def cumulative_chart(curves: Sequence[Cumulative], t: Translator) -> Markup | None:
    """Small multiples: the share of MACs and of parameters reached at each relative depth."""
    if not curves:
        return None
    columns, cell_w, cell_h, gap_x, gap_y = 5, 166.0, 74.0, 24.0, 40.0
    rows = -(-len(curves) // columns)
    width = columns * cell_w + (columns - 1) * gap_x
    height = rows * (cell_h + gap_y)
    data: dict[str, list[dict[str, Any]]] = {"cells": [], "titles": []}
    marks: list[dict[str, Any]] = []
    for at, curve in enumerate(curves):
        left = (at % columns) * (cell_w + gap_x)
        top = (at // columns) * (cell_h + gap_y) + 22
        data["cells"].append({
            "x": left, "y": top, "w": cell_w, "h": cell_h,
            "k": keyed(curve.key, t("compare.depth_mark", name=curve.name,
                                    macs=f"{100 * curve.half_macs:.0f} %",
                                    parameters=f"{100 * curve.half_parameters:.0f} %")),
        })  # fmt: skip
        data["titles"].append(
            {"x": left, "y": top - 7, "t": fit(curve.name, cell_w + 14, 11, at_end=True), "align": "left"}
        )
        for kind, shares, colour, thick in (  # where both run together, the thinner one leaves the other visible
            ("m", curve.macs, "var(--mark)", 3.0),
            ("p", curve.parameters, "var(--mark-2)", 1.5),
        ):
            last = len(shares) - 1
            data[f"{kind}{at}"] = [
                {"x": left + cell_w * i / last, "y": top + cell_h * (1 - share)} for i, share in enumerate(shares)
            ]
            marks.append(line(f"{kind}{at}", colour, width=thick))
    cells = {
        "type": "rect",
        "from": {"data": "cells"},
        "encode": {"enter": {
            "x": {"field": "x"}, "y": {"field": "y"}, "width": {"field": "w"}, "height": {"field": "h"},
            "fill": {"value": "var(--raise)"}, "cornerRadius": {"value": 3}, "description": {"field": "k"},
        }},
    }  # fmt: skip
    spec = {
        "width": width,
        "height": height,
        "padding": 3,
        "data": layers(data),
        "marks": [cells, *marks, texts("titles", colour="var(--ink)")],
    }
    return draw(spec, label=t("compare.depth_label"))


def field_chart(curves: Sequence[FieldCurve], t: Translator) -> Markup | None:
    """Receptive field over relative depth, as a multiple of the input's side (log)."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    values = [value for curve in curves for _, value in curve.points]
    low, high, y_ticks = log_ticks(min(values), max(1.0, *values))

    def place(point: tuple[float, float]) -> dict[str, float]:
        return {"x": _FIELD_WIDTH * point[0], "y": HEIGHT - log_place(low, high, HEIGHT, point[1])}

    data: dict[str, list[dict[str, Any]]] = {"ends": []}
    marks = []
    for at, curve in enumerate(curves):
        placed = [place(point) for point in curve.points]
        data[f"f{at}"] = placed
        marks.append(line(f"f{at}", f"var(--s{at % 12})", width=1.5, step=True))
        data["ends"].append({
            **placed[-1], "a": 40, "c": f"var(--s{at % 12})",
            "k": keyed(curve.key, t("compare.field_mark", name=curve.name, times=f"{curve.points[-1][1]:.2g}")),
        })  # fmt: skip
    data["labels"] = _beside(data["ends"], [curve.name for curve in curves])
    data["unit"] = [place((0.0, 1.0)), place((1.0, 1.0))]
    spec = {
        "width": _FIELD_WIDTH,
        "height": HEIGHT,
        "padding": {**PADDING, "right": _BESIDE},
        "data": layers(data),
        "marks": [
            *frame(
                _FIELD_WIDTH,
                HEIGHT,
                x_ticks=[(_FIELD_WIDTH * v / 4, f"{25 * v} %") for v in range(5)],
                y_ticks=[(place((0.0, v))["y"], f"{v:g}×") for v in y_ticks],
                x_title=t("compare.depth"),
                y_title=t("compare.field_axis"),
            ),
            line("unit", "var(--ink)", width=1),
            *marks,
            points("ends"),
            texts("labels", colour=None),
        ],
    }
    return draw(spec, label=t("compare.field_label"))


def _beside(ends: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Names in the margin right of the plot, in the order of the lines' ends, none over another."""
    order = sorted(range(len(names)), key=lambda i: (ends[i]["y"], i))
    gap, y, rows = 15.0, -1e9, []
    for i in order:
        y = max(ends[i]["y"] + 4, y + gap)
        rows.append((i, y))
    over = max(0.0, (rows[-1][1] if rows else 0.0) - HEIGHT)
    placed: list[dict[str, Any]] = []
    below = float("inf")
    for i, at in reversed(rows):
        at = min(at, below - gap) if over else at  # noqa: PLW2901
        at = min(at, HEIGHT)  # noqa: PLW2901
        below = at
        name = fit(names[i], _BESIDE - 20, 11)
        placed.append({"x": _FIELD_WIDTH + 12, "y": at, "t": name, "align": "left", "c": ends[i]["c"]})
    return placed[::-1]
