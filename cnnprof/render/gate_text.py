"""The gate's report as text: the verdict word first, what is wrong before what holds."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.gate.verdict import Failure, Finding, Report, Status, Verdict
from cnnprof.render.gate_diff import why_lines
from cnnprof.render.quantities import plain

__all__ = ["to_text"]

_ORDER = (Status.FAIL, Status.UNDECIDED, Status.WARN, Status.PASS)


def to_text(report: Report, *, every: bool = False) -> str:
    """Lines for a person; ``every`` also lists the rules that hold of models that hold."""
    lines = [report.headline]
    for failure in report.failures:
        lines += ["", *_failure(failure)]
    for verdict in sorted(report.verdicts, key=lambda v: _ORDER.index(v.status)):
        if verdict.status is Status.PASS and not every:
            lines.append(f"pass  {_title(verdict)}: {_summary(verdict)}")
            lines += [f"      {hint}" for hint in dict.fromkeys(_hints(verdict))]
        else:
            lines += ["", *_verdict(verdict)]
        if verdict.since is not None:
            lines.append(f"      broken since {plain(str(verdict.since))}")
        if verdict.diff is not None and verdict.diff.moved:
            lines += [f"      {line}" for line in why_lines(verdict.diff)]
    return "\n".join(lines) + "\n"


def _verdict(verdict: Verdict) -> Iterator[str]:
    word = "error" if verdict.status is Status.UNDECIDED else verdict.status.value
    yield f"{word:5} {_title(verdict)}"
    width = max((len(finding.rule) for finding in verdict.findings), default=0)
    for finding in sorted(verdict.findings, key=lambda f: _ORDER.index(f.status)):
        yield from _finding(finding, width)


def _finding(finding: Finding, width: int) -> Iterator[str]:
    word = "error" if finding.status is Status.UNDECIDED else finding.status.value
    place = f"  [{finding.origin.place}]" if finding.status is not Status.PASS else ""
    yield f"  {word:5} {plain(finding.rule):{width}}  {plain(finding.message)}{place}"
    indent = " " * (width + 10)
    if finding.layers and finding.status is not Status.PASS:
        names = ", ".join(plain(name) for name in finding.layers[:5])
        more = f" and {len(finding.layers) - 5} more" if len(finding.layers) > 5 else ""
        yield f"{indent}layers: {names}{more}"
    if finding.hint:
        yield f"{indent}{plain(finding.hint)}"


def _failure(failure: Failure) -> Iterator[str]:
    yield f"error {plain(failure.budget)} · {plain(failure.model)}"
    yield f"  error model  {plain(failure.message)}"
    if failure.hint:
        yield f"               {plain(failure.hint)}"


def _hints(verdict: Verdict) -> Iterator[str]:
    for finding in verdict.findings:
        if finding.hint:
            yield f"{plain(finding.rule)}: {plain(finding.hint)}"


def _title(verdict: Verdict) -> str:
    new = " (new model)" if verdict.new else ""
    return f"{plain(verdict.budget)} · {plain(verdict.model)}{new}"


def _summary(verdict: Verdict) -> str:
    count = len(verdict.findings)
    return f"{count} {'limit holds' if count == 1 else 'limits hold'}"
