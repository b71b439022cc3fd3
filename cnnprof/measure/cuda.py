"""What cnnprof asks of a CUDA device, as interfaces: tests drive all that stands on them with a fake device.

The real ones are thin: :mod:`cnnprof.measure.cuda_torch` and :mod:`cnnprof.measure.profiler_torch`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cnnprof.errors import ModelError
from cnnprof.measure.clock import MachineState, SystemClock
from cnnprof.measure.gpu_trace import TraceEvent
from cnnprof.measure.hardware import installed, processor
from cnnprof.measure.memory_record import MeasuredMemory
from cnnprof.measure.session import take_sample
from cnnprof.measure.statistics import quantile

__all__ = [
    "Cuda",
    "CudaClock",
    "CudaFacts",
    "Events",
    "Profiler",
    "driver_in",
    "gpu_in",
    "graph_replay_s",
    "median_s",
]

Run = Callable[[], object]


class Events(Protocol):
    """What is needed of CUDA events."""

    def record(self) -> Any:
        """Record an event on the current stream and wait until the device has reached it."""
        ...

    def elapsed_s(self, earlier: Any, later: Any) -> float:
        """Seconds between two recorded events."""
        ...


class Profiler(Protocol):
    """What is needed of a profiler that sees kernels."""

    def trace(self, run: Run) -> Sequence[TraceEvent]:
        """What happened on host and device while ``run`` ran and until the device was done. Empty where the system
        lets nobody see kernels."""
        ...

    def range(self, name: str) -> AbstractContextManager[object]:
        """A named range of the host's time, to be found in the trace."""
        ...

    def synchronize(self) -> None:
        """Wait until the device is done."""
        ...


class Cuda(Protocol):
    """One CUDA device."""

    @property
    def on_hardware(self) -> bool:
        """Whether this is a device with a host of its own, and not a model of one."""
        ...

    @property
    def events(self) -> Events: ...

    @property
    def profiler(self) -> Profiler: ...

    def host_s(self) -> float:
        """The host's own clock, which waits for nothing."""
        ...

    def facts(self) -> CudaFacts:
        """What device this is."""
        ...

    def put(self, value: Any) -> Any:
        """A module or tensor, moved to the device; anything else as it is."""
        ...

    def capture(self, call: Run) -> Run:
        """``call`` as a CUDA graph's replay. Raises :class:`~cnnprof.errors.ModelError` if it can't be captured."""
        ...

    def l2_flush(self) -> Run:
        """Something that leaves nothing of use in the L2 cache."""
        ...

    def measure_memory(self, reference: str) -> MeasuredMemory:
        """Peak memory of one inference of the model that ``reference`` names, batch 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaFacts:
    """The device and the software under it; ``tf32`` says which of "conv" and "matmul" may use TF32 for float32."""

    name: str
    driver: str
    cuda: str
    cudnn: str
    capability: str
    multiprocessors: int
    memory_bytes: int
    l2_bytes: int
    tf32: tuple[str, ...] = ()

    def hardware(self) -> dict[str, str]:
        """A profile's ``hardware``: "processor" is what computes."""
        return {
            "processor": self.name,
            "capability": self.capability,
            "multiprocessors": str(self.multiprocessors),
            "memory_bytes": str(self.memory_bytes),
            "l2_bytes": str(self.l2_bytes),
            "tf32": ", ".join(self.tf32) or "none",
            "host": processor(),
        }

    def versions(self) -> dict[str, str]:
        return {**installed("torch"), "cuda": self.cuda, "cudnn": self.cudnn, "driver": self.driver}


def driver_in(text: str) -> str | None:
    """The version in ``/proc/driver/nvidia/version``, such as "550.54.15"; None if there's none."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return None if found is None else found.group(1)


def gpu_in(text: str) -> str | None:
    """The model in ``/proc/driver/nvidia/gpus/*/information``, such as "NVIDIA A10"; None if there's none."""
    found = re.search(r"^Model:\s*(\S.*?)\s*$", text, re.MULTILINE)
    return None if found is None else found.group(1)


class CudaClock:
    """A :class:`~cnnprof.measure.clock.Clock` that reads the device: a reading records an event and waits for it, so a
    run between two readings is timed by the device itself, with whatever the host needed to feed it.

    Elapsed times are taken from event to event: they are 32-bit milliseconds, which lose microseconds over minutes.
    Its CPU time is the device's too: what a process burns while it waits for the device says nothing.
    ``on_hardware``: whether there's a real host behind it, whose neighbours slow what feeds the device.
    """

    def __init__(self, events: Events, *, on_hardware: bool = False) -> None:
        self._events, self.on_hardware = events, on_hardware
        self._host = SystemClock()
        self._last = events.record()
        self._total_s = 0.0

    def wall_s(self) -> float:
        now = self._events.record()
        self._total_s += self._events.elapsed_s(self._last, now)
        self._last = now
        return self._total_s

    def cpu_s(self) -> float:
        # A reading of its own: the last one would count what lay between two samples to the second of them.
        return self.wall_s()

    def switches(self) -> int:
        return self._host.switches()

    def machine(self) -> MachineState:
        # The host's frequency isn't the device's: an anchor workload on the device shows its drift.
        return replace(self._host.machine(), frequency_hz=None)


def median_s(cuda: Cuda, call: Run, runs: int = 20) -> float:
    """The median of ``runs`` runs of ``call`` by events, after one that isn't counted."""
    clock = CudaClock(cuda.events)
    call()
    return quantile([take_sample(call, clock).wall_s for _ in range(runs)], 0.5)


def graph_replay_s(cuda: Cuda, call: Run) -> float | None:
    """What ``call`` takes as a CUDA graph; None where it can't be captured."""
    try:
        replay = cuda.capture(call)
    except ModelError:
        return None
    return median_s(cuda, replay)
