"""CUDA's clock: events on the stream, read when they are done. Behind an interface, so that tests drive a fake.

Reading the clock records an event and waits for it; a run between two readings is timed by the device itself, with
whatever the host needed to feed it. Elapsed times are taken from event to event: they are 32-bit milliseconds, which
lose microseconds over minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from cnnprof.measure.clock import MachineState, SystemClock

__all__ = ["CudaClock", "Events", "TorchEvents", "captured"]


class Events(Protocol):
    """What is needed of CUDA events."""

    def record(self) -> Any:
        """Record an event on the current stream and wait until the device has reached it."""
        ...

    def elapsed_s(self, earlier: Any, later: Any) -> float:
        """Seconds between two recorded events."""
        ...


class TorchEvents:
    """torch.cuda's."""

    def record(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        return event

    def elapsed_s(self, earlier: Any, later: Any) -> float:
        return float(earlier.elapsed_time(later)) * 1e-3


class CudaClock:
    """A :class:`~cnnprof.measure.clock.Clock` that reads the device. Its CPU time is the device's too: what a
    process burns while it waits for the device says nothing."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._host = SystemClock()
        self._last = events.record()
        self._total_s = 0.0

    def wall_s(self) -> float:
        now = self._events.record()
        self._total_s += self._events.elapsed_s(self._last, now)
        self._last = now
        return self._total_s

    def cpu_s(self) -> float:
        return self._total_s

    def switches(self) -> int:
        return self._host.switches()

    def machine(self) -> MachineState:
        return self._host.machine()


def captured(call: Callable[[], object]) -> Callable[[], object]:
    """``call`` as a CUDA graph's replay: the same kernels without the host."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
