"""A profile's sections ``prediction`` and ``measurement``, read with care, and which parts of them match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain

__all__ = ["Rows", "device_of", "groups_of", "measured_of", "noise_of", "rows_of", "seconds_of"]

Rows = Mapping[str, Mapping[str, Any]]


def measured_of(profile: Profile) -> Mapping[str, Any]:
    """The measurement, if it is a result: empty where none was made or the machine was too noisy for one."""
    section = profile.measurement or {}
    return section if section.get("latency_s") is not None else {}


def noise_of(profile: Profile) -> tuple[str, ...]:
    """Why a measurement was made and yet is no result; empty where it is one, or none was made."""
    section = profile.measurement or {}
    if not section or section.get("latency_s") is not None:
        return ()
    reasons = (section.get("noise") or {}).get("reasons") or ()
    return tuple(plain(str(reason)) for reason in reasons) or ("?",)


def rows_of(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Layer name -> its row."""
    rows = section.get("by_layer") or {}
    return {str(name): row for name, row in rows.items() if isinstance(row, Mapping)}


def seconds_of(row: Mapping[str, Any] | None) -> float | None:
    value = (row or {}).get("latency_s")
    return float(value) if isinstance(value, (int, float)) else None


def device_of(section: Mapping[str, Any]) -> str:
    device = section.get("device")
    if isinstance(device, Mapping):
        return plain(str(device.get("title") or device.get("name") or ""))
    return plain(str(device or ""))


def groups_of(*sides: Rows) -> tuple[tuple[str, ...], ...]:
    """Layers that can only be compared together: what one side runs as one kernel, the other may run as several.

    Each layer of any side is in exactly one group, in order of first mention; a row's ``fused`` names the layers
    that its time covers beside its own.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for rows in sides:
        for name, row in rows.items():
            first = root(name)
            for other in row.get("fused") or ():
                parent[root(str(other))] = first
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return tuple(tuple(group) for group in groups.values())
