"""From samples to a latency with an interval that means something.

One thread on a shared machine: the 20th percentile of process CPU time, over samples that no involuntary context
switch and no neighbour on the core disturbed, equals the minimum wall time of the quiet machine. Several threads, or a
device that computes while the process sleeps: the median of wall time. The statistic is taken per visit, and the
median over visits reported: a visit at another clock speed doesn't move it. Its interval is Student's over visits
(which differ by more than their samples do) or the bootstrap's within them, whichever is wider.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CPU_P20",
    "CPU_SHARE",
    "WALL_MEDIAN",
    "Sample",
    "Statistics",
    "median_interval",
    "quantile",
    "summarise",
    "total_s",
]

CPU_P20 = "20th percentile of process CPU time"
CPU_SHARE = 0.2
WALL_MEDIAN = "median of wall time"
_RESAMPLES = 400
_FEW = 3  # undisturbed samples of a short look that leave the others out
_CLEAN = 5  # undisturbed samples that make a visit usable
# The median of normal values scatters by √(π/2) more than their mean.
_MEDIAN_OVER_MEAN = 1.2533
# Student's t at 97.5 % by degrees of freedom; beyond the table the normal's.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: wall and process CPU time in seconds; ``disturbed`` if the process was made to give up its core, or had
    a neighbour at work on it."""

    wall_s: float
    cpu_s: float
    disturbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Summary of all samples. ``latency_s`` with its 95 % interval is the ``statistic``; the rest is wall time."""

    statistic: str
    latency_s: float
    low_s: float
    high_s: float
    samples: int
    visits: int
    disturbed_share: float
    minimum_s: float
    quartile1_s: float
    median_s: float
    quartile3_s: float
    median_low_s: float
    median_high_s: float

    @property
    def half_width(self) -> float:
        """Half of the interval, relative to the latency."""
        return (self.high_s - self.low_s) / 2 / self.latency_s if self.latency_s > 0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"half_width": self.half_width}


def total_s(samples: Sequence[Sample], *, single_thread: bool) -> float:
    """The latency that one visit's ``samples`` say, as :func:`summarise` takes it of each visit."""
    clean = [sample for sample in samples if not sample.disturbed]
    used = clean if len(clean) >= _FEW else samples
    if not single_thread:
        return quantile(_wall_values(used), 0.5)
    return quantile(_cpu_values(used), CPU_SHARE)


def summarise(visits: Sequence[Sequence[Sample]], *, single_thread: bool, seed: int = 0) -> Statistics:
    """Statistics of ``visits`` (each a sequence of samples, none empty). Deterministic for a ``seed``."""
    kept = [visit for visit in visits if visit]
    samples = [sample for visit in kept for sample in visit]
    if not samples:
        raise ValueError("no samples to summarise")
    take = _cpu_values if single_thread else _wall_values
    share = CPU_SHARE if single_thread else 0.5

    def of(values: Sequence[float]) -> float:
        return quantile(values, share)

    groups = [take(visit) for visit in _undisturbed(kept)]
    middle = quantile([of(values) for values in groups], 0.5)
    half = max(_student(groups, of), _bootstrap(groups, of, seed))
    wall = sorted(sample.wall_s for sample in samples)
    low, high = median_interval(wall)
    return Statistics(
        statistic=CPU_P20 if single_thread else WALL_MEDIAN,
        latency_s=middle,
        low_s=max(0.0, middle - half),
        high_s=middle + half,
        samples=len(samples),
        visits=len(kept),
        disturbed_share=sum(sample.disturbed for sample in samples) / len(samples),
        minimum_s=wall[0],
        quartile1_s=quantile(wall, 0.25),
        median_s=quantile(wall, 0.5),
        quartile3_s=quantile(wall, 0.75),
        median_low_s=low,
        median_high_s=high,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics (NumPy's default)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_interval(ordered: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a median from order statistics: no assumption on the distribution."""
    count = len(ordered)
    reach = z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return ordered[low], ordered[high]


def _undisturbed(visits: Sequence[Sequence[Sample]]) -> Sequence[Sequence[Sample]]:
    """The undisturbed samples of the visits that have enough of them; all visits as they are if too few have."""
    clean = [[sample for sample in visit if not sample.disturbed] for visit in visits]
    usable = [visit for visit in clean if len(visit) >= _CLEAN]
    return usable if len(usable) >= min(3, len(visits)) else visits


def _cpu_values(visit: Sequence[Sample]) -> list[float]:
    return [sample.cpu_s for sample in visit]


def _wall_values(visit: Sequence[Sample]) -> list[float]:
    return [sample.wall_s for sample in visit]


def _student(groups: Sequence[Sequence[float]], of: Callable[[Sequence[float]], float]) -> float:
    """Half-width of Student's 95 % interval for the median of the groups' statistics; 0 for fewer than three groups."""
    count = len(groups)
    if count < 3:
        return 0.0
    values = [of(group) for group in groups]
    mean = sum(values) / count
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return (_T975[count - 2] if count - 2 < len(_T975) else 1.96) * spread * _MEDIAN_OVER_MEAN


def _bootstrap(groups: Sequence[Sequence[float]], of: Callable[[Sequence[float]], float], seed: int) -> float:
    """Half-width of the 95 % bootstrap interval, samples drawn within their groups."""
    generator = random.Random(seed)  # noqa: S311 (not for secrets)
    means = sorted(
        sum(of(generator.choices(group, k=len(group))) for group in groups) / len(groups) for _ in range(_RESAMPLES)
    )
    return (means[int(_RESAMPLES * 0.975)] - means[int(_RESAMPLES * 0.025)]) / 2
