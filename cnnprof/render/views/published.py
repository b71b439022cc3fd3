"""What was published about a network, as the pages need it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Published"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """None where nothing was published (or nothing is known). ``top1_percent`` is ImageNet top-1 accuracy;
    ``macs`` and ``parameters`` as the authors count them; ``note`` says why ours differ."""

    name: str
    family: str = ""
    year: int | None = None
    title: str = ""
    authors: str = ""
    link: str = ""
    idea: str = ""
    parameters: float | None = None
    macs: float | None = None
    top1_percent: float | None = None
    source: str = ""
    note: str = ""
