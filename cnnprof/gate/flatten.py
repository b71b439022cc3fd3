"""A budget's TOML table as a flat map: key path -> (value, where it was written). Unknown keys stop here.

Flat, so that extending is one dict merge and every rule keeps the place it came from. Nested tables that
are laid flat: ``levels``, ``max_increase``, ``max_share``, ``receptive_field`` and ``layers."GLOB"``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cnnprof.errors import UsageError
from cnnprof.gate.budget import Origin
from cnnprof.gate.metrics import LAYER_METRICS, METRICS

__all__ = ["Flat", "Path", "Place", "flatten", "known_keys", "nearest"]

Path = tuple[str, ...]
Flat = dict[Path, tuple[Any, Origin]]
Place = Callable[[Path], Origin]

_OWN = ("model", "inputs", "batch", "kwargs", "device", "extends", "level")
_RULES = ("min_coverage", "forbid_ops", "forbid_dtypes", "ratchet")
_TABLES: Mapping[str, tuple[str, ...]] = {
    "max_increase": tuple(METRICS),
    "max_share": tuple(LAYER_METRICS),
    "receptive_field": ("min", "max", "layer"),
    "levels": (
        *METRICS, *_RULES, "max_increase", "max_share", "receptive_field", "layers",
        *(f"max_increase.{key}" for key in METRICS),
        *(f"max_share.{key}" for key in LAYER_METRICS),
    ),
}  # fmt: skip
_LAYER_KEYS = (*LAYER_METRICS, "each", "max_share", "level")


def known_keys() -> tuple[str, ...]:
    """Every key that may stand in a budget."""
    return (*_OWN, *METRICS, *_RULES, *_TABLES, "layers")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest known name, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"one of {', '.join(names)}"


def flatten(table: Mapping[str, Any], place: Place, *, preset: bool = False) -> Flat:
    """Lay a budget's table flat. Raises :class:`UsageError` for unknown keys and tables of the wrong type."""
    flat: Flat = {}
    for key, value in table.items():
        if key not in known_keys():
            raise UsageError(f"{place((key,))}: unknown key", nearest(key, known_keys()))
        if preset and key == "model":
            raise UsageError(f"{place((key,))}: a preset names no model", "put it in the budget that extends it")
        if key in _TABLES:
            flat |= _sub(_table(value, place, (key,)), place, (key,), _TABLES[key])
        elif key == "layers":
            for pattern, limits in _table(value, place, (key,)).items():
                flat |= _layer(_table(limits, place, (key, pattern)), place, (key, pattern))
        else:
            flat[(key,)] = (value, place((key,)))
    return flat


def _layer(table: Mapping[str, Any], place: Place, path: Path) -> Flat:
    flat = _sub({k: v for k, v in table.items() if k not in ("each", "max_share")}, place, path, _LAYER_KEYS)
    for name in ("each", "max_share"):
        if name in table:
            inner = (*path, name)
            flat |= _sub(_table(table[name], place, inner), place, inner, tuple(LAYER_METRICS))
    if not any(key[-1] != "level" for key in flat):
        raise UsageError(f"{place(path)}: holds no limit", f"give one of {', '.join(LAYER_METRICS)}")
    return flat


def _sub(table: Mapping[str, Any], place: Place, path: Path, known: tuple[str, ...]) -> Flat:
    flat: Flat = {}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{place((*path, key))}: unknown key", nearest(key, known))
        flat[(*path, key)] = (value, place((*path, key)))
    return flat


def _table(value: object, place: Place, path: Path) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    example = {"receptive_field": "{ min = 224 }", "levels": '{ macs = "warn" }'}.get(
        path[0], '{ macs = "2%" }' if path[-1] == "max_increase" else '{ macs = "30%" }'
    )
    raise UsageError(f"{place(path)}: expected a table, got {type(value).__name__}", f"e.g. {path[-1]} = {example}")
