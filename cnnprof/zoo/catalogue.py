"""The zoo's index, read from ``facts/*.toml``: one file per family, nothing of torch."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from cnnprof.errors import UsageError
from cnnprof.zoo.entry import Entry, Published

__all__ = ["FAMILIES", "THEMES", "entries", "entry"]

# In the order of the story that the gallery tells.
FAMILIES = (
    "mlp", "digits", "going_deep", "factorised", "shortcuts", "mobile", "transformers", "dense_prediction",
    "super_resolution", "faces", "generative", "sequential",
)  # fmt: skip

THEMES = {
    "mlp": "From shallow to deep",
    "digits": "Handwritten digits",
    "going_deep": "Going deep",
    "factorised": "Factorising",
    "shortcuts": "Shortcut paths",
    "mobile": "Made for phones",
    "transformers": "After transformers",
    "dense_prediction": "Seeing wide: dense prediction",
    "super_resolution": "Super-resolution",
    "faces": "Faces",
    "generative": "Generative",
    "sequential": "Sequential",
}


@cache
def entries() -> tuple[Entry, ...]:
    """Every network, family by family. Raises ValueError on a name that stands twice (a bug, not bad input)."""
    found = [row for family in FAMILIES for row in _family(family)]
    names = [row.name for row in found]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"zoo names stand twice: {sorted(doubled)}")
    return tuple(found)


def entry(name: str) -> Entry:
    """One network by name. Raises :class:`UsageError` offering the nearest names."""
    by_name = {row.name: row for row in entries()}
    if name in by_name:
        return by_name[name]
    close = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "see cnnprof zoo list"
    raise UsageError(f"zoo:{name}: no such network in the zoo", hint)


def _family(family: str) -> list[Entry]:
    text = files("cnnprof.zoo").joinpath("facts", f"{family}.toml").read_text(encoding="utf-8")
    return [_entry(family, row) for row in tomllib.loads(text)["entry"]]


def _entry(family: str, row: dict[str, Any]) -> Entry:
    row = dict(row)
    published = tuple(Published(**({"exact": False} | item)) for item in row.pop("published", ()))
    return Entry(
        family=family,
        theme=THEMES[family],
        arguments=row.pop("arguments", {}),
        inputs=tuple(row.pop("inputs")),
        published=published,
        calls=tuple((c["stage"], c["model"], float(c["times"])) for c in row.pop("calls", ())),
        **row,
    )
