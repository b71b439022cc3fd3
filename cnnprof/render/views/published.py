"""What was published about a network, as the pages need it."""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.profile import Profile

__all__ = ["Published", "published_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """None where nothing was published. ``top1_percent`` is ImageNet top-1 accuracy; ``macs`` and
    ``parameters`` as the authors count them; ``note`` says why ours differ."""

    name: str
    label: str = ""
    family: str = ""
    theme: str = ""
    year: int | None = None
    title: str = ""
    authors: str = ""
    link: str = ""
    idea: str = ""
    parameters: float | None = None
    macs: float | None = None
    top1_percent: float | None = None
    note: str = ""


def published_of(profile: Profile) -> Published | None:
    """The zoo's facts about a profile that came from ``zoo:NAME`` or ``torchvision:NAME``; else None."""
    from cnnprof.zoo.catalogue import entries

    library, _, name = str(profile.model["reference"]).partition(":")
    if library not in ("zoo", "torchvision"):
        return None
    row = next((entry for entry in entries() if entry.name == name), None)
    if row is None:
        return None

    def value(metric: str) -> float | None:
        found = row.published_value(metric)
        return None if found is None else found.value

    return Published(
        name=row.name,
        label=row.title,
        family=row.family,
        theme=row.theme,
        year=row.year,
        title=row.paper,
        authors=row.authors,
        link=row.link,
        idea=row.idea,
        parameters=value("parameters"),
        macs=value("macs"),
        top1_percent=value("top1_percent"),
        note=row.difference,
    )
