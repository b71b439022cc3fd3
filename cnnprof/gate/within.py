"""A budget in a line of a test: limits as keywords, on a model in memory or by reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnprof.gate.baseline import BaselineEntry
from cnnprof.gate.budget import Budget, Origin
from cnnprof.gate.check import check
from cnnprof.gate.flatten import flatten
from cnnprof.gate.rules import budget_from
from cnnprof.gate.verdict import Verdict
from cnnprof.profile import Profile

__all__ = ["budget_of", "profile_for", "within"]


def budget_of(name: str, limits: Mapping[str, Any]) -> Budget:
    """``{"macs": "5G", "max_increase": {"parameters": 0}}``: the keys of a budget in TOML.

    Raises :class:`~cnnprof.errors.UsageError` naming the keyword.
    """
    flat = flatten(limits, lambda path: Origin(".".join(path)))
    flat.setdefault(("model",), ([name], Origin("model")))
    return budget_from(name, flat, origin=Origin(name), root=".")


def profile_for(model: Any, inputs: Any, budget: Budget) -> Profile:
    """The model's Profile with what the budget's rules need. A Profile passes through."""
    if isinstance(model, Profile):
        return model
    if isinstance(model, (str, Path)) and str(model).lower().endswith(".json"):
        return Profile.from_json(Path(model).read_bytes(), origin=str(model))
    from cnnprof.api import analyze

    return analyze(model, inputs or budget.inputs, batch=budget.batch, sections=budget.sections)


def within(profile: Profile, budget: Budget, baseline: BaselineEntry | None = None, *, why: bool = True) -> Verdict:
    """The verdict, with the layers that moved since the baseline."""
    return check(profile, budget, baseline, model=profile.name, why=why)
