"""What the zoo knows of a network: who, when, why, and what was published about its cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entry", "Published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One number that others published. ``metric`` is a total's name ("parameters", "macs"),
    "top1_percent", "test_accuracy_percent" or another plain word. ``exact``: given to the last digit."""

    metric: str
    value: float
    exact: bool
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network of the zoo.

    ``build`` is "module:callable", imported only when the network is built; ``arguments`` are its keyword
    arguments. ``inputs`` are input descriptions ("1x3x224x224"). ``difference`` says, where our count and a
    published one differ, why.
    """

    name: str
    title: str
    year: int
    authors: str
    paper: str
    link: str
    theme: str
    family: str
    build: str
    arguments: dict[str, object]
    inputs: tuple[str, ...]
    idea: str
    published: tuple[Published, ...] = ()
    difference: str = ""
    calls: tuple[tuple[str, str, float], ...] = ()

    def published_value(self, metric: str) -> Published | None:
        """The published number for ``metric``, an exact one before a rounded one."""
        rows = [row for row in self.published if row.metric == metric]
        return min(rows, key=lambda row: not row.exact) if rows else None
