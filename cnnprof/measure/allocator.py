"""The C library's allocator, brought to the state that it has in a process that lives long.

glibc serves large requests by mapping fresh pages, and the first touch of each page is a fault: about 3 µs on a
virtual machine, so that a small network can spend two fifths of its time in them. Which requests these are depends on
the process's past: whenever a mapped block is freed, the size from which on blocks are mapped rises to that block's,
up to 32 MiB (M_MMAP_THRESHOLD in mallopt(3)), and the size from which on the heap is given back to twice that. In a
young process the same network takes one time or another by what ran before it. Freeing one block just below the limit
ends that: from then on only requests above 32 MiB are mapped, as in a server that has run anything large.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from cnnprof.predict.heap import MAPPED_FROM_BYTES

__all__ = ["mapped_s_per_byte", "settle_allocator"]

_PAGE = 4096
_TOUCHED = 64 << 20
_TIMES = 5


def settle_allocator() -> None:
    """Free one block just below the largest that the heap serves. Does nothing on other C libraries."""
    if platform.libc_ver()[0] == "glibc":
        # A bytearray of this size comes from malloc; it is gone at the end of the line.
        bytearray(MAPPED_FROM_BYTES - 4 * _PAGE)


def mapped_s_per_byte(threads: int = 1) -> float:
    """Seconds a byte (CPU seconds for one thread) of mapping pages, touching each for the first time with torch's
    ``threads`` threads and giving them back, beyond touching pages that are there; of each the least of some. Two
    threads fault in pages 1.6 times as fast as one (on a guest of two cores). 0 where the C library isn't one that maps
    every large block."""
    if platform.libc_ver()[0] != "glibc":
        return 0.0
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        now = time.thread_time if threads == 1 else time.perf_counter
        touches = [_touches_s(now) for _ in range(_TIMES)]
        # A neighbour beside one touch of pages that are there makes nothing of the others' cost.
        return max(0.0, min(first for first, _ in touches) - min(again for _, again in touches)) / _TOUCHED
    finally:
        torch.set_num_threads(before)


def _touches_s(now: Callable[[], float]) -> tuple[float, float]:
    """(mapping, touching for the first time and giving back; touching once more)."""
    import torch

    began = now()
    block = torch.empty(_TOUCHED, dtype=torch.uint8)
    block.fill_(1)
    between = now()
    block.fill_(1)
    again_s = now() - between
    del block
    return now() - began - again_s, again_s
