"""The comparison as plain text: one line a model, the first as the yardstick."""

from __future__ import annotations

from collections.abc import Sequence

from cnnprof.render.quantities import nbytes, si
from cnnprof.render.views.compare import CompareRow

__all__ = ["compare_text"]


def compare_text(rows: Sequence[CompareRow]) -> str:
    """Columns aligned; behind MACs and parameters the ratio to the first model."""
    first = rows[0]
    table = [("model", "MACs", "", "parameters", "", "activations", "peak memory", "field")]
    for row in rows:
        bound = "" if row.complete else "≥ "
        table.append((
            row.name,
            f"{bound}{si(row.macs)}",
            _ratio(row.macs, first.macs) if row is not first else "",
            si(row.parameters),
            _ratio(row.parameters, first.parameters) if row is not first else "",
            si(row.activations),
            "-" if row.peak_bytes is None else nbytes(row.peak_bytes),
            "-" if row.field is None else f"{row.field:g}{' (then all)' if row.field_everything else ''}",
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 7) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
    return "\n".join(lines) + "\n"


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}×" if base else ""
