"""The replayed allocator: worked by hand, and against the faults that the kernel counts in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.predict.heap import MAPPED_FROM_BYTES, Heap, with_mapped
from cnnprof.predict.lower import lower

MIB = 1 << 20
_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _filled(heap: Heap) -> tuple[int, int]:
    """Take what the heap starts with, so that the next block lies beyond."""
    block, new = heap.take(MAPPED_FROM_BYTES - MIB)
    assert block is not None
    assert new == MAPPED_FROM_BYTES - MIB
    return block


def test_a_freed_block_is_taken_again_without_new_memory() -> None:
    heap = Heap()
    first, new = heap.take(10 * MIB)
    assert new == 10 * MIB  # touched for the first time
    heap.free(first)
    again, new = heap.take(10 * MIB)
    assert (again, new) == (first, 0)


def test_the_smallest_hole_that_fits_is_taken() -> None:
    heap = Heap()
    blocks = [heap.take(size * MIB)[0] for size in (8, 1, 4, 1, 6, 1)]
    for index in (0, 2, 4):
        heap.free(blocks[index])
    hole, new = heap.take(5 * MIB)
    assert hole is not None
    assert blocks[4] is not None
    assert (hole[0], new) == (blocks[4][0], 0)  # of 8, 4 and 6 MiB


def test_neighbouring_holes_are_one() -> None:
    heap = Heap()
    blocks = [heap.take(4 * MIB)[0] for _ in range(4)]
    heap.free(blocks[0])
    heap.free(blocks[2])
    heap.free(blocks[1])
    whole, new = heap.take(12 * MIB)
    assert whole is not None
    assert blocks[0] is not None
    assert (whole[0], new) == (blocks[0][0], 0)


def test_a_large_block_that_fits_nowhere_is_mapped_alone_every_time() -> None:
    heap = Heap()
    _filled(heap)
    for _ in range(2):
        assert heap.take(40 * MIB) == (None, 40 * MIB)
        heap.free(None)


def test_a_large_block_that_fits_a_hole_is_not_mapped() -> None:
    heap = Heap()
    blocks = [heap.take(20 * MIB)[0] for _ in range(3)]
    heap.free(blocks[0])
    heap.free(blocks[1])
    block, new = heap.take(MAPPED_FROM_BYTES)
    assert block is not None
    assert new == 0


def test_the_end_goes_back_to_the_system_from_64_mib_on() -> None:
    heap = Heap()
    _filled(heap)
    kept = [heap.take(size * MIB)[0] for size in (20, 20)]
    for block in reversed(kept):  # 40 MiB free: kept
        heap.free(block)
    assert heap.take(20 * MIB)[1] == 0
    heap = Heap()
    _filled(heap)
    given = [heap.take(size * MIB)[0] for size in (20, 30, 20)]
    for block in reversed(given):  # 70 MiB free: given back
        heap.free(block)
    assert heap.take(20 * MIB)[1] == 20 * MIB


def test_exactly_64_mib_are_kept() -> None:
    """Tensors of powers of two: what small things use of the heap's end decides, and they use some. (RegNetY-800MF at
    batch 16 and 128 x 128 frees so much; in some processes it causes no page fault from the second run on.)"""
    heap = Heap()
    _filled(heap)
    given = [heap.take(size * MIB)[0] for size in (16, 24, 16, 8)]
    for block in reversed(given):  # 64 MiB free, and some bytes of alignment
        heap.free(block)
    assert heap.take(20 * MIB)[1] == 0


def test_a_copy_of_large_weights_is_mapped_however_small_the_images_are() -> None:
    net = NetBuilder("late", (1, 1024, 7, 7))
    graph = net.done(net.conv(net.input, 1024, 3))
    (kernel,) = with_mapped(graph, lower(graph, "torch"))
    assert kernel.bytes_mapped == 1024 * 1024 * 9 * 4


_COMPARED = """
import resource, sys
import torch
from torch import nn
from cnnprof.frontends.torch.trace import trace
from cnnprof.measure.allocator import settle_allocator
from cnnprof.predict.heap import with_mapped
from cnnprof.predict.lower import lower

def conv(i, o, k, s=1, g=1):
    return [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU6(inplace=True)]

net = nn.Sequential(*conv(3, 32, 3, 2), *conv(32, 32, 3, 1, 32), *conv(32, 96, 1), *conv(96, 96, 3, 2, 96),
                    *conv(96, 24, 1), *conv(24, 144, 1), *conv(144, 144, 3, 1, 144), *conv(144, 64, 3)).eval()
torch.set_num_threads(1)
settle_allocator()
for batch in map(int, sys.argv[1:]):
    shape = (batch, 3, 224, 224)
    graph = trace(net, [shape])
    foreseen = sum(kernel.bytes_mapped for kernel in with_mapped(graph, lower(graph, "torch")))
    x = torch.rand(shape)
    with torch.inference_mode():
        for _ in range(3):
            net(x)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            net(x)
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 3
    print(round(foreseen), round(faults * resource.getpagesize()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="replays glibc's allocator")
@pytest.mark.skipif(
    _HUGE.exists() and "[always]" in _HUGE.read_text(), reason="pages of 2 MiB: faults don't count the bytes"
)
def test_what_is_foreseen_is_what_the_kernel_counts() -> None:
    done = subprocess.run([sys.executable, "-c", _COMPARED, "1", "24"], capture_output=True, text=True, check=True)
    (few, few_real), (many, many_real) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert few == 0
    assert few_real < 4 * MIB
    assert many > 500 * MIB
    assert many == pytest.approx(many_real, rel=0.2)
