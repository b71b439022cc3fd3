"""Kernel times out of a profiler's trace: pure arithmetic, no framework.

A trace has host events (ranges that we opened, operators, launches) and device events (kernels, copies, fills). A
kernel carries the id of the operator that launched it, and the correlation id of the launch itself. When that began on
the host says which range it lies in: a *pass* is one inference, a *call* one ATen call of the annotated first pass. The
operator is asked first, for it is timed by the clock that the ranges are.
The passes after it carry no calls (annotating costs the host more than launching does); their kernels are the same
ones in the same order, so calls are carried over by position.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["CALL", "HOST_BOUND", "PASS", "GpuTimes", "KernelRun", "KernelTotals", "Pass", "TraceEvent", "busy_s",
           "carried_over", "chosen", "passes_of", "seconds_by_op", "short_name", "totals"]  # fmt: skip

PASS, CALL = "cnnprof.pass#", "cnnprof.call#"
# End to end this much longer than the device alone needs: the host is what limits.
HOST_BOUND = 1.10
_LONGEST_NAME = 160
Shares = Sequence[tuple[tuple[str, float], ...]]  # for each call the ops it belongs to, with shares that sum to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """One event; times in nanoseconds on one axis for host and device. ``correlation`` is a launch's or kernel's CUPTI
    id, or an operator's own; ``linked`` is the id of the operator that a kernel belongs to (0: none)."""

    name: str
    kind: Literal["range", "op", "launch", "kernel"]
    start_ns: int
    duration_ns: int
    correlation: int = 0
    linked: int = 0

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns


@dataclass(frozen=True, slots=True)
class KernelRun:
    """One kernel (or copy, or fill) on the device; ``call`` is the ATen call that launched it, None if unknown."""

    name: str
    start_ns: int
    duration_ns: int
    call: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One inference: its kernels in device order, and how long it took on the host, the wait at its end included."""

    kernels: tuple[KernelRun, ...]
    duration_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTotals:
    """Of one inference: how many kernels, the sum of their times, and the time in which any of them ran (less than the
    sum where streams overlap); ``graph_s`` is a CUDA graph's replay, None where none could be captured."""

    kernels: int
    kernel_s: float
    busy_s: float
    graph_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTimes:
    """Both clocks side by side: ``end_to_end_s`` by events, the rest from the trace."""

    end_to_end_s: float
    totals: KernelTotals

    @property
    def busy_share(self) -> float:
        """The share of the end-to-end time in which the GPU ran a kernel."""
        return min(1.0, self.totals.busy_s / self.end_to_end_s) if self.end_to_end_s > 0 else 0.0

    @property
    def launch_gap_s(self) -> float:
        """Time in which the GPU ran nothing: mostly it waited for the host."""
        return max(0.0, self.end_to_end_s - self.totals.busy_s)

    @property
    def host_bound(self) -> bool:
        """More than 10 % slower than the same kernels without the host (a graph's replay; else than their own time)."""
        alone = self.totals.busy_s if self.totals.graph_s is None else self.totals.graph_s
        return self.end_to_end_s > HOST_BOUND * alone

    def to_dict(self) -> dict[str, Any]:
        return {
            "kernels": self.totals.kernels,
            "kernel_s": self.totals.kernel_s,
            "busy_s": self.totals.busy_s,
            "busy_share": self.busy_share,
            "launch_gap_s": self.launch_gap_s,
            "host_bound": self.host_bound,
            **({} if self.totals.graph_s is None else {"graph_s": self.totals.graph_s}),
        }


def passes_of(events: Sequence[TraceEvent]) -> list[Pass]:
    """The passes of a trace, in order. A kernel of no operator and no launch belongs to the pass that it ran in."""
    launches = {e.correlation: e.start_ns for e in events if e.kind == "launch"}
    ops = {e.correlation: e.start_ns for e in events if e.kind == "op"}
    passes, calls = _ranges(events, PASS), _ranges(events, CALL)
    found: dict[int, list[KernelRun]] = {index: [] for _, index in passes.places}
    for event in sorted((e for e in events if e.kind == "kernel"), key=lambda e: e.start_ns):
        began = [at for at in (ops.get(event.linked), launches.get(event.correlation)) if at is not None]
        own = _first(passes.at(at) for at in began or [event.start_ns])
        if own is not None:
            call = _first(calls.at(at) for at in began)
            found[own].append(KernelRun(short_name(event.name), event.start_ns, event.duration_ns, call))
    lengths = {index: end - start for (start, index), end in zip(passes.places, passes.ends, strict=True)}
    return [Pass(kernels=tuple(found[index]), duration_ns=lengths[index]) for index in sorted(found)]


