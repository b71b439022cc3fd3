"""Was the machine quiet enough? Checks that say so, instead of a number printed as if it were good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cnnprof.measure.clock import MachineState
from cnnprof.measure.statistics import Statistics

__all__ = ["LIMITS", "NoiseReport", "judge"]

# From an experiment on two shared cores: beyond these, two runs of the same thing stopped agreeing.
LIMITS = {
    "half_width": 0.05,  # of the interval, relative
    "disturbed_share": 0.80,
    "anchor_drift": 0.05,  # of the anchor workload, before against after
    "steal_share": 0.05,  # of the run's wall time, per core
    "frequency_drift": 0.10,
    # Of copying, beyond the calibration's: a quarter longer costs a network 2 to 6 % (its time grew with the 0.11th to
    # 0.25th power of what copying took).
    "contention": 0.25,
    "other_busy_cores": 0.5,  # cores kept busy by others, with several threads measured
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReport:
    """What was seen, and the ``reasons`` why the measurement is no good (none: it is). None: couldn't be read."""

    steal_share: float | None = None
    other_busy_cores: float | None = None
    throttles: int | None = None
    frequency_drift: float | None = None
    load: float | None = None
    anchor_drift: float | None = None
    contention: float | None = None
    reasons: tuple[str, ...] = field(default=())
    unchecked: tuple[str, ...] = field(default=())

    @property
    def quiet(self) -> bool:
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        seen = {
            name: getattr(self, name)
            for name in (
                "steal_share",
                "other_busy_cores",
                "throttles",
                "frequency_drift",
                "load",
                "anchor_drift",
                "contention",
            )
            if getattr(self, name) is not None
        }
        return {**seen, "quiet": self.quiet, "reasons": list(self.reasons), "unchecked": list(self.unchecked)}


def judge(
    statistics: Statistics,
    before: MachineState,
    after: MachineState,
    *,
    own_cpu_s: float,
    single_thread: bool,
    anchor_s: Sequence[float] = (),
    contention: float | None = None,
) -> NoiseReport:
    """Hold a measurement against :data:`LIMITS`. ``own_cpu_s`` is the CPU time this process used meanwhile;
    ``anchor_s`` the anchor workload's times, first before and last after; ``contention`` by how much neighbours slow
    a stream of copies.

    For one thread, other load alone is no reason: process CPU time and the disturbed samples account for it.
    """
    wall = max(after.wall_s - before.wall_s, 1e-9)
    steal = _per_core(before.steal_s, after.steal_s, wall, after.cores)
    others = None
    if before.busy_s is not None and after.busy_s is not None:
        others = max(0.0, (after.busy_s - before.busy_s - own_cpu_s) / wall)
    throttles = None if before.throttles is None or after.throttles is None else after.throttles - before.throttles
    frequency = None
    if before.frequency_hz and after.frequency_hz:
        frequency = abs(after.frequency_hz / before.frequency_hz - 1.0)
    drift = abs(anchor_s[-1] / anchor_s[0] - 1.0) if len(anchor_s) >= 2 and anchor_s[0] > 0 else None
    reasons = []
    if statistics.half_width > LIMITS["half_width"]:
        reasons.append(f"the interval is ±{statistics.half_width:.0%} wide (limit ±{LIMITS['half_width']:.0%})")
    if statistics.disturbed_share > LIMITS["disturbed_share"]:
        reasons.append(f"{statistics.disturbed_share:.0%} of the samples were disturbed")
    if steal is not None and steal > LIMITS["steal_share"]:
        reasons.append(f"the hypervisor took {steal:.0%} of the CPU time")
    if throttles:
        reasons.append(f"the CPU throttled {throttles} times")
    if frequency is not None and frequency > LIMITS["frequency_drift"]:
        reasons.append(f"the clock drifted by {frequency:.0%}")
    if drift is not None and drift > LIMITS["anchor_drift"]:
        reasons.append(f"the anchor workload drifted by {drift:.0%}")
    if contention is not None and contention > LIMITS["contention"]:
        reasons.append(f"neighbours use the cache and the memory: copying took {contention:.0%} longer")
    if not single_thread and others is not None and others > LIMITS["other_busy_cores"]:
        reasons.append(f"other processes kept {others:.1f} cores busy")
    values = {
        "steal": steal, "throttling": throttles, "clock": frequency, "other load": others, "anchor": drift,
        "contention": contention,
    }  # fmt: skip
    return NoiseReport(
        steal_share=steal,
        other_busy_cores=others,
        throttles=throttles,
        frequency_drift=frequency,
        load=after.load,
        anchor_drift=drift,
        contention=contention,
        reasons=tuple(reasons),
        unchecked=tuple(name for name, value in values.items() if value is None),
    )


def _per_core(before: float | None, after: float | None, wall: float, cores: int) -> float | None:
    return None if before is None or after is None else max(0.0, after - before) / wall / max(1, cores)
