"""Activation checkpointing as a what-if on a training graph.

A checkpointed module keeps nothing between forward and backward but its inputs: what its ops saved is
dropped after the forward pass and computed again, by running those ops once more just before the module's
backward begins (``torch.utils.checkpoint`` around the module).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from cnnprof.analyses.memory.schedule import Category, Schedule, Step
from cnnprof.errors import UsageError

__all__ = ["checkpoint", "match_modules", "module_paths"]


def module_paths(schedule: Schedule) -> tuple[str, ...]:
    """Every module path that forward ops stand in, outer ones included, in order of first appearance."""
    found: dict[str, None] = {}
    for step in schedule.steps:
        if step.op.phase == "forward" and step.op.scope not in found:
            parts = step.op.scope.split("/")
            found.update(dict.fromkeys("/".join(parts[: n + 1]) for n in range(len(parts))))
    found.pop("", None)
    return tuple(found)


def match_modules(schedule: Schedule, globs: Iterable[str]) -> tuple[str, ...]:
    """The outermost modules that a glob names. ``*`` stops at no boundary; "." and "/" both separate.

    Raises :class:`UsageError` for a glob that names no module.
    """
    paths = module_paths(schedule)
    chosen: dict[str, None] = {}
    for glob in globs:
        wanted = glob.replace(".", "/")
        hits = [p for p in paths if fnmatchcase(p, wanted) and p.count("/") == wanted.count("/")]
        hits = hits or [p for p in paths if fnmatchcase(p, wanted)]
        if not hits:
            some = ", ".join(paths[:4]) or "none"
            raise UsageError(f"--checkpoint {glob}: matches no module", f"modules of this model: {some}, ...")
        chosen.update(dict.fromkeys(hits))
    inner = [p for p in chosen if any(p.startswith(f"{q}/") for q in chosen)]
    return tuple(p for p in chosen if p not in inner)


def checkpoint(schedule: Schedule, modules: Iterable[str]) -> Schedule:
    """The schedule with each of ``modules`` (paths) checkpointed. Liveness is by last reader."""
    schedule = schedule.by_last_reader()
    for module in modules:
        schedule = _checkpoint_one(schedule, module)
    return schedule


def _checkpoint_one(schedule: Schedule, module: str) -> Schedule:
    steps, storages = schedule.steps, list(schedule.storages)
    inside = [at for at, s in enumerate(steps) if s.op.phase == "forward" and _within(s.op.scope, module)]
    later = [at for at, s in enumerate(steps) if s.op.phase != "forward"]
    if not inside or not later:
        return schedule
    first_use: dict[int, int] = {}
    for at, step in enumerate(steps):
        for storage in step.touches:
            first_use.setdefault(storage, at)
    members = set(inside)
    kept = _read_outside(steps, members)
    again = {s for at in later for s in steps[at].touches}
    own_backward = {at for at in later if _within(steps[at].op.scope, module)}
    saved_results = {s for at in own_backward for s in steps[at].touches} & kept
    # Dropped, then made anew under another name: what the module makes for itself, and a second copy of
    # those of its results that its own backward needs (the first is the next module's input).
    inner: dict[int, int] = {}
    copies: dict[int, int] = {}
    for storage in sorted({s for at in inside for s in steps[at].touches}):
        record = storages[storage]
        if first_use[storage] not in members or record.resident:
            continue
        if storage in saved_results:
            names = copies
        elif storage not in kept and not record.to_end:
            names = inner
        else:
            continue
        names[storage] = len(storages)
        category = Category.SAVED if storage in again else Category.ACTIVATION
        storages.append(replace(record, name=f"{record.name} (again)", category=category, to_end=False))
    start = next(
        (at for at in later if inner.keys() & set(steps[at].touches) or at in own_backward),
        None,
    )
    if start is None or not (inner or copies):
        return schedule
    results = {s for s in kept if first_use[s] in members and s not in copies}
    rerun = tuple(_rerun(steps[at], inner | copies, results) for at in inside)
    rest = tuple(
        _renamed(steps[at], inner | copies if at in own_backward else inner) for at in range(start, len(steps))
    )
    demoted = dict.fromkeys(inner, Category.ACTIVATION)
    records = tuple(replace(r, category=demoted[i]) if i in demoted else r for i, r in enumerate(storages))
    return replace(schedule, storages=records, steps=(*steps[:start], *rerun, *rest))


def _read_outside(steps: tuple[Step, ...], members: set[int]) -> set[int]:
    """Storages touched by forward steps outside the module: its inputs and its results stay."""
    return {
        storage
        for at, step in enumerate(steps)
        if at not in members and step.op.phase == "forward" and not step.recomputed
        for storage in step.touches
    }


def _renamed(step: Step, names: dict[int, int]) -> Step:
    return replace(step, touches=tuple(names.get(storage, storage) for storage in step.touches))


def _rerun(step: Step, names: dict[int, int], results: set[int]) -> Step:
    """``step`` once more. Results that nothing in here saved aren't made again: torch stops at the last
    saved tensor."""
    touches = tuple(names.get(storage, storage) for storage in step.touches if storage not in results)
    return Step(step.op, touches, recomputed=True)


def _within(scope: str, module: str) -> bool:
    return scope == module or scope.startswith(f"{module}/")
