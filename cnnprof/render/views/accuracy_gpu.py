"""What ``make gpu-check`` adds to an accuracy record: is the timing right, CUDA graphs, peak memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.render.quantities import plain
from cnnprof.render.views.accuracy import AccuracyView, accuracy_view

__all__ = ["GpuView", "MemoryRow", "TimingRow", "gpu_view"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One piece of work, timed by CUDA events by hand (runs in a row, and ``alone_s`` single ones), by our session and
    by the profiler's kernels; seconds a run. ``failed`` names the checks that didn't hold; what couldn't be read is
    None."""

    name: str
    events_s: float
    alone_s: float | None
    session_s: float
    kernel_s: float | None
    flops_per_s: float
    peak_share: float | None
    failed: tuple[str, ...]
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """Peak memory of one inference; ``error`` leaves out what libraries held before it ran."""

    name: str
    predicted_bytes: int
    allocated_bytes: int
    held_bytes: int
    error: float


@dataclass(frozen=True, kw_only=True)
class GpuView:
    timing: tuple[TimingRow, ...]
    timing_passed: bool
    memory: tuple[MemoryRow, ...]
    median_error: float | None
    worst_error: float | None
    skipped: tuple[str, ...]
    graph: AccuracyView | None


def gpu_view(record: Mapping[str, Any]) -> GpuView | None:
    """None for a record of a CPU."""
    check = record.get("gpu_check")
    if not check:
        return None
    memory = check.get("memory") or {}
    return GpuView(
        timing=tuple(_timing(row) for row in check.get("timing") or ()),
        timing_passed=bool(check.get("timing_passed")),
        memory=tuple(_memory(row) for row in memory.get("models") or ()),
        median_error=memory.get("median_error"),
        worst_error=memory.get("worst_error"),
        skipped=tuple(plain(str(text)) for text in check.get("skipped") or ()),
        graph=accuracy_view(record["cuda_graph"]) if record.get("cuda_graph") else None,
    )


def _timing(row: Mapping[str, Any]) -> TimingRow:
    return TimingRow(
        name=plain(str(row["name"])),
        events_s=float(row["events_by_hand_s"]),
        alone_s=None if row.get("events_alone_s") is None else float(row["events_alone_s"]),
        session_s=float(row["session_s"]),
        kernel_s=None if row.get("kernel_s") is None else float(row["kernel_s"]),
        flops_per_s=float(row["flops_per_s"]),
        peak_share=None if row.get("share_of_peak") is None else float(row["share_of_peak"]),
        failed=tuple(plain(str(name)) for name in row.get("failed") or ()),
        passed=bool(row["passed"]),
    )


def _memory(row: Mapping[str, Any]) -> MemoryRow:
    return MemoryRow(
        name=plain(str(row["model"])),
        predicted_bytes=int(row["predicted_bytes"]),
        allocated_bytes=int(row["allocated_bytes"]),
        held_bytes=int(row["held_by_libraries_bytes"]),
        error=float(row["error_of_tensors"]),
    )
