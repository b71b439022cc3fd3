"""A diff as text and Markdown: the verdict word, the totals, the layers that explain them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cnnprof.gate.diff import Change, Diff, LayerChange
from cnnprof.render.gate_escape import cell
from cnnprof.render.quantities import plain

__all__ = ["diff_markdown", "diff_text", "why_lines"]

_SIGN = {Change.CHANGED: "~", Change.INSERTED: "+", Change.REMOVED: "-", Change.RENAMED: "="}
_WORDS = {
    "macs": "MACs",
    "flops": "FLOPs",
    "parameters": "parameters",
    "activation_bytes": "activation bytes",
    "bytes_moved": "bytes moved",
}


def diff_text(diff: Diff, *, every: bool = False, most: int = 40) -> str:
    """The whole diff for a person; ``every`` lists renamed layers and all rows."""
    lines = [diff.verdict, f"  {plain(diff.old)} → {plain(diff.new)}"]
    for key, (old, new) in diff.totals.items():
        if old != new:
            lines.append(f"  {_WORDS[key]:16}  {old:,} → {new:,}  ({_signed(new - old)}{_share(old, new)})")
    counts = ", ".join(f"{len(diff.of(c))} {c.value}" for c in Change if diff.of(c))
    lines += [f"  layers: {counts}", ""]
    lines += _moved(diff, len(diff.layers) if every else most)
    renamed = diff.of(Change.RENAMED)
    if renamed:
        lines.append(f"renamed, otherwise the same: {len(renamed)}")
        for layer in renamed if every else renamed[:5]:
            assert layer.old is not None
            lines.append(f"  = {plain(layer.old.name)} → {plain(layer.name)}")
        if not every and len(renamed) > 5:
            lines.append(f"  … {len(renamed) - 5} more (--all)")
    return "\n".join(lines).rstrip() + "\n"


def why_lines(diff: Diff, most: int = 10) -> list[str]:
    """The layers that moved, for ``--why``."""
    return [f"why: {diff.verdict} since the baseline", *_moved(diff, most)]


def _moved(diff: Diff, most: int) -> Iterator[str]:
    rows = diff.moved
    for layer in rows[:most]:
        yield f"  {_SIGN[layer.change]} {plain(layer.name)} ({plain(layer.node.kind)}): {plain(_effect(layer, diff))}"
        for what in layer.what:
            yield f"      {plain(what)}"
    if len(rows) > most:
        rest = sum(row.delta("macs") or 0 for row in rows[most:])
        yield f"  … {len(rows) - most} more, {_signed(rest)} MACs together"
    for key in diff.totals:
        if diff.aside(key):
            yield f"  {_WORDS[key]} of layers that are otherwise the same: {_signed(diff.aside(key))}"
        if diff.unexplained(key):
            yield f"  {_WORDS[key]} that no layer accounts for: {_signed(diff.unexplained(key))}"


def _effect(layer: LayerChange, diff: Diff) -> str:
    parts = [layer.change.value] if layer.change is not Change.CHANGED else []
    if layer.old is not None and layer.new is not None and layer.old.name != layer.new.name:
        parts.append(f"was {layer.old.name}")
    total = diff.change_of("macs") if "macs" in diff.totals else 0
    for key in ("macs", "parameters"):
        delta = layer.delta(key)
        if delta is None:
            parts.append(f"{_WORDS[key]} unknown")
        elif delta:
            share = f", {100 * delta / total:.0f}% of the change" if key == "macs" and total else ""
            parts.append(f"{_signed(delta)} {_WORDS[key]}{share}")
    flops = layer.delta("flops")
    if not any("MACs" in part for part in parts) and flops:
        parts.append(f"{_signed(flops)} FLOPs")
    return ", ".join(parts) or "same cost"


def diff_markdown(diff: Diff, *, most: int = 100) -> str:
    """For a comment or a page: totals, then the layers that moved."""
    lines = [f"**{cell(diff.verdict)}** ({cell(diff.old)} → {cell(diff.new)})", ""]
    changed = [(key, ends) for key, ends in diff.totals.items() if ends[0] != ends[1]]
    if changed:
        lines += ["| total | before | after | change |", "|---|--:|--:|--:|"]
        for key, (old, new) in changed:
            change = f"{_signed(new - old)}{_share(old, new)}"
            lines.append(f"| {_WORDS[key]} | {old:,} | {new:,} | {change} |")
        lines.append("")
    if diff.moved:
        lines += markdown_rows(diff, most)
    kinds = Counter(layer.change.value for layer in diff.layers)
    lines += ["", "Layers: " + ", ".join(f"{kinds[c.value]} {c.value}" for c in Change if kinds[c.value])]
    return "\n".join(lines).rstrip() + "\n"


def markdown_rows(diff: Diff, most: int) -> list[str]:
    """The table of layers that moved."""
    lines = ["| layer | what | change | MACs | parameters |", "|---|---|---|--:|--:|"]
    lines += [
        f"| {cell(layer.name)} | {cell(layer.node.kind)} | {layer.change.value}"
        f"{': ' if layer.what else ''}{cell('; '.join(layer.what))} "
        f"| {_signed(layer.delta('macs'))} | {_signed(layer.delta('parameters'))} |"
        for layer in diff.moved[:most]
    ]
    if len(diff.moved) > most:
        lines.append(f"| … {len(diff.moved) - most} more | | | | |")
    return lines


def _signed(value: int | None) -> str:
    return "?" if value is None else f"{value:+,}" if value else "0"


def _share(old: int, new: int) -> str:
    return f", {100 * (new - old) / old:+.3g}%" if old else ""
