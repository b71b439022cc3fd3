"""The compare page's timeline: what a forward pass costs, by year of publication."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from cnnprof.render.charts.axes import log_ticks, short
from cnnprof.render.charts.compare import HEIGHT, PADDING, WIDTH, family_colour, log_place, radius_of
from cnnprof.render.charts.frame import frame, layers, points, texts
from cnnprof.render.charts.labels import place_labels
from cnnprof.render.charts.svg import draw, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import si
from cnnprof.render.views.compare import CompareRow, families

__all__ = ["side_by_side", "timeline_chart", "year_scale"]

_TICK = 44.0
_SIDESTEPS = 15
_FEW = 20  # years before a twentieth of the models had appeared are drawn narrower


def timeline_chart(rows: Sequence[CompareRow], t: Translator) -> Markup | None:
    """MACs (log) over the year of publication, bubbles for parameters. None below 3 dated models."""
    shown = [row for row in rows if row.year is not None and row.macs]
    if len({row.year for row in shown}) < 3:
        return None
    years = [row.year or 0 for row in shown]
    low, high, y_ticks = log_ticks(min(r.macs for r in shown), max(r.macs for r in shown))

    x_of, marked = year_scale(years)
    heights = [HEIGHT - log_place(low, high, HEIGHT, row.macs) for row in shown]
    places = side_by_side(
        [(x_of(year), y, radius_of(row.parameters)) for year, y, row in zip(years, heights, shown, strict=True)]
    )
    order = sorted(range(len(shown)), key=lambda i: (years.index(years[i]) != i, years[i], i))
    labels = place_labels([(*places[i], radius_of(shown[i].parameters), shown[i].name) for i in order], WIDTH, HEIGHT)
    numbers = families(rows)
    spec = {
        "width": WIDTH,
        "height": HEIGHT,
        "padding": PADDING,
        "data": layers({
            "dots": [
                {
                    "x": x, "y": y, "a": math.pi * radius_of(row.parameters) ** 2,
                    "c": family_colour(numbers, row.family),
                    "k": keyed(row.key, t("compare.dated", name=row.name, year=row.year, macs=si(row.macs),
                                          parameters=si(row.parameters))),
                }
                for row, (x, y) in zip(shown, places, strict=True)
            ],
            "labels": [{"x": p.x, "y": p.y, "t": p.text, "align": p.align} for p in labels],
        }),
        "marks": [
            *frame(
                WIDTH,
                HEIGHT,
                x_ticks=[(x_of(year), str(year)) for year in marked],
                y_ticks=[(HEIGHT - log_place(low, high, HEIGHT, v), short(si(v))) for v in y_ticks],
                y_title=t("metric.macs"),
            ),
            points("dots"),
            texts("labels"),
        ],
    }  # fmt: skip
    return draw(spec, label=t("compare.timeline"))


def year_scale(years: Sequence[int]) -> tuple[Callable[[float], float], list[int]]:
    """(year -> place, years that are marked). Where the first half of the span holds few of the models, it is drawn
    narrower: decades in which little happened must not squeeze the years in which most did."""
    first, last, left, width = min(years), max(years), 30.0, WIDTH - 60.0
    bend = min((year for year in years if sum(y < year for y in years) * _FEW >= len(years)), default=first) - 1
    narrow = 0.22 if (bend - first) * 2 > last - first else 0.0

    def x_of(year: float) -> float:
        if not narrow:
            return left + width * (year - first) / (last - first)
        if year < bend:
            return left + width * narrow * (year - first) / (bend - first)
        return left + width * (narrow + (1 - narrow) * (year - bend) / (last - bend))

    if not narrow:
        return x_of, list(range(first, last + 1, max(1, math.ceil((last - first) / 14))))
    early = [first]
    for year in sorted(set(years)):
        if year < bend and x_of(year) - x_of(early[-1]) >= _TICK and x_of(bend) - x_of(year) >= _TICK:
            early.append(year)
    step = max(1, math.ceil((last - bend) / 14))
    return x_of, [*early, *range(bend, last + 1, step)]


def side_by_side(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """(x, y) of circles (x, y, radius) moved sideways, as little as it takes, until none lies over another."""
    placed: list[tuple[float, float, float]] = []
    for x, y, radius in points:
        for step in range(_SIDESTEPS):
            at = x + (step + 1) // 2 * 3.0 * (1 if step % 2 else -1)
            if all(math.hypot(at - a, y - b) >= radius + r for a, b, r in placed):
                break
        else:
            at = x
        placed.append((at, y, radius))
    return [(x, y) for x, y, _ in placed]
