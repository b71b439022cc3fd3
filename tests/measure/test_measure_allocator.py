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
@pytest.mark.parametrize("threads", [1, 2])
def test_a_mapped_page_costs_something(threads: int) -> None:
    """And torch's threads are as many as before."""
    import torch

    before = torch.get_num_threads()
    cost = mapped_s_per_byte(threads)
    assert 0.0 < cost < 1e-7  # below 0.4 ms a page of 4 KiB
    assert torch.get_num_threads() == before


@glibc
def test_a_mapped_page_is_what_touching_costs_beyond_a_page_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock made up: 64 MiB take 5 s at first, 2 s again, and 1 s to give back: 5 + 1 - 2 is theirs, also where a
    neighbour made one of the second touches last as long as the first."""
    from cnnprof.measure import allocator

    for threads, clock in ((1, "thread_time"), (2, "perf_counter")):
        times = iter([*(4 * [0.0, 5.0, 7.0, 8.0]), 0.0, 5.0, 15.0, 16.0])
        monkeypatch.setattr(allocator.time, clock, lambda times=times: next(times))
        assert mapped_s_per_byte(threads) == pytest.approx(4.0 / (64 << 20))
        monkeypatch.undo()
