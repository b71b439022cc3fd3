"""The gate's heart: ``check(profile, budget, baseline) -> Verdict``, pure.

A limit on something that the profile doesn't hold is undecided, never a pass; while an operator's cost is unknown,
the coverage rule fails unless the budget states a lower one, and totals are then lower bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from fractions import Fraction

from cnnprof.errors import CnnprofError
from cnnprof.gate.baseline import BaselineEntry, inputs_text
from cnnprof.gate.budget import (
    Budget,
    CoverageLimit,
    FieldLimit,
    Forbidden,
    IncreaseLimit,
    LayerLimit,
    Level,
    Limit,
    Rule,
)
from cnnprof.gate.diff import Diff, diff_nodes
from cnnprof.gate.fields import check_field
from cnnprof.gate.metrics import METRICS, Missing, coverage_of, depends_on_work
from cnnprof.gate.nodes import COSTS, costed, nodes_of
from cnnprof.gate.quantity import Dimension, exact_text, show
from cnnprof.gate.shares import check_layers
from cnnprof.gate.verdict import Finding, Status, Verdict
from cnnprof.profile import Profile

__all__ = ["check", "explain"]

_UPDATE = "run: cnnprof baseline update (and commit the file), or compare with git: --baseline-ref origin/main"
_LOOP = "and a loop of unknown length may add to it"
_LOOP_HINT = "export the model with a fixed trip count, or budget the loop's body as a model of its own"


def check(
    profile: Profile,
    budget: Budget,
    baseline: BaselineEntry | None = None,
    *,
    model: str | None = None,
    new: bool = False,
    problem: CnnprofError | None = None,
    why: bool = False,
) -> Verdict:
    """Hold ``profile`` against ``budget``.

    ``baseline`` is what relative rules compare with; ``new`` says that there is none because the model is
    new (relative rules then hold); ``problem`` why there is none. With ``why`` the verdict carries the
    layers that moved since the baseline.
    """
    findings: list[Finding] = []
    for rule in _applicable(budget):
        match rule:
            case Limit():
                findings.append(_limit(profile, rule))
            case IncreaseLimit():
                findings.append(_increase(profile, rule, baseline, new, problem))
            case LayerLimit():
                findings.extend(check_layers(profile, rule))
            case CoverageLimit():
                findings.append(_coverage(profile, rule))
            case FieldLimit():
                findings.extend(check_field(profile, rule))
            case Forbidden():
                findings.append(_forbidden(profile, rule))
    metrics = {key: metric.read(profile) for key, metric in METRICS.items()}
    return Verdict(
        budget=budget.name,
        model=model or str(profile.model["reference"]),
        findings=tuple(findings),
        metrics={key: value for key, value in metrics.items() if not isinstance(value, Missing)},
        before=baseline.metrics if baseline else {},
        diff=explain(profile, baseline) if why and baseline else None,
        new=new,
    )


def explain(profile: Profile, baseline: BaselineEntry) -> Diff:
    """The layers that moved since the baseline, which keeps only those that cost something."""
    metrics = baseline.metrics
    totals: dict[str, tuple[int, int]] = {}
    for key in COSTS:
        value = METRICS[key].read(profile)
        if key in metrics and not isinstance(value, Missing):
            totals[key] = (int(metrics[key]), int(value))
    return diff_nodes(
        baseline.layers, costed(nodes_of(profile)), totals=totals, names=("baseline", profile.name),
        complete=profile.complete,
    )  # fmt: skip


def _applicable(budget: Budget) -> Iterator[Rule]:
    """All rules; the unstated coverage rule only where a limit depends on every operator's cost."""
    needs_work = any(
        isinstance(rule, (Limit, IncreaseLimit, LayerLimit)) and depends_on_work(rule.metric) for rule in budget.rules
    )
    for rule in budget.rules:
        if not isinstance(rule, CoverageLimit) or rule.stated or needs_work:
            yield rule


