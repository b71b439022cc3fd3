"""Eager work on a GPU: the host puts kernels into a queue, the device works it off in order.

The host takes its time for every op, kernel or none. A kernel begins when it has been issued and the one before it is
done, so the end is the largest, over all ops, of (host up to the op + kernels from it on): short kernels wait for the
host, behind long ones the host is ahead and costs nothing. A sum of times can't say that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnprof.predict.kernels import Kernel

__all__ = ["NO_KERNEL_S", "host_s", "in_queue"]

NO_KERNEL_S = 1e-7  # below this an op has no kernel (a view)


def host_s(kernel: Kernel, queue: Mapping[str, Any]) -> float:
    """What issuing ``kernel`` takes the host, in seconds, by its class."""
    return float(queue["host_s"].get(kernel.cls, queue["other_s"]))


def in_queue(kernels: Sequence[Kernel], seconds: Sequence[float], queue: Mapping[str, Any]) -> list[float]:
    """For each kernel its own time and its wait for the host; they sum to the end-to-end time.

    ``seconds`` are the kernels' own; ``queue`` has ``start_s`` (before the first op), ``host_s`` by class and
    ``other_s`` for classes that weren't seen.
    """
    issued, free = float(queue["start_s"]), 0.0
    spent = []
    for kernel, own in zip(kernels, seconds, strict=True):
        issued += host_s(kernel, queue)
        before = free
        if own > NO_KERNEL_S:
            free = max(issued, free) + own
        spent.append(free - before)
    if spent and issued > free:  # it ends with ops that have no kernel
        spent[-1] += issued - free
    return spent
