"""Kernel times out of traces written down by hand: joins, waits, busy time. No framework, no device."""

from __future__ import annotations

import pytest

from cnnprof.measure.cuda import driver_in, gpu_in
from cnnprof.measure.gpu_trace import (
    GpuTimes,
    KernelRun,
    KernelTotals,
    Pass,
    TraceEvent,
    busy_s,
    carried_over,
    chosen,
    passes_of,
    seconds_by_op,
    short_name,
    totals,
)

US = 1000


def event(name: str, kind: str, start_us: int, duration_us: int, correlation: int = 0, linked: int = 0) -> TraceEvent:
    return TraceEvent(
        name=name, kind=kind, start_ns=start_us * US, duration_ns=duration_us * US, correlation=correlation, linked=linked
    )  # fmt: skip


# Host: two calls of pass 0 launch at 15 and 35; pass 1 launches both again. The device is 100 µs behind.
TRACE = [
    event("cnnprof.pass#0", "range", 0, 200),
    event("cnnprof.call#0", "range", 10, 10),
    event("cnnprof.call#1", "range", 30, 10),
    event("cudaLaunchKernel", "launch", 15, 2, correlation=901),
    event("cudaLaunchKernel", "launch", 35, 2, correlation=902),
    event("aten::add", "op", 32, 6, correlation=7),
    event("void conv<float>(float*)", "kernel", 100, 40, correlation=901, linked=5),
    event("add", "kernel", 145, 5, correlation=902, linked=7),
    event("Memset (Device)", "kernel", 151, 1, correlation=999, linked=7),  # its launch was lost: the operator's moment
    event("orphan", "kernel", 160, 2, correlation=998),  # neither: the pass that it ran in
    event("cnnprof.pass#1", "range", 300, 100),
    event("cudaLaunchKernel", "launch", 310, 2, correlation=903),
    event("void conv<float>(float*)", "kernel", 320, 30, correlation=903),
    event("outside", "kernel", 500, 9, correlation=904),
]


def test_kernels_find_their_pass_and_call() -> None:
    first, second = passes_of(TRACE)
    assert [(k.name, k.duration_ns, k.call) for k in first.kernels] == [
        ("conv<float>", 40 * US, 0), ("add", 5 * US, 1), ("Memset (Device)".partition("(")[0].strip(), 1 * US, 1),
        ("orphan", 2 * US, None),
    ]  # fmt: skip
    assert [(k.name, k.call) for k in second.kernels] == [("conv<float>", None)]
    assert (first.duration_ns, second.duration_ns) == (200 * US, 100 * US)
    assert passes_of([]) == []


def test_the_order_of_events_does_not_matter() -> None:
    assert passes_of(list(reversed(TRACE))) == passes_of(TRACE)


def test_an_operator_is_believed_before_a_launch() -> None:
    """The launch's clock is 20 µs off, into the call before: its operator stands in call 1 by the ranges' own clock."""
    skewed = [
        e if e.correlation != 902 or e.kind != "launch" else event("cudaLaunchKernel", "launch", 15, 2, 902)
        for e in TRACE
    ]
    assert [kernel.call for kernel in passes_of(skewed)[0].kernels] == [0, 1, 1, None]
    # An operator outside of every call (a composite around them) leaves it to the launch.
    outer = [*TRACE, event("aten::conv2d", "op", 5, 40, correlation=5)]
    assert [kernel.call for kernel in passes_of(outer)[0].kernels] == [0, 1, 1, None]


def run(name: str, start_us: float, duration_us: float, call: int | None = None) -> KernelRun:
    return KernelRun(name, round(start_us * US), round(duration_us * US), call)


def test_calls_are_carried_over_where_kernels_are_the_same() -> None:
    annotated = Pass(kernels=(run("a", 0, 9, 0), run("b", 20, 9, 2)), duration_ns=1)
    same = Pass(kernels=(run("a", 0, 3), run("b", 5, 4)), duration_ns=1)
    other = Pass(kernels=(run("a", 0, 3), run("c", 5, 4)), duration_ns=1)
    assert [[(k.name, k.duration_ns, k.call) for k in p.kernels] for p in carried_over([annotated, other, same])] == [
        [("a", 3 * US, 0), ("b", 4 * US, 2)]
    ]
    assert carried_over([annotated, other]) == [annotated]
    assert carried_over([]) == []


def test_overlapping_kernels_are_busy_once() -> None:
    kernels = [run("a", 0, 10), run("b", 5, 10), run("c", 6, 2), run("d", 20, 5)]
    assert busy_s(kernels) == pytest.approx(20e-6)  # 0 to 15 and 20 to 25
    found = totals([Pass(kernels=tuple(kernels), duration_ns=0)], 22e-6)
    assert (found.kernels, found.kernel_s, found.busy_s, found.graph_s) == (
        4,
        pytest.approx(27e-6),
        found.busy_s,
        22e-6,
    )


@pytest.mark.parametrize(
    ("graph_s", "bound"),
    [(95e-6, False), (90e-6, True), (None, True)],  # 100 > 1.1 · 95 = 104.5 is false; 99 and 66 are less than 100
)
def test_who_is_the_limit(graph_s: float | None, bound: bool) -> None:
    times = GpuTimes(end_to_end_s=100e-6, totals=KernelTotals(kernels=3, kernel_s=70e-6, busy_s=60e-6, graph_s=graph_s))
    assert times.busy_share == pytest.approx(0.6) and times.launch_gap_s == pytest.approx(40e-6)
    assert times.host_bound is bound
    assert ("graph_s" in times.to_dict()) is (graph_s is not None)


def test_kernels_go_to_the_ops_of_their_calls() -> None:
    kernels = [run("pad", 0, 2, 0), run("conv", 2, 8, 0), run("fused", 10, 4, 1), run("stray", 14, 1, None)]
    owners = [(("conv1", 1.0),), (("add", 0.75), ("relu", 0.25))]
    spent, elsewhere = seconds_by_op(kernels, [2.0, 8.0, 4.0, 1.0], owners, ["conv1", "add", "relu", "view"])
    assert spent == {"conv1": 10.0, "add": 3.0, "relu": 1.0, "view": 0.0} and elsewhere == 1.0
    assert chosen(kernels, owners) == {"conv1": ("pad", "conv"), "add": ("fused",), "relu": ("fused",)}


def test_names_are_bearable() -> None:
    assert short_name("void at::native::relu<float, 4>(int, float*)") == "at::native::relu<float, 4>"
    assert len(short_name("x" * 900)) == 160
    assert short_name("(anonymous)") == "(anonymous)"


def test_what_the_driver_says_of_itself() -> None:
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n"
    assert (driver_in(text), driver_in(opened), driver_in("nothing")) == ("550.54.15", "570.86.10", None)
    assert gpu_in("Model: \t\t NVIDIA H100 80GB HBM3 \nIRQ: 12\n") == "NVIDIA H100 80GB HBM3"
    assert gpu_in("IRQ: 12\n") is None
