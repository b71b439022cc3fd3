"""The compare page: several saved profiles side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnprof.render.charts.compare import cumulative_chart, field_chart, front_chart
from cnnprof.render.charts.timeline import timeline_chart
from cnnprof.render.html import render
from cnnprof.render.i18n import Translator
from cnnprof.render.views.compare import AXES, Subject, compare_rows, cumulative, families, field_curves, told_apart
from cnnprof.render.views.difference import difference

__all__ = ["compare_page"]

_LINES = 14  # more lines in one plot than this can't be told apart


def compare_page(
    subjects: Sequence[Subject],
    *,
    lang: str = "en",
    root: str | None = None,
    home: str | None = None,
    nav: Sequence[tuple[str, str]] = (),
) -> str:
    """Two or more models. ``nav`` are (label, href) of sister pages."""
    t = Translator(lang)
    subjects = told_apart(subjects)
    rows = compare_rows(subjects)
    fronts = [(axis, svg) for axis, _ in AXES if (svg := front_chart(rows, axis, t)) is not None]
    pair = None
    if len(subjects) == 2:
        pair = difference(subjects[0].profile, subjects[1].profile)
    context: dict[str, Any] = {
        "rows": rows,
        "fronts": fronts,
        "timeline": timeline_chart(rows, t),
        "depth": cumulative_chart(cumulative(subjects), t),
        "fields": field_chart(_spread(field_curves(subjects)), t),
        "fields_left": max(0, len(field_curves(subjects)) - _LINES),
        "pair": pair,
        "with_year": any(row.year for row in rows),
        "with_top1": any(row.top1_percent for row in rows),
        "with_latency": any(row.latency_s for row in rows),
        "with_published": any(row.published_macs or row.published_parameters for row in rows),
        "families": families(rows),
        "rated": {row.family for row in rows if row.top1_percent is not None},
        "dated": {row.family for row in rows if row.year is not None},
        "nav": nav,
    }
    return render("compare.html.j2", t, root=root, home=home, **context)


def _spread(curves: Sequence[Any]) -> list[Any]:
    """At most :data:`_LINES` of them, evenly from narrow to wide fields."""
    if len(curves) <= _LINES:
        return list(curves)
    order = sorted(range(len(curves)), key=lambda i: (curves[i].points[-1][1] if curves[i].points else 0.0, i))
    chosen = sorted({order[round(i * (len(order) - 1) / (_LINES - 1))] for i in range(_LINES)})
    return [curves[i] for i in chosen]
