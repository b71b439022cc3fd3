"""The layer table's rows as HTML, small enough that 5,000 of them stay under the page's limit.

Cells and rows are left open, as HTML allows: the next one closes them.
"""

from __future__ import annotations

from html import escape

from markupsafe import Markup

from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import nbytes, seconds, shape, si
from cnnprof.render.views.layers import LayerTable, Line

__all__ = ["columns_of", "rows_html"]


def columns_of(table: LayerTable) -> list[tuple[str, str]]:
    """(translation key, "text" or "number") of each column."""
    columns = [
        ("layer", "text"), ("what", "text"), ("output", "text"), ("macs", "number"),
        ("parameters", "number"), ("activations", "number"), ("traffic", "number"),
    ]  # fmt: skip
    if table.with_field:
        columns.append(("field", "number"))
    if table.with_time:
        columns.append(("time", "number"))
    return columns


def rows_html(table: LayerTable, t: Translator) -> Markup:
    """One ``<tr>`` a line; everything that comes from the model is escaped."""
    return Markup("\n".join(_row(table, line, t) for line in table.lines))  # noqa: S704 - escaped below


def _row(table: LayerTable, line: Line, t: Translator) -> str:
    kind = " class=m" if line.is_module else " class=u" if line.uncounted else ""
    what = t("layers.module", count=line.layers) if line.is_module else line.what
    if line.is_module and line.uncounted:
        what += " · " + t("layers.uncounted", count=line.uncounted)
    if line.reason is not None:
        what = f"{line.what} · {t('layers.unknown', reason=line.reason)}"
    cells = [
        escape(what),
        "" if line.shape is None and line.is_module else shape(line.shape),
        _macs(line),
        si(line.parameters) if line.parameters else "",
        nbytes(line.activation_bytes) if line.activation_bytes != 0 else "",
        nbytes(line.bytes_moved) if line.bytes_moved != 0 else "",
    ]
    if table.with_field:
        cells.append(_field(line))
    if table.with_time:
        cells.append("" if line.latency_s is None else seconds(line.latency_s))
    return (
        f"<tr id={line.key} data-d={min(line.depth, 7)}{kind}><th scope=row>"
        f"<a href=#{line.key}>{escape(line.label)}</a>" + "".join(f"<td>{cell}" for cell in cells)
    )


def _macs(line: Line) -> str:
    if line.macs is None:
        return "?"
    text = si(line.macs) if line.macs else ""
    if line.formula is None or not text:
        return text
    symbols, numbers = line.formula
    return f"<span class=q tabindex=0>{text}<i>{escape(symbols)} = {escape(numbers)}</i></span>"


def _field(line: Line) -> str:
    if line.field is None:
        return ""
    sides = [f"{side:g}" for side in line.field.size if side is not None]
    text = sides[0] if len(set(sides)) == 1 and len(sides) > 1 else "×".join(sides)
    return f"{text} ∞".strip() if line.field.everything else text
