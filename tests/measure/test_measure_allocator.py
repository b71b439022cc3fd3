"""The allocator is in the same state whatever ran before: no page faults below its limit, as many as pages above it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from cnnprof.measure.allocator import mapped_s_per_byte

# Buffers grow and shrink as a network's tensors do, in a process of its own; the kernel's count of minor faults is the
# oracle. 8 MiB is far above glibc's first threshold of 128 KiB and below its last of 32 MiB.
_FAULTS = """
import resource, sys
from cnnprof.measure.allocator import settle_allocator
settle_allocator()
def run(size):
    block = bytearray(size); del block
for size in (8 << 20, 40 << 20):
    run(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        run(size)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc maps large blocks anew each time")


@glibc
def test_blocks_below_the_limit_stay_in_the_heap_and_larger_ones_never_do() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    below, above = map(int, done.stdout.split())
    assert below < 100
    pages = 4 * (40 << 20) // 4096
    assert pages // 600 < above <= pages + 100  # pages of 2 MiB, where the system uses them, fault 512 times less


@glibc
def test_a_mapped_page_costs_something() -> None:
    cost = mapped_s_per_byte()
    assert 0.0 < cost < 1e-7  # below 0.4 ms a page of 4 KiB
