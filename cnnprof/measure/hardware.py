"""What this machine is, in words: part of a calibrated profile's key and of every measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["hardware", "installed", "memory_available_bytes", "processor", "usable_cores"]


def processor() -> str:
    """The processor's name as the system has it."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> dict[str, str]:
    """Processor, logical cores, architecture and operating system."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count() or 1),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def installed(*packages: str) -> dict[str, str]:
    """Versions of those of ``packages`` that are installed, without importing them."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def memory_available_bytes() -> int | None:
    """What the system says it could still give, or None where it doesn't."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
