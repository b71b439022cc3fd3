"""The roofline of one kernel: how long it takes if nothing but its class's constants limited it.

t = overhead + (t_compute^p + t_memory^p)^(1/p), with t_compute = flops / (peak · efficiency · u) and
t_memory = bytes / (bandwidth · efficiency). p = 1 is no overlap at all, p → ∞ perfect overlap (Williams,
Waterman, Patterson 2009 draw the latter). u = Π c / (c + c_half): matrix units idle on narrow channels.
On a GPU the host launches ahead while kernels run, so the overhead is a floor there and no addend (``overlapped``).
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.predict.kernels import Kernel

__all__ = ["Parts", "Rates", "roofline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one class of kernels reaches on one device. ``half_in`` and ``half_out`` are the channels (per
    group) at which half of the rate is reached; 0 = width doesn't matter. A rate of 0 is "no limit"; weights, which are
    read in order and by no other kernel, have a rate of their own (0 = the same)."""

    flops_per_s: float
    bytes_per_s: float
    overhead_s: float
    weight_bytes_per_s: float = 0.0
    half_in: float = 0.0
    half_out: float = 0.0
    exponent: float = 4.0
    overlapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A kernel's time and what it is made of, in seconds."""

    compute_s: float
    memory_s: float
    overhead_s: float
    exponent: float
    overlapped: bool = False

    @property
    def latency_s(self) -> float:
        running = _norm(self.compute_s, self.memory_s, self.exponent)
        return max(self.overhead_s, running) if self.overlapped else self.overhead_s + running

    @property
    def bound(self) -> str:
        """ "compute", "memory" or "overhead": the largest of the three."""
        parts = {"compute": self.compute_s, "memory": self.memory_s, "overhead": self.overhead_s}
        return max(parts, key=lambda name: parts[name])


def roofline(kernel: Kernel, rates: Rates) -> Parts:
    """Time of ``kernel`` at ``rates``."""
    width = 1.0
    for channels, half in ((kernel.channels_in, rates.half_in), (kernel.channels_out, rates.half_out)):
        some = max(1, channels)  # an empty tensor has none
        width *= some / (some + half)
    return Parts(
        compute_s=kernel.work / (rates.flops_per_s * width) if rates.flops_per_s else 0.0,
        memory_s=_memory_s(kernel, rates),
        overhead_s=rates.overhead_s,
        exponent=rates.exponent,
        overlapped=rates.overlapped,
    )


def _memory_s(kernel: Kernel, rates: Rates) -> float:
    if not rates.bytes_per_s:
        return 0.0
    activations = (kernel.bytes_in + kernel.bytes_expanded + kernel.bytes_out) / rates.bytes_per_s
    return activations + kernel.bytes_weights / (rates.weight_bytes_per_s or rates.bytes_per_s)


def _norm(a: float, b: float, exponent: float) -> float:
    large, small = max(a, b), min(a, b)
    if large <= 0.0 or small <= 0.0:
        return large
    return large * float((1.0 + (small / large) ** exponent) ** (1.0 / exponent))