def broken(rule: Rule) -> Status:
    """What a broken rule of this level is."""
    return Status.WARN if rule.level is Level.WARN else Status.FAIL


def _limit(profile: Profile, rule: Limit) -> Finding:
    metric = METRICS[rule.metric]
    expected = f"at most {show(rule.maximum, metric.dimension)}"
    value = metric.read(profile)
    if isinstance(value, Missing):
        return undecided(rule, expected, value.reason, value.hint, 3)
    holds = _at_most(value, rule.maximum)
    found = f"{_bound(profile, rule.metric)}{show(value, metric.dimension)}"
    if holds and _open_ended(profile, rule.metric):
        return undecided(rule, expected, f"{found}, {_LOOP}", _LOOP_HINT, 3)
    if not holds and rule.maximum:
        found += f", {_over(value, rule.maximum)} over"
    return Finding(
        rule=rule.id, status=Status.PASS if holds else broken(rule), level=rule.level, origin=rule.origin,
        expected=expected, found=found, dimension=metric.dimension,
        limit=_plain(rule.maximum), value=value,
    )  # fmt: skip


def _increase(
    profile: Profile,
    rule: IncreaseLimit,
    baseline: BaselineEntry | None,
    new: bool,
    problem: CnnprofError | None,
) -> Finding:
    metric = METRICS[rule.metric]
    allowed = "no more" if rule.ratchet or not _grows(rule) else f"at most {rule.increase} more"
    expected = f"{allowed} {_word(rule.metric)} than the baseline"
    value = metric.read(profile)
    if isinstance(value, Missing):
        return undecided(rule, expected, value.reason, value.hint, 3)
    if new:
        return Finding(
            rule=rule.id, status=Status.PASS, level=rule.level, origin=rule.origin, expected=expected,
            found=f"{show(value, metric.dimension)} in a new model", dimension=metric.dimension, value=value,
        )  # fmt: skip
    if problem is not None:
        return undecided(rule, expected, problem.message, problem.hint or _UPDATE, problem.exit_code)
    if baseline is None:
        return undecided(rule, expected, "no baseline for this model", _UPDATE, 2)
    if baseline.inputs != inputs_text(profile):
        reason = f"inputs {', '.join(inputs_text(profile))}, the baseline's were {', '.join(baseline.inputs)}"
        return undecided(rule, expected, reason, _UPDATE, 2)
    before = baseline.metrics.get(rule.metric)
    if before is None:
        return undecided(rule, expected, f"the baseline has no {rule.metric}", _UPDATE, 2)
    limit = rule.increase.limit(before)
    holds = _at_most(value, limit)
    found = f"{_bound(profile, rule.metric)}{show(value, metric.dimension)}, {change_text(before, value)}"
    if holds and _open_ended(profile, rule.metric):
        return undecided(rule, expected, f"{found}, {_LOOP}", _LOOP_HINT, 3)
    hint = None
    if holds and rule.ratchet and value < before:
        hint = "better than the baseline: lock it in with cnnprof baseline update"
    elif not holds:
        hint = "see which layers moved with --why; if it is meant: cnnprof baseline update" + (
            " --allow-increase" if rule.ratchet else ""
        )
    return Finding(
        rule=rule.id, status=Status.PASS if holds else broken(rule), level=rule.level, origin=rule.origin,
        expected=f"{expected} ({exact_text(before, metric.dimension)})", found=found,
        dimension=metric.dimension, limit=_plain(limit), value=value, baseline=before, hint=hint,
    )  # fmt: skip


