"""Limits on the receptive field, read from a profile's ``receptive_field`` section or its layers' own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnnprof.gate.budget import FieldLimit, Level
from cnnprof.gate.quantity import Dimension
from cnnprof.gate.shares import matching
from cnnprof.gate.verdict import Finding, Status
from cnnprof.profile import Profile

__all__ = ["check_field"]

_RUN = "analyse the model again: cnnprof analyze MODEL --format json -o FILE runs every analysis"


def check_field(profile: Profile, rule: FieldLimit) -> Iterator[Finding]:
    """One finding per output (or matching layer) and input that breaks or can't answer; one for all if they hold.

    A *global* field sees everything: it meets every minimum and breaks every maximum.
    """
    rows = list(_rows(profile, rule))
    if not rows:
        reason = (
            f"no layer matching {rule.layer!r} has a receptive field"
            if rule.layer
            else "the profile has no receptive fields"
        )
        yield _finding(rule, Status.UNDECIDED, reason, hint=_RUN, exit_code=2 if rule.layer else 3)
        return
    bad = []
    for name, row in rows:
        sizes, whole = list(row["size"]), list(row["global"])
        shown = f"{name}: {_shown(sizes, whole)} of {row['input']}"
        if row.get("unknown") or any(s is None and not g for s, g in zip(sizes, whole, strict=True)):
            hint = "an operator on the way has no window rule; limit a layer before it with layer = GLOB"
            bad.append(_finding(rule, Status.UNDECIDED, f"{shown} (unknown)", hint=hint, exit_code=3))
        elif not _holds(sizes, whole, rule):
            status = Status.WARN if rule.level is Level.WARN else Status.FAIL
            bad.append(_finding(rule, status, shown, layers=(name,), value=_smallest(sizes)))
    if bad:
        yield from bad
    else:
        name, row = rows[0]
        shown = f"{name}: {_shown(row['size'], row['global'])} of {row['input']}"
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield _finding(rule, Status.PASS, shown + more, value=_smallest(row["size"]))


def _rows(profile: Profile, rule: FieldLimit) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if rule.layer is not None:
        for layer in matching(profile, rule.layer):
            section = layer.data.get("receptive_field")
            if section is not None:
                yield layer.name, section
                for other in section.get("other_inputs", ()):
                    yield layer.name, other
        return
    for name, rows in (profile.receptive_field or {}).get("outputs", {}).items():
        for row in rows:
            yield name, row


def _holds(sizes: list[int | None], whole: list[bool], rule: FieldLimit) -> bool:
    for axis, (size, is_global) in enumerate(zip(sizes, whole, strict=True)):
        low, high = _of(rule.minimum, axis), _of(rule.maximum, axis)
        if high is not None and (is_global or (size or 0) > high):
            return False
        if low is not None and not is_global and (size or 0) < low:
            return False
    return True


def _of(limit: tuple[int, ...] | None, axis: int) -> int | None:
    if limit is None:
        return None
    return limit[axis] if axis < len(limit) else limit[-1]


def _shown(sizes: list[int | None], whole: list[bool]) -> str:
    return "×".join("global" if g else "?" if s is None else str(s) for s, g in zip(sizes, whole, strict=True))


def _smallest(sizes: list[int | None]) -> int | None:
    return min((size for size in sizes if size is not None), default=None)


def _finding(rule: FieldLimit, status: Status, found: str, **more: Any) -> Finding:
    parts = []
    for word, limit in (("at least", rule.minimum), ("at most", rule.maximum)):
        if limit is not None:
            parts.append(f"{word} {'×'.join(map(str, limit))} px")
    return Finding(
        rule=rule.id, status=status, level=rule.level, origin=rule.origin,
        expected=f"a receptive field of {' and '.join(parts)}", found=found, dimension=Dimension.PIXELS,
        limit=float((rule.minimum or rule.maximum or (0,))[0]), **more,
    )  # fmt: skip
