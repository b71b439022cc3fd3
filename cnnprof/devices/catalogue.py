"""The datasheet devices that ship with cnnprof: one TOML file each in ``catalogue/``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from cnnprof.devices.device import Device

__all__ = ["catalogue", "read_device"]

_SOURCED = ("vector", "bandwidth_gb_per_s", "cache_mib", "memory_gb", "launch_overhead_us")


@cache
def catalogue() -> Mapping[str, Device]:
    """Every datasheet device by name, in alphabetical order."""
    folder = resources.files("cnnprof.devices") / "catalogue"
    found = [
        read_device(entry.name.removesuffix(".toml"), tomllib.loads(entry.read_text("utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    ]
    return MappingProxyType({device.name: device for device in sorted(found, key=lambda d: d.name)})


def read_device(name: str, table: Mapping[str, Any]) -> Device:
    """One catalogue file. Rates are in the units of datasheets (TFLOP/s, GB/s, MiB, GB, µs).

    Raises ValueError where a number has no source: the catalogue is ours, so this is a bug, found by a test.
    """
    sources: Mapping[str, str] = table["sources"]
    wanted = [*_SOURCED, *(["matrix"] if "matrix" in table else [])]
    missing = [key for key in wanted if not sources.get(key)]
    if missing:
        raise ValueError(f"catalogue/{name}.toml: no source for {', '.join(missing)}")
    return Device(
        name=name,
        title=table["title"],
        kind=table["kind"],
        aliases=tuple(table.get("aliases", ())),
        cores=int(table.get("cores", 0)),
        vector_flops_per_s={dtype: rate * 1e12 for dtype, rate in table["vector"].items()},
        matrix_flops_per_s={dtype: rate * 1e12 for dtype, rate in table.get("matrix", {}).items()},
        bandwidth_bytes_per_s=table["bandwidth_gb_per_s"] * 1e9,
        cache_bytes=int(table["cache_mib"] * 2**20),
        memory_bytes=int(table["memory_gb"] * 10**9),
        launch_overhead_s=table["launch_overhead_us"] * 1e-6,
        sources=dict(sources),
    )