def _coverage(profile: Profile, rule: CoverageLimit) -> Finding:
    known, ops = coverage_of(profile)
    share = Fraction(known, ops) if ops else Fraction(1)
    expected = f"the cost of at least {show(rule.minimum, Dimension.SHARE)} of operators to be known"
    found = f"{known} of {ops} ({show(share, Dimension.SHARE)})"
    layers: list[str] = []
    hint = None
    if known < ops:
        groups = profile.coverage["unknown"]
        found += ", unknown: " + ", ".join(f"{g['op_type']} ×{g['count']}" for g in groups[:5])
        layers = [name for group in groups for name in group["layers"]]
        hint = 'totals are lower bounds; to accept that, state it: min_coverage = "90%"'
    status = Status.PASS if share >= rule.minimum else broken(rule)
    return Finding(
        rule=rule.id, status=status, level=rule.level, origin=rule.origin, expected=expected, found=found,
        dimension=Dimension.SHARE, limit=float(rule.minimum), value=float(share), layers=tuple(layers[:20]),
        hint=hint if status is not Status.PASS else None,
    )  # fmt: skip


def _forbidden(profile: Profile, rule: Forbidden) -> Finding:
    seen: dict[str, list[str]] = {}
    for layer in profile.layers:
        if rule.what == "ops":
            names = [layer.kind, layer.op_type, layer.op_type.partition(":")[2]]
            names = [name for name in names if _matches(name, rule.patterns)][:1]
            names = [layer.op_type] if names else []
        else:
            names = [str(out["dtype"]) for out in layer.outputs if _matches(str(out["dtype"]), rule.patterns)]
        for name in dict.fromkeys(names):
            seen.setdefault(name, []).append(layer.name)
    if rule.what == "dtypes":
        for tensor in profile.inputs:
            if _matches(str(tensor["dtype"]), rule.patterns):
                seen.setdefault(str(tensor["dtype"]), []).append(f"input {tensor['name']}")
    layers = tuple(name for rows in seen.values() for name in rows)
    found = ", ".join(f"{name} ×{len(rows)}" for name, rows in seen.items()) or "none"
    word = "operators" if rule.what == "ops" else "dtypes"
    if layers:
        found += f", first at {layers[0]}"
    return Finding(
        rule=rule.id, status=broken(rule) if layers else Status.PASS, level=rule.level, origin=rule.origin,
        expected=f"none of the {word} {', '.join(rule.patterns)}", found=found, layers=layers[:20],
    )  # fmt: skip


def undecided(rule: Rule, expected: str, reason: str, hint: str, exit_code: int) -> Finding:
    """A rule that can't be answered: an error that says what to run, never a pass."""
    return Finding(
        rule=rule.id, status=Status.UNDECIDED, level=rule.level, origin=rule.origin, expected=expected,
        found=reason, hint=hint, exit_code=exit_code,
    )  # fmt: skip


def change_text(before: float, value: float) -> str:
    """``+2.3% (+94,371,840)``, or "unchanged"."""
    if value == before:
        return "unchanged"
    delta = value - before
    amount = f"{delta:+,}" if isinstance(delta, int) else f"{delta:+.4g}"
    return f"{100 * delta / before:+.3g}% ({amount})" if before else amount


def _at_most(value: float, limit: int | Fraction) -> bool:
    """Counts are compared exactly; a float (seconds) as a float, for "4 ms" is no sum of powers of two."""
    return value <= limit if isinstance(value, int) else value <= float(limit)


def _grows(rule: IncreaseLimit) -> bool:
    return bool(rule.increase.relative or rule.increase.absolute)


def _word(metric: str) -> str:
    return {"macs": "MACs", "flops": "FLOPs"}.get(metric, metric)


def _bound(profile: Profile, metric: str) -> str:
    lower = depends_on_work(metric) and (not profile.complete or _open_ended(profile, metric))
    return "at least " if lower else ""


def _open_ended(profile: Profile, metric: str) -> bool:
    """True where every operator is known and yet there is no upper bound: a loop of unknown length. (Unknown
    operators leave none either; for them the coverage rule speaks.)"""
    ends = (profile.bounds or {}).values()
    return profile.complete and depends_on_work(metric) and any(upper is None for _, upper in ends)


def _over(value: float, maximum: int | Fraction) -> str:
    share = 100 * (Fraction(value) - maximum) / maximum
    return f"{float(share):.3g}%"


def _plain(value: int | Fraction) -> float:
    return value.numerator if value.denominator == 1 else float(value)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
