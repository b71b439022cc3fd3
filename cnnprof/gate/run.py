"""One run of the gate: analyse every target, find its past, hold it against its budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cnnprof.errors import CnnprofError
from cnnprof.gate.baseline import Baseline, BaselineEntry, entry_of
from cnnprof.gate.budget import IncreaseLimit
from cnnprof.gate.check import check
from cnnprof.gate.git import Commit
from cnnprof.gate.history import Before, Run, from_file, from_revision, since
from cnnprof.gate.plan import Target
from cnnprof.gate.runner import Result
from cnnprof.gate.verdict import Failure, Report, Status, Verdict

__all__ = ["gate", "measure", "raised"]


def gate(
    targets: Sequence[Target],
    run: Run,
    *,
    baseline: Path | None = None,
    revision: str | None = None,
    why: bool = False,
) -> Report:
    """Check every target. ``revision`` takes the past from git, else ``baseline`` names the file.

    Models that can't be analysed become failures beside the verdicts of the others.
    Raises :class:`~cnnprof.errors.UsageError` for a revision that git doesn't know.
    """
    results = run([target.job for target in targets])
    before = _before(targets, run, baseline, revision, why)
    verdicts: list[Verdict] = []
    failures: list[Failure] = []
    for target, past in zip(targets, before, strict=True):
        result = results[target.job.key]
        if isinstance(result, CnnprofError):
            failures.append(
                Failure.of(result, budget=target.budget.name, model=target.model, origin=target.budget.origin)
            )
            continue
        verdict = check(
            result,
            target.budget,
            past.entry,
            model=target.model,
            new=past.new,
            problem=past.problem,
            why=why,
        )
        if why and verdict.status is Status.FAIL:
            verdict = dataclasses.replace(verdict, since=_since(target, past, run))
        verdicts.append(verdict)
    return Report(verdicts=tuple(verdicts), failures=tuple(failures))


def _since(target: Target, past: Before, run: Run) -> Commit | None:
    def broken(result: Result) -> bool:
        if isinstance(result, CnnprofError):
            return False
        return check(result, target.budget, past.entry, new=past.new, problem=past.problem).status is Status.FAIL

    return since(target, run, broken)


def measure(targets: Sequence[Target], run: Run) -> tuple[Baseline, tuple[Failure, ...]]:
    """A fresh baseline of every target, and the models that can't be analysed."""
    results = run([target.job for target in targets])
    entries: dict[tuple[str, str], BaselineEntry] = {}
    failures: list[Failure] = []
    for target in targets:
        result = results[target.job.key]
        if isinstance(result, CnnprofError):
            failures.append(
                Failure.of(result, budget=target.budget.name, model=target.model, origin=target.budget.origin)
            )
        else:
            entries[target.budget.name, target.model] = entry_of(result)
    return Baseline(entries), tuple(failures)


def raised(targets: Sequence[Target], old: Baseline, new: Baseline) -> list[tuple[Target, str, float, float]]:
    """Ratcheted metrics that ``new`` would raise: (target, metric, old value, new value)."""
    found = []
    for target in targets:
        past = old.get(target.budget.name, target.model)
        now = new.get(target.budget.name, target.model)
        if past is None or now is None or past.inputs != now.inputs:
            continue
        for rule in target.budget.rules:
            if isinstance(rule, IncreaseLimit) and rule.ratchet and rule.metric in now.metrics:
                before, after = past.metrics.get(rule.metric), now.metrics[rule.metric]
                if before is not None and after > before:
                    found.append((target, rule.metric, before, after))
    return found


def _before(
    targets: Sequence[Target], run: Run, baseline: Path | None, revision: str | None, why: bool
) -> list[Before]:
    needed = any(target.budget.needs_baseline for target in targets)
    if revision is not None:
        return from_revision(revision, targets, run)
    if baseline is None or not (needed or why or baseline.exists()):
        return [Before() for _ in targets]
    return from_file(baseline, targets, needed=needed)
