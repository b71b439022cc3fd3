"""What a latency model sees of a kernel: the residual trees' features, and the time that no class's fit has in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cnnprof.predict.kernels import FED_BY, RECTIFIED, Kernel

__all__ = ["FEATURES", "KERNEL_MODEL", "RANGED", "apart_s", "as_fitted", "row_of"]

# The residual model's inputs, in order (stored trees know them by their place: new ones go to the end). Those that may
# lie outside the calibrated range come first. Logarithms of (1 + x), but for flags, divisors and places in a list.
RANGED = (
    *("flops", "bytes_in", "bytes_weights", "bytes_out", "channels_in", "channels_out", "groups", "positions"),
    *("taps", "stride", "batch"),
)
FEATURES = (
    *RANGED,
    *("aligned", "channels_last", "fused"),
    *("channels_in_divisor", "channels_out_divisor", "bytes_network"),
    *("width_divisor", "positions_in_vectors", "fed_by"),
)
# What fits are made of. 1: FLOPs and traffic; 2: also what slows a kernel's FLOPs down, what it copies within, and
# whether a pooling finds zeros.
KERNEL_MODEL = 2
# Of what a network touches in one pass, no cache holds anything to the next beyond this much.
_CACHED_BYTES = 32 << 20
_VECTOR = 32  # no vector has more elements
_LANES = 16  # of a product of matrices, which takes 49 positions as it takes 64
_PLACES = {name: float(place) for place, name in enumerate(FED_BY)}


def row_of(kernel: Kernel) -> list[float]:
    """The features of :data:`FEATURES`, as the residual model takes them."""
    # A product with weights has as many rows as there are samples and positions: it doesn't know one from the other.
    positions, batch = (
        (kernel.positions * kernel.batch, 1) if kernel.cls == "gemm" else (kernel.positions, kernel.batch)
    )
    logs = (
        *(kernel.work, kernel.bytes_in + kernel.bytes_expanded, kernel.bytes_weights, kernel.bytes_out),
        *(kernel.channels_in, kernel.channels_out, kernel.groups, positions, kernel.taps, kernel.stride, batch),
    )
    aligned = kernel.channels_in % 16 == 0 and kernel.channels_out % 16 == 0
    return [
        *(math.log1p(value) for value in logs),
        *(float(aligned), float(kernel.channels_last), float(len(kernel.ops))),
        *(_divisor(kernel.channels_in), _divisor(kernel.channels_out)),
        math.log1p(min(kernel.bytes_network, _CACHED_BYTES)),
        # Of all groups together: a depthwise convolution works on vectors of channels, of which each group has one.
        _divisor(kernel.channels_out * kernel.groups),
        math.log1p(_LANES * -(-positions // _LANES)),
        _PLACES.get(kernel.fed_by, 0.0),
    ]


def as_fitted(kernels: Sequence[Kernel], model: int) -> tuple[Kernel, ...]:
    """``kernels`` as a fit of that :data:`KERNEL_MODEL` knew them."""
    if model >= KERNEL_MODEL:
        return tuple(kernels)
    return tuple(
        replace(kernel, slowdown=1.0, bytes_expanded=0.0, path=kernel.path.removesuffix(RECTIFIED))
        for kernel in kernels
    )


def apart_s(kernel: Kernel, total: Mapping[str, Any]) -> float:
    """Seconds that no class's fit has in it: each byte of these costs the same, whatever the kernel computes.
    ``total`` is that section of a device profile."""
    return float(
        total.get("mapped_s_per_byte", 0.0) * kernel.bytes_mapped
        + total.get("passed_s_per_byte", 0.0) * kernel.bytes_passed
    )


def _divisor(channels: int) -> float:
    """The largest power of two that divides ``channels``: how wide the vectors can be that hold nothing else."""
    return float(min(_VECTOR, channels & -channels))
