"""Memory as torch really takes it, one run on the CPU or on CUDA.

On the CPU two instruments look at the same run done twice. A dispatch mode sees every tensor that an ATen
call returns and, by weak references, the moment its storage dies: activations, saved tensors, gradients,
weights. torch's profiler sees every allocation of the CPU allocator, so also what kernels take for themselves
(oneDNN's reordered copies, im2col buffers) and give back before they return; that is the *workspace*. The
size of the process plays no part. On CUDA the allocator's own statistics answer both questions.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.measure.memory_record import MeasuredMemory, Sample

__all__ = ["allocator_peak", "measure_on_cpu", "tracked_run"]

Run = Callable[[], object]


class StorageTracker(TorchDispatchMode):
    """Keeps the sum of all live storages it has seen, and a sample of it after every call."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[Sample] = []
        self._live_bytes = 0
        self._sizes: dict[int, int] = {}

    def add(self, tensor: torch.Tensor) -> None:
        """Count the storage of ``tensor`` from now until it dies."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse and nested tensors have none of their own
            return
        key = storage._cdata
        if key in self._sizes:
            self._live_bytes += storage.nbytes() - self._sizes[key]  # resized since
        else:
            self._live_bytes += storage.nbytes()
            weakref.finalize(storage, self._dead, key)
        self._sizes[key] = storage.nbytes()

    def _dead(self, key: int) -> None:
        self._live_bytes -= self._sizes.pop(key, 0)

    @property
    def live_bytes(self) -> int:
        return self._live_bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        self.samples.append(Sample(f"aten:{func.__name__}", self._live_bytes))
        return result


def tracked_run(run: Run, resident: Iterable[torch.Tensor]) -> tuple[int, tuple[Sample, ...]]:
    """(bytes of ``resident``, samples): ``run`` once, with every storage that it makes counted on top."""
    tracker = StorageTracker()
    for tensor in resident:
        tracker.add(tensor)
    before = tracker.live_bytes
    with tracker:
        run()
    return before, tuple(tracker.samples)


def allocator_peak(run: Run) -> int | None:
    """The most that the CPU allocator gave out above its level at the start of ``run``, in bytes.

    None if this torch's profiler doesn't report allocations.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes about missing GPUs to the terminal
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        run()
    results = getattr(getattr(profiler, "profiler", None), "kineto_results", None)
    if results is None:
        return None
    events = [event for event in results.events() if event.name() == "[memory]"]
    if not events:
        return None
    level = highest = 0
    for event in sorted(events, key=lambda event: int(event.start_ns())):
        level += int(event.nbytes())
        highest = max(highest, level)
    return highest


def measure_on_cpu(
    run: Run,
    resident: Callable[[], Iterable[torch.Tensor]],
    *,
    mode: str,
    reset: Run | None = None,
    warm_up: bool = False,
    workspace: bool = True,
) -> MeasuredMemory:
    """Measure ``run``, a forward pass or a whole training step, on CPU tensors.

    ``resident()`` gives what is there before and after (weights, buffers, inputs, optimizer state);
    ``reset`` brings the model back to the state before a run (drops gradients); ``warm_up`` runs once
    unmeasured, so that an optimizer has its state. ``workspace=False`` leaves out the profiler's pass. The
    random state is kept.
    """
    with _random_state_kept():
        if warm_up:
            run()
        if reset:
            reset()
        before, samples = tracked_run(run, resident())
        above = None
        if workspace:
            if reset:
                reset()
            above = allocator_peak(run)
        if reset:
            reset()
    return MeasuredMemory(
        device="cpu",
        method="dispatcher (tensors) and torch.profiler (allocator)",
        mode=mode,
        resident_bytes=before,
        samples=samples,
        allocator_peak_bytes=None if above is None else before + above,
    )


@contextmanager
def _random_state_kept() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield
