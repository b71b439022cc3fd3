"""What the session needs of a runner, and the rule that layers and rest add up to the end-to-end time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cnnprof.measure.clock import Clock
from cnnprof.measure.gpu_trace import KernelTotals
from cnnprof.measure.statistics import CPU_SHARE, quantile

__all__ = ["Attribution", "LayerTimes", "Runner", "attribute", "counted_passes", "least", "lower"]

_FEWEST_PASSES = 5
_LONGEST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """One instrumented pass (or the lower end of several): seconds by IR op; ``fused`` names the ops that each covers
    beside itself, ``elsewhere_s`` what the runner did for no layer (reorders); ``total_s`` the pass end to end.

    On CUDA ``kernels`` names those that each op ran, and ``gpu`` has the sums of one inference."""

    seconds: Mapping[str, float]
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere_s: float = 0.0
    total_s: float = 0.0
    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gpu: KernelTotals | None = None


class Runner(Protocol):
    """A model ready to run on one device."""

    name: str
    device: str
    title: str
    threads: int
    batch: int
    versions: Mapping[str, str]
    single_thread: bool

    def clock(self) -> Clock:
        """The clock that sees this device's work."""
        ...

    def run(self) -> None:
        """One inference, finished when this returns (or when the clock is read)."""
        ...

    def layer_times(self, passes: int, ready: Callable[[], object]) -> LayerTimes:
        """Time ``passes`` instrumented passes (see :func:`counted_passes`) and keep the lower end of each layer's."""
        ...

    def close(self) -> None:
        """Give back what was borrowed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Seconds by layer, and the rest: they sum to the end-to-end time exactly. ``instrumentation_s`` is what the
    instrumented pass took more than a plain one; ``scaled`` says that layers alone exceeded the end-to-end time (the
    instruments slow small layers down) and were scaled to it."""

    seconds: Mapping[str, float]
    between_layers_s: float
    instrumentation_s: float
    scaled: bool


def attribute(times: LayerTimes, latency_s: float) -> Attribution:
    """Lay an instrumented pass over the plain end-to-end time: shares from the one, the total from the other."""
    inside = sum(times.seconds.values())
    scale = latency_s / inside if inside > latency_s > 0 else 1.0
    seconds = {name: value * scale for name, value in times.seconds.items()}
    return Attribution(
        seconds=seconds,
        between_layers_s=max(0.0, latency_s - inside * scale),
        instrumentation_s=max(0.0, times.total_s - latency_s),
        scaled=scale != 1.0,
    )


def counted_passes(
    passes: int, ready: Callable[[], object], now: Callable[[], float] = time.perf_counter
) -> Iterator[int]:
    """Counts up to ``passes``; of a slow model up to five, and on for five seconds. ``ready`` is called before each: it
    waits for a quiet machine, so that a layer's least is not of passes beside a neighbour alone."""
    began = now()
    for index in range(passes):
        if index >= _FEWEST_PASSES and now() - began > _LONGEST_S:
            return
        ready()
        yield index


def lower(passes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The 20th percentile of each layer's times over passes that all have it: what the end-to-end time of one thread
    is, too. Least times are least where a layer's vary most, and say less of its share."""
    return {name: quantile([one[name] for one in passes], CPU_SHARE) for name in passes[0]} if passes else {}


def least(passes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The least time of each layer over passes that all have it."""
    return {name: min(one[name] for one in passes) for name in passes[0]} if passes else {}
