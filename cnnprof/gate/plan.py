"""Which models a budget means: references and globs resolved to jobs; flags joined to what the file says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnprof.errors import UsageError
from cnnprof.gate.budget import Budget, CoverageLimit, Origin
from cnnprof.gate.flatten import flatten, nearest
from cnnprof.gate.job import Job
from cnnprof.gate.metrics import METRICS
from cnnprof.gate.rules import budget_from, rules_from

__all__ = ["COMMAND_LINE", "Flags", "Target", "choose", "select", "targets_of", "with_flags"]

COMMAND_LINE = "command line"
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Target:
    """One model under one budget."""

    budget: Budget
    job: Job

    @property
    def model(self) -> str:
        """As outputs and baselines name it: the reference, relative to the config's folder."""
        return self.job.shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Limits and model options from the command line or a call, as the TOML table they stand for."""

    table: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    batch: int | None = None
    device: str | None = None
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.table)

    def place(self, path: tuple[str, ...]) -> Origin:
        """The flag that a key path stands for: ``--max-macs``."""
        if path[0] in METRICS:
            return Origin(METRICS[path[0]].flag)
        names = {
            "forbid_ops": "--forbid-op",
            "forbid_dtypes": "--forbid-dtype",
            "min_coverage": "--min-coverage",
            "ratchet": "--ratchet",
        }
        if path[0] == "receptive_field":
            return Origin(f"--{path[-1]}-receptive-field")
        if path[0] in ("max_increase", "max_share"):
            return Origin(f"--{path[0].replace('_', '-')} {'.'.join(path[1:])}".strip())
        return Origin(names.get(path[0], f"--{path[0]}"))

    def budget(self, models: Sequence[str], root: Path) -> Budget:
        """A budget of these flags alone."""
        flat = flatten(self.table, self.place)
        flat[("model",)] = (list(models), Origin("MODEL"))
        for key, value in (("inputs", list(self.inputs)), ("batch", self.batch), ("device", self.device)):
            if value:
                flat[(key,)] = (value, Origin(f"--{key.removesuffix('s')}"))
        made = budget_from(COMMAND_LINE, flat, origin=Origin(COMMAND_LINE), root=str(root))
        return dataclasses.replace(made, kwargs=self.kwargs)


def with_flags(budget: Budget, flags: Flags) -> Budget:
    """The budget with the flags' rules joined. One limit in both is an error: which one should hold?"""
    flat = flatten(flags.table, flags.place)
    if flags.device or budget.device:
        flat[("device",)] = (flags.device or budget.device, Origin("--device"))
    extra = list(rules_from(flat, Origin(COMMAND_LINE)))
    for key, flag in (("inputs", "--input"), ("batch", "--batch"), ("device", "--device")):
        if getattr(flags, key) and getattr(budget, key):
            raise UsageError(f"{budget.origin}.{key}: also given by {flag}", "leave one of them out")
    if any(isinstance(rule, CoverageLimit) and rule.stated for rule in extra):
        kept = [r for r in budget.rules if not isinstance(r, CoverageLimit) or r.stated]
    else:
        kept = list(budget.rules)
        extra = [rule for rule in extra if not isinstance(rule, CoverageLimit)]
    ours = {rule.id: rule for rule in kept}
    for rule in extra:
        if rule.id in ours:
            raise UsageError(f"{ours[rule.id].origin}: also given by {rule.origin}", "leave one of them out")
    return dataclasses.replace(
        budget,
        rules=(*kept, *extra),
        inputs=flags.inputs or budget.inputs,
        batch=flags.batch or budget.batch,
        device=flags.device or budget.device,
    )


def select(budgets: Sequence[Budget], names: Sequence[str]) -> tuple[Budget, ...]:
    """The named budgets; all of them if none is named. Raises :class:`UsageError` for an unknown name."""
    known = {budget.name: budget for budget in budgets}
    for name in names:
        if name not in known:
            raise UsageError(f"--budget {name}: no such budget", nearest(name, known) if known else "none is set")
    return tuple(known[name] for name in names) if names else tuple(budgets)


def choose(budgets: Sequence[Budget], models: Sequence[str], flags: Flags, *, cwd: Path) -> tuple[Target, ...]:
    """What to check: every target of the budgets; or, where models are named, those of them that a budget
    covers and, with flags, the rest under a budget of the flags alone."""
    if not models:
        if not budgets:
            raise UsageError(
                "check: no budget found",
                "write [budgets.NAME] in cnnprof.toml, or name a model and a limit: cnnprof check MODEL --max-macs 5G",
            )
        return tuple(t for budget in budgets for t in targets_of(with_flags(budget, flags)))
    chosen: list[Target] = []
    for model in models:
        covering = [target for budget in budgets for target in targets_of(budget) if _same(target.job, model, cwd)]
        if covering:
            for target in covering:
                merged = with_flags(target.budget, flags)
                chosen.append(Target(merged, _job(merged, target.job.reference)))
        elif flags:
            chosen.extend(targets_of(flags.budget([model], cwd)))
        else:
            raise UsageError(f"{model}: no budget covers this model", "add one, or give a limit such as --max-macs 5G")
    return tuple(chosen)


def targets_of(budget: Budget) -> Iterator[Target]:
    """One target per model, each once. A glob that matches nothing is a :class:`UsageError`."""
    seen: dict[str, None] = {}
    for pattern in budget.models:
        found = list(_expand(pattern, Path(budget.root)))
        if not found:
            raise UsageError(f"{budget.model_origin}: {pattern!r} matches no file", "correct the pattern, or remove it")
        seen.update(dict.fromkeys(found))
    for reference in seen:
        yield Target(budget, _job(budget, reference))


def _expand(pattern: str, root: Path) -> Iterable[str]:
    if not _GLOB & set(pattern) or (root / pattern).exists():
        return [pattern]
    path = Path(pattern)
    if path.is_absolute():
        base = Path(path.anchor)
        return sorted(p.as_posix() for p in base.glob(str(path.relative_to(base))) if p.is_file())
    return sorted(p.relative_to(root).as_posix() for p in root.glob(pattern) if p.is_file())


def _job(budget: Budget, reference: str) -> Job:
    if reference == "-":
        raise UsageError(f"{budget.model_origin}: standard input can't be held to a budget", "give a file")
    return Job(
        reference=reference, shown=reference, root=str(Path(budget.root).resolve()), inputs=budget.inputs,
        batch=budget.batch, kwargs=budget.kwargs, sections=budget.sections, device=budget.device,
    )  # fmt: skip


def _same(job: Job, model: str, cwd: Path) -> bool:
    if job.reference == model:
        return True
    return (cwd / model).resolve() == Path(job.root, job.reference).resolve()
