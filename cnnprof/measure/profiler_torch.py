"""Kernel times through torch.profiler (CUPTI), and which of the IR's ops launched which kernel.

The first pass runs under a dispatch mode that puts every ATen call into a range of its own; the passes after it run
as they are. Kernels find their call by the moment of their launch (:mod:`cnnprof.measure.gpu_trace`), calls their op
by order (:mod:`cnnprof.measure.align`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.torch.schema import plan_of
from cnnprof.ir import Graph
from cnnprof.measure.align import align
from cnnprof.measure.cuda import Profiler
from cnnprof.measure.gpu_trace import (
    CALL,
    PASS,
    Pass,
    Shares,
    TraceEvent,
    carried_over,
    chosen,
    passes_of,
    seconds_by_op,
    totals,
)
from cnnprof.measure.runner import LayerTimes, least

__all__ = ["Profiled", "TorchProfiler", "event_of", "kernel_layer_times", "profiled"]

Run = Callable[[], object]
_KINDS: dict[str, Literal["range", "op", "launch", "kernel"]] = {
    "user_annotation": "range", "cpu_op": "op", "cuda_runtime": "launch", "cuda_driver": "launch",
    "kernel": "kernel", "concurrent_kernel": "kernel", "gpu_memcpy": "kernel", "gpu_memset": "kernel",
}  # fmt: skip


class TorchProfiler:
    """The real one."""

    activities = (torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA)

    def __init__(self) -> None:
        self._warm = False

    def trace(self, run: Run) -> Sequence[TraceEvent]:
        if not self._warm:  # the first use loads CUPTI, for a second or so, and may miss kernels
            self._warm = True
            self._trace(self.synchronize)
        return self._trace(run)

    def _trace(self, run: Run) -> Sequence[TraceEvent]:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes to the terminal
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: Profiler clears events")  # one cycle is all there is
            with torch.profiler.profile(activities=self.activities) as profiler:
                run()
                self.synchronize()
        results = getattr(getattr(profiler, "profiler", None), "kineto_results", None)
        found = [] if results is None else [event_of(event) for event in results.events()]
        return [event for event in found if event is not None]

    def range(self, name: str) -> AbstractContextManager[object]:
        return torch.profiler.record_function(name)

    def synchronize(self) -> None:
        torch.cuda.synchronize()


def event_of(event: Any) -> TraceEvent | None:
    """One of kineto's events; None for what says nothing here (a range drawn on the device's side, overheads)."""
    kind = _kind(event)
    if kind is None:
        return None
    return TraceEvent(
        name=event.name(),
        kind=kind,
        start_ns=int(event.start_ns()),
        duration_ns=int(event.duration_ns()),
        correlation=int(event.correlation_id()),
        linked=int(event.linked_correlation_id()),
    )


def _kind(event: Any) -> Literal["range", "op", "launch", "kernel"] | None:
    activity = getattr(event, "activity_type", None)
    if activity is not None:
        return _KINDS.get(str(activity()))
    # Before torch 2.8 an event doesn't say what it is: a host event that is linked to an operator is a launch.
    on_host = event.device_type() == torch.autograd.DeviceType.CPU  # type: ignore[attr-defined]
    if event.is_user_annotation():
        return "range" if on_host else None
    if on_host:
        return "launch" if event.linked_correlation_id() > 0 or event.name().startswith("cuda") else "op"
    return None if event.name().startswith((PASS, CALL)) else "kernel"


class _RangedCalls(TorchDispatchMode):
    """Every ATen call in a range of its own, numbered; their spellings in order."""

    def __init__(self, profiler: Profiler) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._profiler = profiler
        self.calls: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = f"{CALL}{len(self.calls)}"
        self.calls.append(func)
        with self._profiler.range(name):
            return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """Passes whose kernels know their call; for each call the ops it belongs to, with shares."""

    passes: Sequence[Pass]
    owners: Shares

    @property
    def seen(self) -> bool:
        """Whether there were any kernels: a container may forbid looking at them."""
        return any(one.kernels for one in self.passes)


def profiled(graph: Graph, profiler: Profiler, *, plain: Run, watched: Run | None, passes: int) -> Profiled:
    """One pass of ``watched`` with every call in its range, then ``passes`` of ``plain``, in one trace.

    ``watched`` shows the dispatcher what the tracer saw (None: the kernels belong to no op); ``plain`` is what runs for
    the total.
    """
    calls: list[Any] = []

    def run() -> None:
        if watched is not None:
            with profiler.range(f"{PASS}0"):
                with _RangedCalls(profiler) as mode:
                    watched()
                profiler.synchronize()
            calls.extend(mode.calls)
        for index in range(1, passes + 1):
            with profiler.range(f"{PASS}{index}"):
                plain()
                profiler.synchronize()

    seen = passes_of(profiler.trace(run))
    weights = {
        row.name: float(row.flops + (row.bytes_read or 0) + (row.bytes_written or 0)) for row in complexity(graph).rows
    }
    owners = align(graph, [plan_of(func).op_type for func in calls], weights)
    return Profiled(passes=seen if watched is None else carried_over(seen), owners=owners)


def kernel_layer_times(graph: Graph, found: Profiled, graph_s: float | None = None) -> LayerTimes:
    """Each op's least kernel time over the passes; what ran for no op is elsewhere. Nothing where no kernel was seen,
    the sums alone where no call was."""
    if not found.seen:
        return LayerTimes(seconds={})
    if not found.owners:
        return LayerTimes(seconds={}, gpu=totals(found.passes, graph_s))
    ops = [op.name for op in graph.ops]
    rows, rest = [], []
    for one in found.passes:
        seconds, elsewhere = seconds_by_op(
            one.kernels, [kernel.duration_ns * 1e-9 for kernel in one.kernels], found.owners, ops
        )
        rows.append(seconds)
        rest.append(elsewhere)
    return LayerTimes(
        seconds=least(rows),
        elsewhere_s=min(rest),
        total_s=min(one.duration_ns for one in found.passes) * 1e-9,
        kernels=chosen(found.passes[0].kernels, found.owners),
        gpu=totals(found.passes, graph_s),
    )
