"""Eager work on a GPU: the host puts kernels into a queue, the device works it off in order.

The host takes its time for every op, kernel or none, and for every module around them. A kernel begins when it has been
issued and the one before it is done, so the end is the largest, over all ops, of (host up to the op + kernels from it
on): short kernels wait for the host, behind long ones the host is ahead and costs nothing. A sum of times can't say
that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnprof.predict.kernels import Kernel

__all__ = ["NO_KERNEL_S", "host_s", "in_queue", "issue_key"]

NO_KERNEL_S = 1e-7  # below this an op has no kernel (a view)


def issue_key(kernel: Kernel) -> str:
    """What tells how long the host takes to issue ``kernel``: its class, and for a convolution whether a bias, which
    is a kernel of its own, comes with it."""
    weights = kernel.channels_in * kernel.channels_out * kernel.groups * kernel.taps
    biased = kernel.cls.startswith("conv") and kernel.bytes_weights % weights != 0
    return f"{kernel.cls}+bias" if biased else kernel.cls


def host_s(kernel: Kernel, queue: Mapping[str, Any]) -> float:
    """What issuing ``kernel`` takes the host, in seconds."""
    known = queue["host_s"]
    return float(known.get(issue_key(kernel), known.get(kernel.cls, queue["other_s"])))


def in_queue(
    kernels: Sequence[Kernel], seconds: Sequence[float], queue: Mapping[str, Any], calls: int | None = None
) -> list[float]:
    """For each kernel its own time and its wait for the host; they sum to the end-to-end time.

    ``seconds`` are the kernels' own; ``queue`` has ``start_s`` (before the first op), ``host_s`` by :func:`issue_key`,
    ``other_s`` for classes that weren't seen, and ``call_s`` for each of the ``calls`` of modules, which are taken to
    be spread evenly (None: one an op).
    """
    around = float(queue.get("call_s", 0.0)) * (1.0 if calls is None else calls / max(1, len(kernels)))
    issued, free = float(queue["start_s"]), 0.0
    spent = []
    for kernel, own in zip(kernels, seconds, strict=True):
        issued += host_s(kernel, queue) + around
        before = free
        if own > NO_KERNEL_S:
            free = max(issued, free) + own
        spent.append(free - before)
    if spent and issued > free:  # it ends with ops that have no kernel
        spent[-1] += issued - free
    return spent
