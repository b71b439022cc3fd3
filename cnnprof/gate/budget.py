"""What a budget is: limits, each with its level and the place it was written at. Records only;
:mod:`cnnprof.gate.config` reads them from TOML and flags, :mod:`cnnprof.gate.check` holds profiles against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

from cnnprof.gate.quantity import Increase

__all__ = [
    "Budget",
    "CoverageLimit",
    "FieldLimit",
    "Forbidden",
    "IncreaseLimit",
    "LayerLimit",
    "Level",
    "Limit",
    "Origin",
    "Rule",
]


class Level(Enum):
    """What a broken limit does: nothing, a warning, or exit code 1."""

    OFF = "off"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was written: a file with line, or a flag."""

    key: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.file is None:
            return self.key
        return f"{self.place}: {self.key}"

    @property
    def place(self) -> str:
        """``cnnprof.toml:4``, or the flag."""
        if self.file is None:
            return self.key
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all limits share: ``id`` is stable and names the rule in every output."""

    id: str
    level: Level
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Rule):
    """The whole model's ``metric`` is at most ``maximum`` (the metric's unit; seconds as a Fraction)."""

    metric: str
    maximum: int | Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class IncreaseLimit(Rule):
    """``metric`` grows at most by ``increase`` over the baseline. ``ratchet`` ones allow none, and
    ``cnnprof baseline update`` refuses to raise them."""

    metric: str
    increase: Increase
    ratchet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLimit(Rule):
    """Layers whose name or scope matches ``pattern``: their sum, or each one, is at most ``maximum`` or
    at most ``share`` of the model's total."""

    metric: str
    pattern: str
    each: bool
    maximum: int | Fraction | None = None
    share: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageLimit(Rule):
    """At least this share of operators has a known cost. ``stated`` is False for the default of all."""

    minimum: Fraction
    stated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLimit(Rule):
    """Receptive field of every output (or of the layers that the glob ``layer`` matches), in positions of the
    input, per axis (one number: every axis)."""

    minimum: tuple[int, ...] | None = None
    maximum: tuple[int, ...] | None = None
    layer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden(Rule):
    """Operators (canonical kind or foreign type; globs) or dtypes that must not occur."""

    what: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A named set of rules for the models that ``models`` (references or globs) means.

    ``root`` is the folder that relative paths start from. ``inputs`` and ``batch`` are as on the command line.
    """

    name: str
    models: tuple[str, ...]
    origin: Origin
    model_origin: Origin
    root: str = "."
    inputs: tuple[str, ...] = ()
    batch: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def needs_baseline(self) -> bool:
        return any(isinstance(rule, IncreaseLimit) for rule in self.rules)

    @property
    def sections(self) -> tuple[str, ...]:
        """The analyses beside complexity that the rules need."""
        from cnnprof.gate.metrics import METRICS

        metrics = {rule.metric for rule in self.rules if isinstance(rule, (Limit, IncreaseLimit))}
        memory = any(METRICS[key].section == "memory" for key in metrics)
        windows = any(isinstance(rule, FieldLimit) for rule in self.rules)
        return (("receptive_field",) if windows else ()) + (("memory",) if memory else ())
