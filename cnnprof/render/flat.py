"""Exact, flat text: CSV of every layer, Markdown for pull requests and wikis."""

from __future__ import annotations

import csv
import io

from cnnprof.profile import Layer, Profile
from cnnprof.render.quantities import percent, plain, shape, si
from cnnprof.render.rollup import Selection
from cnnprof.render.summary import header_line, summary_pairs

__all__ = ["COLUMNS", "to_csv", "to_markdown"]

COLUMNS = (
    "name", "kind", "op_type", "scope", "output_shape", "output_dtype", "repeat", "macs", "flops",
    "mac", "add", "mul", "cmp", "div", "transcendental", "parameters", "parameter_bytes",
    "activation_elements", "activation_bytes", "bytes_read", "bytes_written", "arithmetic_intensity",
    "share_of_macs", "time_formula", "time_numbers", "unknown",
)  # fmt: skip


def to_csv(profile: Profile) -> str:
    """One line a layer, exact integers, an empty cell where a cost is unknown (``unknown`` says why).

    A name that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    total = profile.totals["macs"]
    for layer in profile.layers:
        writer.writerow(_defused(value) for value in _values(layer, total))
    return out.getvalue()


def to_markdown(profile: Profile, selection: Selection) -> str:
    """A table of the selected rows and the summary as a list."""
    total = profile.totals["macs"]
    lines = [
        f"**{_escape(header_line(profile))}**",
        "",
        "| layer | kind | output | parameters | MACs | share |",
        "|---|---|---|--:|--:|--:|",
    ]
    for row in selection.rows:
        macs = "?" if row.unknown == row.layers else si(row.macs)
        lines.append(
            f"| {_escape(plain(row.name))} | {_escape(plain(row.kind))} | {shape(row.output_shape)} "
            f"| {si(row.parameters)} | {macs} | {percent(row.macs, total)} |"
        )
    if selection.rest is not None:
        rest = selection.rest
        lines.append(
            f"| … {rest.layers} more ops | | | {si(rest.parameters)} | {si(rest.macs)} | {percent(rest.macs, total)} |"
        )
    lines += ["", *(f"- {label}: {_escape(text)}" for label, text in summary_pairs(profile))]
    return "\n".join(lines) + "\n"


def _values(layer: Layer, total: int) -> list[object]:
    output = layer.outputs[0] if layer.outputs else {}
    work = layer.work or {}
    formula = layer.time_formula or {}
    return [
        layer.name,
        layer.kind,
        layer.op_type,
        layer.scope,
        "x".join(map(str, output["shape"])) if "shape" in output else None,
        output.get("dtype"),
        layer.repeat,
        layer.macs,
        layer.flops,
        *(work.get(part) for part in ("mac", "add", "mul", "cmp", "div", "transcendental")),
        layer.parameters,
        layer.parameter_bytes,
        layer.activation_elements,
        layer.activation_bytes,
        layer.bytes_read,
        layer.bytes_written,
        layer.arithmetic_intensity,
        layer.macs / total if layer.macs is not None and total else None,
        formula.get("symbols"),
        formula.get("numbers"),
        layer.unknown,
    ]


def _defused(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _escape(text: str) -> str:
    """Names are data in Markdown too: no table breaks, no HTML, no emphasis."""
    for char in "\\|`*_[]":
        text = text.replace(char, f"\\{char}")
    return text.replace("<", "&lt;").replace(">", "&gt;")
