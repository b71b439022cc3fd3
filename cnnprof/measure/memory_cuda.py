"""Memory on CUDA, by the caching allocator's own statistics and snapshot.

Everything asked of the device goes through :class:`CudaAllocator`, so that the bookkeeping here can be
checked without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cnnprof.errors import DeviceError
from cnnprof.measure.memory_record import MeasuredMemory, Sample

__all__ = ["CudaAllocator", "TorchCudaAllocator", "measure_on_cuda"]

Run = Callable[[], object]
Event = dict[str, Any]


class CudaAllocator(Protocol):
    """What a measurement asks of ``torch.cuda.memory``; all sizes in bytes."""

    def synchronize(self) -> None: ...

    def empty_cache(self) -> None: ...

    def reset_peak(self) -> None: ...

    def allocated_bytes(self) -> int: ...

    def requested_bytes_peak(self) -> int | None: ...

    def allocated_bytes_peak(self) -> int: ...

    def record_history(self, enabled: bool) -> None: ...

    def history(self) -> list[Event]: ...

    def release_workspaces(self) -> None:
        """Let go of what libraries hold from one call to the next: cuBLAS' workspace, for every stream that it has
        seen (32 MiB on Hopper)."""
        ...


class TorchCudaAllocator:
    """The real one. Raises :class:`DeviceError` where there's no CUDA device."""

    def __init__(self, device: int = 0) -> None:
        import torch

        if not torch.cuda.is_available():
            raise DeviceError("cuda: no device is available", "measure on the CPU: --device cpu")
        self._torch = torch
        self._device = device

    def synchronize(self) -> None:
        self._torch.cuda.synchronize(self._device)

    def empty_cache(self) -> None:
        self._torch.cuda.empty_cache()

    def reset_peak(self) -> None:
        self._torch.cuda.memory.reset_peak_memory_stats(self._device)

    def allocated_bytes(self) -> int:
        return int(self._torch.cuda.memory.memory_allocated(self._device))

    def allocated_bytes_peak(self) -> int:
        return int(self._torch.cuda.memory.max_memory_allocated(self._device))

    def requested_bytes_peak(self) -> int | None:
        statistics = self._torch.cuda.memory.memory_stats(self._device)
        value = statistics.get("requested_bytes.all.peak")
        return None if value is None else int(value)

    def record_history(self, enabled: bool) -> None:
        self._torch.cuda.memory._record_memory_history("all" if enabled else None)

    def history(self) -> list[Event]:
        traces = self._torch.cuda.memory._snapshot(self._device).get("device_traces", [])
        return list(traces[self._device]) if len(traces) > self._device else []

    def release_workspaces(self) -> None:
        release = getattr(self._torch._C, "_cuda_clearCublasWorkspaces", None)
        if release is not None:
            release()


def measure_on_cuda(
    run: Run,
    allocator: CudaAllocator,
    *,
    mode: str,
    reset: Run | None = None,
    warm_up: bool = True,
) -> MeasuredMemory:
    """Measure ``run`` on a device whose weights and inputs are already there.

    The warm-up run lets cuDNN and cuBLAS take their workspaces and the optimizer its state before the count
    begins. ``samples`` are the snapshot's allocations and frees; the peak comes from the statistics. What libraries
    hold from one call to the next is no tensor's: it is in the allocator's peak alone. History is switched off again
    whatever happens.
    """
    allocator.release_workspaces()
    if warm_up:
        run()
    if reset:
        reset()
    allocator.synchronize()
    allocator.empty_cache()
    allocator.reset_peak()
    resident = allocator.allocated_bytes()
    allocator.record_history(True)
    try:
        run()
        allocator.synchronize()
        events = allocator.history()
    finally:
        allocator.record_history(False)
    peak, requested = allocator.allocated_bytes_peak(), allocator.requested_bytes_peak()
    if reset:
        reset()
    after = allocator.allocated_bytes()
    allocator.release_workspaces()
    held = after - allocator.allocated_bytes()
    return MeasuredMemory(
        device="cuda",
        method="torch.cuda.memory statistics and snapshot",
        mode=mode,
        resident_bytes=resident - held,
        samples=_samples(events, resident - held),
        tensor_peak=(peak if requested is None else requested) - held,
        allocator_peak_bytes=peak,
        held_bytes=held,
    )


def _samples(events: list[Event], resident_bytes: int) -> tuple[Sample, ...]:
    """Bytes alive after each allocation and each completed free of the snapshot's trace."""
    level, samples = resident_bytes, []
    for event in events:
        action = event.get("action")
        if action == "alloc":
            level += int(event["size"])
        elif action == "free_completed":
            level -= int(event["size"])
        else:
            continue
        samples.append(Sample(f"cuda:{action}", level))
    return tuple(samples)
