"""What the gate says: findings by rule, verdicts by model, one report with one exit code. Records only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

from cnnprof.errors import CnnprofError
from cnnprof.gate.budget import Level, Origin
from cnnprof.gate.diff import Diff
from cnnprof.gate.git import Commit
from cnnprof.gate.quantity import Dimension

__all__ = ["Failure", "Finding", "Report", "Status", "Verdict"]

SCHEMA = "cnnprof.verdict/1"


class Status(Enum):
    """How a rule came out. UNDECIDED: what it asks can't be answered (no baseline, section not there)."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule on one model. ``expected`` and ``found`` are for people; ``limit`` and ``value`` the numbers
    (counts, bytes, pixels; seconds as float), None where the rule has none. ``baseline`` is the old value of a
    relative rule. ``exit_code`` says what an undecided rule means: 2 config, 3 model, 5 schema."""

    rule: str
    status: Status
    level: Level
    origin: Origin
    expected: str
    found: str
    dimension: Dimension | None = None
    limit: float | None = None
    value: float | None = None
    baseline: float | None = None
    layers: tuple[str, ...] = ()
    hint: str | None = None
    exit_code: int = 0

    @property
    def message(self) -> str:
        """``expected at most 600,000,000, found 712,345,678``."""
        if self.status is Status.UNDECIDED:
            return f"expected {self.expected}, can't tell: {self.found}"
        return f"expected {self.expected}, found {self.found}"

    def to_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "rule": self.rule,
            "status": self.status.value,
            "level": self.level.value,
            "expected": self.expected,
            "found": self.found,
            "where": {"key": self.origin.key, "file": self.origin.file, "line": self.origin.line},
        }
        for key in ("limit", "value", "baseline", "hint"):
            if getattr(self, key) is not None:
                entry[key] = _number(getattr(self, key))
        if self.layers:
            entry["layers"] = list(self.layers)
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One model under one budget. ``diff`` is there where a baseline was and a why was asked for; ``since`` where
    a why was asked for and git knows from which commit on the budget is broken."""

    budget: str
    model: str
    findings: tuple[Finding, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    diff: Diff | None = None
    new: bool = False
    since: Commit | None = None

    def of(self, *statuses: Status) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status in statuses)

    @property
    def status(self) -> Status:
        """The worst of the findings."""
        for status in (Status.FAIL, Status.UNDECIDED, Status.WARN):
            if self.of(status):
                return status
        return Status.PASS

    def to_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "budget": self.budget,
            "model": self.model,
            "status": self.status.value,
            "new": self.new,
            "metrics": {key: _number(value) for key, value in sorted(self.metrics.items())},
            "findings": [finding.to_dict() for finding in self.findings],
        }
        if self.before:
            entry["baseline"] = {key: _number(value) for key, value in sorted(self.before.items())}
        if self.since is not None:
            entry["since"] = {"commit": self.since.id, "date": self.since.date, "subject": self.since.subject,
                              "or_earlier": self.since.earlier}  # fmt: skip
        if self.diff is not None:
            entry["diff"] = self.diff.to_dict()
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A model that a budget names and that couldn't be analysed."""

    budget: str
    model: str
    message: str
    hint: str | None = None
    exit_code: int = 3
    origin: Origin | None = None

    @classmethod
    def of(cls, error: CnnprofError, *, budget: str, model: str, origin: Origin | None) -> Failure:
        return cls(
            budget=budget, model=model, message=error.message, hint=error.hint,
            exit_code=error.exit_code, origin=origin,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "budget": self.budget,
            "model": self.model,
            "message": self.message,
            "exit_code": self.exit_code,
        }
        return entry if self.hint is None else {**entry, "hint": self.hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything one run of the gate found."""

    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if a budget is broken, whatever else went wrong; else the first of config (2), schema (5), dependency
        (4), model (3) problems; else 0."""
        if any(verdict.of(Status.FAIL) for verdict in self.verdicts):
            return 1
        codes = {finding.exit_code for v in self.verdicts for finding in v.of(Status.UNDECIDED)}
        codes |= {failure.exit_code for failure in self.failures}
        return next((code for code in (2, 5, 4, 3) if code in codes), 0)

    @property
    def word(self) -> str:
        """The verdict in one word: "pass", "warn", "fail" or "error" (nothing broken, but not all decided)."""
        if self.exit_code:
            return "fail" if self.exit_code == 1 else "error"
        return "warn" if any(verdict.of(Status.WARN) for verdict in self.verdicts) else "pass"

    @property
    def headline(self) -> str:
        """``fail: 1 of 3 budget checks is broken, 1 model can't be analysed``."""
        total = len(self.verdicts) + len(self.failures)
        parts = []
        for status, one, many in (
            (Status.FAIL, "is broken", "are broken"),
            (Status.UNDECIDED, "can't be decided", "can't be decided"),
            (Status.WARN, "warns", "warn"),
        ):
            count = sum(1 for verdict in self.verdicts if verdict.status is status)
            if count and total == 1:
                parts.append(f"the budget {one}")
            elif count:
                parts.append(f"{count} of {total} budget checks "
                             f"{one if count == 1 else many}")  # fmt: skip
        if self.failures:
            count = len(self.failures)
            parts.append(f"{count} {'model' if count == 1 else 'models'} can't be analysed")
        if not parts:
            parts.append("the budget holds" if total == 1 else f"all {total} budget checks hold")
        return f"{self.word}: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "verdict": self.word,
            "exit_code": self.exit_code,
            "checks": [verdict.to_dict() for verdict in self.verdicts],
            "failures": [failure.to_dict() for failure in self.failures],
        }


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value
