"""Clocks: wall time, the process's own CPU time, and what else the machine says about being disturbed.

Everything that measures takes a :class:`Clock`, so that tests drive it with a fake one. On systems without
``/proc`` the counters that aren't there read as None and the checks that need them are left out, and said to be.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Clock", "MachineState", "SystemClock", "kept_waiting_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """Counters of the whole machine at one moment; None where the system has no such counter.

    ``steal_s``: CPU time that the hypervisor gave to others; ``busy_s`` all CPU time in use, ours included;
    ``throttles``: thermal throttling events; ``frequency_hz``: the mean current clock; ``load``: runnable processes.
    """

    wall_s: float
    steal_s: float | None = None
    busy_s: float | None = None
    throttles: int | None = None
    frequency_hz: float | None = None
    load: float | None = None
    cores: int = 1


class Clock(Protocol):
    """Where times come from."""

    def wall_s(self) -> float:
        """Monotonic wall time in seconds."""
        ...

    def cpu_s(self) -> float:
        """CPU time of this process, all threads, in seconds."""
        ...

    def switches(self) -> int:
        """How often this process was disturbed: made to give up its core (involuntary context switches)."""
        ...

    def machine(self) -> MachineState:
        """The machine's counters now."""
        ...


class SystemClock:
    """The real one: Linux counters where there are any."""

    def wall_s(self) -> float:
        return time.perf_counter()

    def cpu_s(self) -> float:
        return time.process_time()

    def switches(self) -> int:
        try:
            import resource
        except ImportError:  # Windows has none
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def machine(self) -> MachineState:
        steal, busy = _cpu_times()
        return MachineState(
            wall_s=time.perf_counter(),
            steal_s=steal,
            busy_s=busy,
            throttles=_throttles(),
            frequency_hz=_frequency(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            cores=os.cpu_count() or 1,
        )


def kept_waiting_s() -> float | None:
    """Seconds for which this process's threads could have run and had no core, all together so far; None where the
    system doesn't say (Linux does, in ``/proc/*/task/*/schedstat``: ns on a core, ns waiting for one, slices)."""
    waited, told = 0, False
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            waited += int(path.read_text("ascii").split()[1])
            told = True
    return waited * 1e-9 if told else None


def _cpu_times() -> tuple[float | None, float | None]:
    """(steal, busy) seconds since boot: the first line of /proc/stat holds user nice system idle iowait irq softirq
    steal."""
    try:
        fields = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
        ticks = os.sysconf("SC_CLK_TCK")
        values = [int(field) / ticks for field in fields]
    except (OSError, ValueError):
        return None, None
    if len(values) < 8:
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = values[:8]
    return steal, user + nice + system + irq + softirq


def _throttles() -> int | None:
    counts = list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    try:
        return sum(int(path.read_text("ascii")) for path in counts) if counts else None
    except (OSError, ValueError):
        return None


def _frequency() -> float | None:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
        clocks = [float(line.rpartition(":")[2]) * 1e6 for line in lines if line.startswith("cpu MHz")]
    except (OSError, ValueError):
        return None
    return sum(clocks) / len(clocks) if clocks else None
