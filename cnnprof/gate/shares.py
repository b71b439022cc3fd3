"""Limits on layers: the sum or each of those that a glob matches, as an amount or a share of the total."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from fractions import Fraction

from cnnprof.gate.budget import LayerLimit, Level
from cnnprof.gate.metrics import LAYER_METRICS, METRICS, Missing
from cnnprof.gate.quantity import Dimension, show
from cnnprof.gate.verdict import Finding, Status
from cnnprof.profile import Layer, Profile

__all__ = ["check_layers", "matching"]


def matching(profile: Profile, pattern: str) -> list[Layer]:
    """Layers whose name or scope matches the glob, or that stand inside a matching scope ("layer4")."""
    found = []
    for layer in profile.layers:
        parts = layer.scope.split("/") if layer.scope else []
        scopes = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if any(fnmatchcase(name, pattern) for name in (layer.name, *scopes)):
            found.append(layer)
    return found


def check_layers(profile: Profile, rule: LayerLimit) -> Iterator[Finding]:
    """One finding: the sum's, or the worst layer's."""
    metric, read = METRICS[rule.metric], LAYER_METRICS[rule.metric]
    layers = matching(profile, rule.pattern)
    expected = _expected(rule)
    if not layers:
        names = ", ".join(layer.name for layer in profile.layers[:3])
        yield _undecided(rule, expected, f"no layer matches {rule.pattern!r}", f"layers are named like: {names}", 2)
        return
    values = [(layer, read(layer)) for layer in layers]
    unknown = [layer.name for layer, value in values if value is None]
    known = [(layer, value) for layer, value in values if value is not None]
    named: tuple[str, ...]
    if rule.each:
        layer, amount = max(known, key=lambda row: row[1], default=(layers[0], 0))
        where, named = f"{layer.name}: ", (layer.name,)
    else:
        amount = sum(value for _, value in known)
        where, named = "", tuple(layer.name for layer, _ in sorted(known, key=lambda row: -row[1])[:20])
    limit: int | Fraction
    value: int | Fraction
    if rule.share is None:
        assert rule.maximum is not None
        limit, value, dimension = rule.maximum, amount, metric.dimension
    else:
        total = metric.read(profile)
        if isinstance(total, Missing):
            yield _undecided(rule, expected, total.reason, total.hint, 3)
            return
        limit, dimension = rule.share, Dimension.SHARE
        value = Fraction(amount) / Fraction(total) if total else Fraction(0)
    holds = value <= limit
    found = f"{where}{'at least ' if unknown else ''}{show(value, dimension)}"
    if rule.share is not None:
        found += f" ({show(amount, metric.dimension)})"
    status = Status.PASS if holds else Status.WARN if rule.level is Level.WARN else Status.FAIL
    yield Finding(
        rule=rule.id, status=status, level=rule.level, origin=rule.origin, expected=expected, found=found,
        dimension=dimension, limit=_plain(limit), value=_plain(value), layers=() if holds else named,
    )  # fmt: skip


def _expected(rule: LayerLimit) -> str:
    word = {"macs": "MACs", "flops": "FLOPs"}.get(rule.metric, rule.metric)
    who = "each layer" if rule.each else "layers"
    if rule.pattern != "*":
        who += f" matching {rule.pattern!r}"
    if rule.share is not None:
        return f"{who} to take at most {show(rule.share, Dimension.SHARE)} of all {word}"
    return f"{who} to take at most {show(rule.maximum, METRICS[rule.metric].dimension)} {word}"


def _undecided(rule: LayerLimit, expected: str, reason: str, hint: str, exit_code: int) -> Finding:
    return Finding(
        rule=rule.id, status=Status.UNDECIDED, level=rule.level, origin=rule.origin, expected=expected,
        found=reason, hint=hint, exit_code=exit_code,
    )  # fmt: skip


def _plain(value: int | Fraction) -> float:
    return value.numerator if value.denominator == 1 else float(value)
