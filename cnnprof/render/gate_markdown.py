"""The report as a pull request's comment: at most six columns, only what changed or is wrong, details folded,
under 60,000 characters, with a hidden marker so that the comment can be updated in place."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.gate.metrics import METRICS
from cnnprof.gate.quantity import exact_text
from cnnprof.gate.verdict import Finding, Report, Status, Verdict
from cnnprof.render.gate_diff import markdown_rows
from cnnprof.render.gate_escape import cell

__all__ = ["LIMIT", "MARKER", "to_markdown"]

MARKER = "<!-- cnnprof-gate -->"
LIMIT = 60_000
_ICONS = {Status.FAIL: "❌", Status.UNDECIDED: "❗", Status.WARN: "⚠️", Status.PASS: "✅"}
_HEAD = ["| | model | what | before | now | limit |", "|---|---|---|--:|--:|--:|"]
_MOST_ROWS = 200


def to_markdown(report: Report) -> str:
    """The comment. Rows and details that don't fit are counted, never cut in the middle."""
    lines = [MARKER, f"### {_icon(report)} cnnprof {cell(report.headline)}", ""]
    rows = [row for verdict in report.verdicts for row in _rows(verdict)]
    rows = [_failed_row(failure.model, failure.message) for failure in report.failures] + rows
    if rows:
        lines += _HEAD + rows[:_MOST_ROWS]
        if len(rows) > _MOST_ROWS:
            lines.append(f"| | … {len(rows) - _MOST_ROWS} more | | | | |")
    else:
        lines.append("Nothing changed.")
    text = "\n".join(lines)
    while len(text) > LIMIT - 2_000:  # names can be long: drop rows from the end, and say so
        lines = [*lines[:-2], "| | … more rows don't fit | | | | |"]
        text = "\n".join(lines)
    left = 0
    for block in _details(report):
        if len(text) + len(block) + 2 > LIMIT - 200:
            left += 1
        else:
            text += f"\n\n{block}"
    if left:
        text += f"\n\n{left} more details don't fit in a comment."
    return text + "\n"


def _icon(report: Report) -> str:
    return {"pass": "✅", "warn": "⚠️", "fail": "❌"}.get(report.word, "❗")


def _rows(verdict: Verdict) -> Iterator[str]:
    told: set[str] = set()
    for finding in verdict.of(Status.FAIL, Status.UNDECIDED, Status.WARN):
        told.add(finding.rule.rpartition(".")[2])
        yield _row(verdict, finding)
    for key, before in verdict.before.items():
        now = verdict.metrics.get(key)
        if key in told or now is None or now == before:
            continue
        dimension = METRICS[key].dimension
        limit = next((f.limit for f in verdict.findings if f.rule == key), None)
        yield (
            f"| {_ICONS[Status.PASS]} | {cell(verdict.model)} | {key} | {exact_text(before, dimension)} "
            f"| {exact_text(now, dimension)}{_change(before, now)} "
            f"| {'' if limit is None else exact_text(limit, dimension)} |"
        )


def _row(verdict: Verdict, finding: Finding) -> str:
    key = finding.rule.rpartition(".")[2]
    before = finding.baseline if finding.baseline is not None else verdict.before.get(key)
    dimension = finding.dimension
    if dimension is None or finding.value is None:
        shown, was, limit = cell(finding.found[:200]), "", ""
    else:
        shown = exact_text(finding.value, dimension)
        was = ""
        if before is not None and METRICS.get(key) is not None and METRICS[key].dimension is dimension:
            was, shown = exact_text(before, dimension), shown + _change(before, finding.value)
        limit = "" if finding.limit is None else exact_text(finding.limit, dimension)
    icon = _ICONS[finding.status]
    return f"| {icon} | {cell(verdict.model)} | {cell(finding.rule)} | {was} | {shown} | {limit} |"


def _failed_row(model: str, message: str) -> str:
    return f"| {_ICONS[Status.UNDECIDED]} | {cell(model)} | can't be analysed | | {cell(message[:200])} | |"


def _change(before: float, now: float) -> str:
    return f" ({100 * (now - before) / before:+.3g}%)" if before and now != before else ""


def _details(report: Report) -> Iterator[str]:
    for verdict in report.verdicts:
        lines = []
        for finding in verdict.of(Status.FAIL, Status.UNDECIDED, Status.WARN):
            lines.append(f"- **{cell(finding.rule)}**: {cell(finding.message)} ({cell(finding.origin.place)})")
            if finding.layers:
                lines.append(f"  - layers: {', '.join(cell(name) for name in finding.layers[:20])}")
            if finding.hint:
                lines.append(f"  - {cell(finding.hint)}")
        if verdict.since is not None:
            lines.append(f"- broken since {cell(str(verdict.since))}")
        if verdict.diff is not None and verdict.diff.moved:
            lines += ["", *markdown_rows(verdict.diff, 50)]
        if lines:
            title = f"{cell(verdict.budget)} · {cell(verdict.model)}"
            yield "\n".join([f"<details><summary>{title}</summary>", "", *lines, "", "</details>"])
