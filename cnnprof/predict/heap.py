"""The memory that eager PyTorch makes the system map anew in every inference, as glibc's allocator decides it.

The first touch of a page costs a fault, microseconds on a virtual machine: a batch norm that writes 30 MB of fresh
pages takes five times as long as one that overwrites old ones. Which they are depends on the whole sequence of requests
(malloc(3), mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD), so this replays it: what ops make and let go of, with the
copies that a convolution makes in its library's own order of channels, on a heap that serves requests by best fit,
grows at its end, and gives that end back when a little more than 64 MiB of it are free. A request of 32 MiB or more
that fits no hole is mapped on its own. That is the state of a process that has run anything large.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import replace

from cnnprof.analyses.memory.liveness import liveness
from cnnprof.analyses.memory.schedule import build_schedule
from cnnprof.ir import Graph
from cnnprof.predict.kernels import Kernel

__all__ = ["MAPPED_FROM_BYTES", "Heap", "with_mapped"]

# From this size on glibc maps a block, whatever went before (DEFAULT_MMAP_THRESHOLD_MAX on 64 bits) ...
MAPPED_FROM_BYTES = 32 << 20
# ... and the heap's end is given back from twice that; a little of it small things use, which aren't followed here.
# Activations of powers of two free exactly so much: by page faults counted, ResNet-18 at batch 32 keeps it, and
# RegNetY-800MF at 16 in some processes, and in some runs of others.
_TRIMMED_FROM_BYTES = 2 * MAPPED_FROM_BYTES + (128 << 10)
_SMALL_BYTES = 64 << 10  # other requests are served from the holes among small things
_ALIGNMENT_BYTES = 64  # of tensors: a hole has to be this much larger, what is too much stays a hole
_BLOCK = 8  # channels of a block of the convolution library, at least
_BLOCKED_FROM_BATCH = 16  # from here on it takes a pointwise convolution in blocks too, as was seen of oneDNN 3.12
_RUNS = 3  # the last is what every later one is like

Block = tuple[int, int] | None  # where it starts and ends on the heap; None: mapped on its own


class Heap:
    """One heap, at first of nothing but a free end. :meth:`take` answers where a block lies and how many of its bytes
    are new."""

    def __init__(self) -> None:
        self._holes: list[tuple[int, int]] = []  # (start, end), sorted, never adjacent, all below the top
        self._top = 0  # from here on nothing is in use
        self._end = MAPPED_FROM_BYTES  # what the system has given reaches to here
        self._touched = 0  # and has been touched to here

    def take(self, nbytes: int) -> tuple[Block, int]:
        """(the block, bytes of it never touched); the block is None where it is mapped on its own."""
        size = -(-nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES + _ALIGNMENT_BYTES
        need = size + _ALIGNMENT_BYTES
        fitting = [hole for hole in self._holes if hole[1] - hole[0] >= need]
        if fitting:
            start, end = min(fitting, key=lambda hole: hole[1] - hole[0])
            self._holes.remove((start, end))
            insort(self._holes, (start + size, end))
            return (start, start + size), 0
        if self._end - self._top < need:
            if nbytes >= MAPPED_FROM_BYTES:
                return None, nbytes
            self._end = self._top + need
        block = (self._top, self._top + size)
        self._top = block[1]
        new = max(0, self._top - max(block[0], self._touched))
        self._touched = max(self._touched, self._top)
        return block, min(new, nbytes)

    def free(self, block: Block) -> None:
        """Give a block back; what was mapped on its own goes to the system at once."""
        if block is None:
            return
        start, end = block
        for hole in [hole for hole in self._holes if hole[1] == start or hole[0] == end]:
            self._holes.remove(hole)
            start, end = min(start, hole[0]), max(end, hole[1])
        if end < self._top:
            insort(self._holes, (start, end))
            return
        self._top = start
        if self._end - self._top >= _TRIMMED_FROM_BYTES:
            self._end = self._top
            self._touched = min(self._touched, self._top)


def with_mapped(graph: Graph, kernels: Sequence[Kernel], *, batch: float = 1.0) -> tuple[Kernel, ...]:
    """``kernels`` (one an op, as eager PyTorch runs ``graph``) with the bytes that each has mapped anew; activations
    are ``batch`` times as large as the graph's."""
    schedule = build_schedule(graph)
    live = liveness(schedule)
    copied = max((sum(early) + sum(late) for early, late in map(_copies, kernels)), default=0)
    if batch * (live.peak_bytes - live.resident_bytes) + copied < MAPPED_FROM_BYTES:
        return tuple(kernels)  # it all fits what is never given back
    made: list[list[tuple[int, int]]] = [[] for _ in kernels]
    gone: list[list[int]] = [[] for _ in kernels]
    for life in live.lifetimes:
        made[life.start].append((life.storage, round(life.nbytes * batch)))
        gone[min(life.end, len(kernels) - 1)].append(life.storage)
    heap, new = Heap(), [0] * len(kernels)
    for _ in range(_RUNS):
        blocks: dict[int, Block] = {}
        for at, kernel in enumerate(kernels):
            new[at] = _run(heap, kernel, made[at], blocks)
            for storage in gone[at]:
                if storage in blocks:
                    heap.free(blocks.pop(storage))
    return tuple(
        replace(kernel, bytes_mapped=float(nbytes)) if nbytes else kernel
        for kernel, nbytes in zip(kernels, new, strict=True)
    )


def _run(heap: Heap, kernel: Kernel, made: Sequence[tuple[int, int]], blocks: dict[int, Block]) -> int:
    """Bytes that are new to the process in one run of ``kernel``; what it made joins ``blocks``."""
    # The generator is unpacked in order: every copy is taken before one is let go of.
    early, late = ([heap.take(n) for n in sizes if n >= _SMALL_BYTES] for sizes in _copies(kernel))
    for block, _ in reversed(early):
        heap.free(block)
    results = {storage: heap.take(nbytes) for storage, nbytes in made if nbytes >= _SMALL_BYTES}
    for block, _ in late:
        heap.free(block)
    blocks.update((storage, block) for storage, (block, _) in results.items())
    return sum(new for _, new in (*early, *late, *results.values()))


def _copies(kernel: Kernel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bytes of the copies that a convolution makes before its result is there: those gone by then (its input and
    its weights in blocks of channels), and the one that becomes it (the result in blocks)."""
    data, weights, result = round(kernel.bytes_in), round(kernel.bytes_weights), round(kernel.bytes_out)
    if kernel.channels_last or kernel.cls not in _REORDERED:
        return (), ()
    if kernel.cls == "conv_pointwise" and kernel.stride == 1 and kernel.batch < _BLOCKED_FROM_BATCH:
        return (), ()  # a matrix product of what is there
    if kernel.cls == "conv_stem":
        return (), (result,)
    if kernel.cls == "conv_grouped" and kernel.channels_in < _BLOCK:
        return (weights,), (result,)
    return (data, weights), (result,)


_REORDERED = frozenset({"conv_dense", "conv_grouped", "conv_pointwise", "conv_stem", "conv_depthwise"})
