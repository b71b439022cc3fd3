"""The C library's allocator, brought to the state that it has in a process that lives long.

glibc serves large requests by mapping fresh pages, and the first touch of each page is a fault: about 3 µs on a
virtual machine, so that a small network can spend two fifths of its time in them. Which requests these are depends on
the process's past: whenever a mapped block is freed, the size from which on blocks are mapped rises to that block's,
up to 32 MiB (M_MMAP_THRESHOLD in mallopt(3)), and the size from which on the heap is given back to twice that. In a
young process the same network takes one time or another by what ran before it. Freeing one block just below the limit
ends that: from then on only requests above 32 MiB are mapped, as in a server that has run anything large.
"""

from __future__ import annotations

import mmap
import platform
import time

from cnnprof.predict.heap import MAPPED_FROM_BYTES

__all__ = ["mapped_s_per_byte", "settle_allocator"]

_PAGE = 4096
_TOUCHED = 64 << 20


def settle_allocator() -> None:
    """Free one block just below the largest that the heap serves. Does nothing on other C libraries."""
    if platform.libc_ver()[0] == "glibc":
        # A bytearray of this size comes from malloc; it is gone at the end of the line.
        bytearray(MAPPED_FROM_BYTES - 4 * _PAGE)


def mapped_s_per_byte() -> float:
    """CPU seconds a byte of mapping pages, touching each for the first time and giving them back, beyond touching
    pages that are there; the least of three. 0 where the C library isn't one that maps every large block."""
    if platform.libc_ver()[0] != "glibc":
        return 0.0
    return min(_first_touch() for _ in range(3)) / _TOUCHED


def _first_touch() -> float:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    began = time.thread_time()
    block = mmap.mmap(-1, _TOUCHED, flags=private)
    _touch(block)
    between = time.thread_time()
    _touch(block)
    again = time.thread_time() - between
    block.close()
    return max(0.0, time.thread_time() - began - 2 * again)


def _touch(block: mmap.mmap) -> None:
    for offset in range(0, _TOUCHED, _PAGE):
        block[offset] = 1
