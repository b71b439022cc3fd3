"""A clock that only moves when told, and workloads that move it, with the noises of shared machines."""

from __future__ import annotations

import random
from collections.abc import Callable

from cnnprof.measure.clock import MachineState


class FakeClock:
    """Implements cnnprof.measure.clock.Clock; ``spend`` lets time pass."""

    def __init__(self) -> None:
        self.wall = 100.0
        self.cpu = 10.0
        self.switched = 0
        self.steal = 0.0
        self.busy = 0.0
        self.throttles: int | None = 0
        self.frequency: float | None = 3e9
        self.cores = 2

    def wall_s(self) -> float:
        return self.wall

    def cpu_s(self) -> float:
        return self.cpu

    def switches(self) -> int:
        return self.switched

    def machine(self) -> MachineState:
        return MachineState(
            wall_s=self.wall, steal_s=self.steal, busy_s=self.busy, throttles=self.throttles,
            frequency_hz=self.frequency, load=0.0, cores=self.cores,
        )  # fmt: skip

    def spend(self, cpu: float, *, waiting: float = 0.0, switches: int = 0) -> None:
        """``cpu`` seconds of work, ``waiting`` seconds off the core."""
        self.cpu += cpu
        self.busy += cpu
        self.wall += cpu + waiting
        self.switched += switches


def steady(clock: FakeClock, seconds: float, rng: random.Random, jitter: float = 0.01) -> Callable[[], None]:
    """Quiet machine: normal jitter around ``seconds``."""
    return lambda: clock.spend(seconds * max(0.5, rng.gauss(1.0, jitter)))


def steal_bursts(
    clock: FakeClock, seconds: float, rng: random.Random, share: float = 0.4, jitter: float = 0.01
) -> Callable[[], None]:
    """Others take the core in bursts of some samples: long waits, cold caches, and the switches that tell."""
    state = {"left": 0}

    def run() -> None:
        if state["left"] == 0 and rng.random() < share / 5:
            state["left"] = rng.randint(3, 12)
        quiet = seconds * max(0.5, rng.gauss(1.0, jitter))
        if state["left"] > 0:
            state["left"] -= 1
            clock.spend(
                quiet * rng.uniform(1.02, 1.25), waiting=seconds * rng.uniform(0.5, 3.0), switches=rng.randint(1, 3)
            )
        else:
            clock.spend(quiet)

    return run


def bimodal(
    clock: FakeClock, fast: float, slow: float, rng: random.Random, stay: float = 0.9, jitter: float = 0.01
) -> Callable[[], None]:
    """Two clock speeds, switching now and then."""
    state = {"slow": False}

    def run() -> None:
        if rng.random() > stay:
            state["slow"] = not state["slow"]
        clock.spend((slow if state["slow"] else fast) * max(0.5, rng.gauss(1.0, jitter)))

    return run


def drifting(
    clock: FakeClock, seconds: float, rate: float, rng: random.Random, jitter: float = 0.01
) -> Callable[[], None]:
    """Slower by ``rate`` for every second that passes (a warming chip)."""
    began = clock.wall

    def run() -> None:
        clock.spend(seconds * (1 + rate * (clock.wall - began)) * max(0.5, rng.gauss(1.0, jitter)))

    return run