def _first(found: Iterable[int | None]) -> int | None:
    return next((index for index in found if index is not None), None)


@dataclass(frozen=True, slots=True)
class _Ranges:
    places: list[tuple[int, int]]  # (start, index), by start; ranges of one family don't nest
    ends: list[int]

    def at(self, moment_ns: int) -> int | None:
        place = bisect_right(self.places, (moment_ns, 1 << 62)) - 1
        return self.places[place][1] if place >= 0 and moment_ns <= self.ends[place] else None


def _ranges(events: Sequence[TraceEvent], prefix: str) -> _Ranges:
    own = sorted((e for e in events if e.kind == "range" and e.name.startswith(prefix)), key=lambda e: e.start_ns)
    return _Ranges([(e.start_ns, int(e.name[len(prefix) :])) for e in own], [e.end_ns for e in own])


def carried_over(passes: Sequence[Pass]) -> list[Pass]:
    """The passes after the first that ran its kernels in its order, with its calls; the first itself if none did."""
    if not passes:
        return []
    first, *others = passes
    names = [kernel.name for kernel in first.kernels]
    same = [
        replace(one, kernels=tuple(replace(k, call=f.call) for k, f in zip(one.kernels, first.kernels, strict=True)))
        for one in others
        if [kernel.name for kernel in one.kernels] == names
    ]
    return same or [first]


def busy_s(kernels: Sequence[KernelRun]) -> float:
    """Seconds in which at least one of ``kernels`` ran."""
    busy, reached = 0, -(1 << 62)
    for kernel in sorted(kernels, key=lambda k: k.start_ns):
        end = kernel.start_ns + kernel.duration_ns
        busy += max(0, end - max(reached, kernel.start_ns))
        reached = max(reached, end)
    return busy * 1e-9


def totals(passes: Sequence[Pass], graph_s: float | None = None) -> KernelTotals:
    """The medians over ``passes`` (at least one)."""
    return KernelTotals(
        kernels=round(statistics.median(len(one.kernels) for one in passes)),
        kernel_s=statistics.median(sum(k.duration_ns for k in one.kernels) * 1e-9 for one in passes),
        busy_s=statistics.median(busy_s(one.kernels) for one in passes),
        graph_s=graph_s,
    )


def seconds_by_op(
    kernels: Sequence[KernelRun], seconds: Sequence[float], owners: Shares, ops: Sequence[str]
) -> tuple[dict[str, float], float]:
    """(seconds by op, seconds of no op) of one pass; ``owners`` gives for each call its ops with their shares."""
    spent, elsewhere = dict.fromkeys(ops, 0.0), 0.0
    for kernel, value in zip(kernels, seconds, strict=True):
        shares = owners[kernel.call] if kernel.call is not None and kernel.call < len(owners) else ()
        if not shares:
            elsewhere += value
        for name, share in shares:
            spent[name] += value * share
    return spent, elsewhere


def chosen(kernels: Sequence[KernelRun], owners: Shares) -> Mapping[str, tuple[str, ...]]:
    """The kernels that each op ran, by name, in order, each once: what cuDNN and cuBLAS chose for it."""
    found: dict[str, dict[str, None]] = {}
    for kernel in kernels:
        for name, _ in owners[kernel.call] if kernel.call is not None and kernel.call < len(owners) else ():
            found.setdefault(name, {})[kernel.name] = None
    return {name: tuple(names) for name, names in found.items()}


def short_name(name: str) -> str:
    """A kernel's name without its C++ argument list and return type, of bearable length."""
    return name.removeprefix("void ").partition("(")[0].strip()[:_LONGEST_NAME] or name[:_LONGEST_NAME]
