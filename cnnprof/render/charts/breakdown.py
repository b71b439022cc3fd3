"""The icicle: the module tree by one metric, one row per level."""

from __future__ import annotations

from markupsafe import Markup

from cnnprof.render.charts.svg import draw, fit, keyed
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import percent
from cnnprof.render.units import quantity
from cnnprof.render.views.breakdown import Icicle

__all__ = ["HUES", "icicle_chart"]

HUES = 8
_WIDTH, _ROW, _GAP = 960, 34, 2


def icicle_chart(data: Icicle, t: Translator) -> Markup:
    """Widths are shares of the whole; colours follow the top-level part."""
    order = {hue: i for i, hue in enumerate(dict.fromkeys(cell.hue for cell in data.cells))}
    values = []
    for cell in data.cells:
        x, x2 = cell.start * _WIDTH, cell.end * _WIDTH
        name = cell.path if cell.count == 1 else t("icicle.small", count=cell.count, path=cell.path)
        amount = quantity(cell.value, data.metric.unit)
        label = fit(cell.label, x2 - x - 12)
        share = percent(cell.value, data.total)
        values.append({
            "x": x,
            "x2": max(x2 - 1.5, x + 0.5),
            "y": cell.depth * _ROW,
            "c": f"var(--h{order[cell.hue] % HUES})" if cell.count == 1 else "var(--hatch)",
            "k": keyed(cell.key if cell.count == 1 else "", f"{name}: {amount}, {share}"),
            "t": label,
            "s": share if label and x2 - x > 58 else "",
        })  # fmt: skip
    height = max(data.rows, 1) * _ROW
    spec = {
        "width": _WIDTH,
        "height": height,
        "padding": 1,
        "data": [
            {"name": "cells", "values": values},
            *({"name": field, "values": [v for v in values if v[field]]} for field in ("t", "s")),
        ],
        "marks": [
            {
                "type": "rect",
                "from": {"data": "cells"},
                "encode": {"enter": {
                    "x": {"field": "x"}, "x2": {"field": "x2"}, "y": {"field": "y"},
                    "height": {"value": _ROW - _GAP}, "fill": {"field": "c"},
                    "description": {"field": "k"},
                }},
            },
            *(
                {
                    "type": "text",
                    "from": {"data": field},
                    "encode": {"enter": {
                        "x": {"field": "x", "offset": 6}, "y": {"field": "y", "offset": dy},
                        "text": {"field": field}, "fill": {"value": colour}, "fontSize": {"value": size},
                        "aria": {"value": False},
                    }},
                }
                for field, dy, colour, size in (("t", 14, "var(--ink)", 12), ("s", 27, "var(--soft)", 11))
            ),
        ],
    }  # fmt: skip
    return draw(spec, label=t("icicle.label", metric=t(f"metric.{data.metric.key}")), css_class="wide")
