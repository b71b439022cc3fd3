"""Calibrating onnxruntime: which node is which kernel, and what a profile says of each, by hand and once for real."""

from __future__ import annotations

import pytest
from small_networks import small_network

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import UsageError
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.structure import FileNode
from cnnprof.ir import Graph
from cnnprof.measure.calibrate_onnxruntime import _counting, onnxruntime_networks, seconds_by_kernel, within
from cnnprof.measure.calibrate_suite import network_of
from cnnprof.measure.clock import SystemClock
from cnnprof.measure.lowering_onnxruntime import lowering_here
from cnnprof.measure.onnxruntime_kernels import kernel_of_nodes, keys_of, node_times
from cnnprof.measure.statistics import Sample
from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.predict.lower import lower
from cnnprof.predict.lower_onnxruntime import place


def event(name: str, op: str, microseconds: int, cat: str = "Node") -> dict[str, object]:
    return {"cat": cat, "name": name, "dur": microseconds, "args": {"op_name": op}}


def test_a_profile_by_hand() -> None:
    """Kernel 0 has one node, kernel 1 two of no name; run 0 warms up, run 2 was disturbed."""
    profile = []
    for conv, sigmoid, mul in ((900, 90, 90), (10, 3, 1), (500, 3, 1), (12, 4, 2), (11, 5, 3)):
        profile += [
            event("session_run", "", 9999, cat="Session"),
            event("a_nchwc_fence_before", "Conv", 1),
            event("a_nchwc_kernel_time", "Conv", conv),
            event("HardSigmoid_7_kernel_time", "HardSigmoid", sigmoid),
            event("Mul_8_kernel_time", "Mul", mul),
        ]
    owners = {"a_nchwc": 0, "HardSigmoid#0": 1, "Mul#0": 1}
    seconds = seconds_by_kernel(profile, owners, 3, [1, 3, 4])
    # The lower 40 % of three values are one: 10, and 3 + 1.
    assert seconds == [pytest.approx(10e-6), pytest.approx(4e-6), 0.0]
    # Of five two: (10 + 11) / 2.
    assert seconds_by_kernel(profile, owners, 2, [0, 1, 2, 3, 4])[0] == pytest.approx(10.5e-6)


def test_a_node_may_be_named_like_an_unnamed_one() -> None:
    profile = [event("Conv_3_kernel_time", "Conv", 5), event("Conv_4_kernel_time", "Conv", 7)]
    assert [key for key, _ in node_times(profile, {"Conv_3": 0})] == ["Conv_3", "Conv#0"]
    assert keys_of([("", "Mul"), ("n", "Mul"), ("", "Add"), ("", "Mul")]) == ["Mul#0", "n", "Add#0", "Mul#1"]


def test_runs_that_count() -> None:
    clean, late = Sample(1.0, 1.0, False), Sample(2.0, 1.0, True)
    assert _counting([late, clean, clean, late, clean, clean]) == [1, 2, 4, 5]
    assert _counting([clean, late, clean, late]) == [1, 2, 3]


def test_waiting_is_taken_out_of_a_profile() -> None:
    assert within([3.0, 1.0], 2.0) == [1.5, 0.5]
    assert within([1.1, 1.0], 2.0) == [1.1, 1.0]  # as far as the instrument explains it


def test_nodes_by_hand() -> None:
    """conv -> hard_swish (no convolution of the blocked layout, so two nodes without a name) -> conv in blocks."""
    net = NetBuilder("n", (1, 9, 8, 8))
    x = net.conv(net.act(net.conv(net.input, 8, 1), "hard_swish"), 16, 3)
    model = synthetic_model(net.done(x), random_weights(net.done(x), 0))
    graph = load_onnx(model, reference="n")
    placed = place(graph, complexity(graph))
    assert [p.kernel.path for p in placed] == ["im2col", "hard_swish", "reorder_in", "blocked", "reorder_out"]
    nodes = [
        FileNode("c", "Conv", "", ("x", "w"), ("conv",)),
        FileNode("", "HardSigmoid", "", ("conv",), ("inlined",)),
        FileNode("", "Mul", "", ("conv", "inlined"), ("hard_swish",)),
        FileNode("ReorderInput", "ReorderInput", "com.microsoft.nchwc", ("hard_swish",), ("r0",)),
        FileNode("conv.2_nchwc", "Conv", "com.microsoft.nchwc", ("r0", "w2"), ("r1",)),
        FileNode("ReorderOutput", "ReorderOutput", "com.microsoft.nchwc", ("r1",), ("conv.2",)),
    ]
    assert kernel_of_nodes(nodes, (), placed) == {
        "c": 0, "HardSigmoid#0": 1, "Mul#0": 1, "ReorderInput": 2, "conv.2_nchwc": 3, "ReorderOutput": 4,
    }  # fmt: skip


def test_every_third_network_has_odd_widths_for_onnxruntime_alone() -> None:
    def widths(graph: Graph) -> set[int]:
        convs = [op for op in graph.ops if op.kind == "conv"]
        return {(graph.tensors[op.outputs[0]].shape or (0, 0))[1] % 4 for op in convs}

    assert any(widths(network_of("onnxruntime", 0, index)) != {0} for index in (2, 5, 8))
    assert widths(network_of("onnxruntime", 0, 0)) == widths(network_of("torch", 0, 0))


def test_what_no_onnxruntime_has() -> None:
    with pytest.raises(UsageError, match="blocks hold 1, 8 or 16"):
        lower(small_network("plain-16"), "onnxruntime-9")
    assert lowering_here() in ("onnxruntime", "onnxruntime-16", "onnxruntime-1")


def test_really_on_onnxruntime() -> None:
    """Every kernel of a real network has a time, reorders included."""
    with onnxruntime_networks(1) as measure:
        sample = measure(0, small_network("inverted-16"), SystemClock())
    assert len(sample.kernels) == len(sample.seconds) > 15
    assert {"reorder_in", "reorder_out"} <= {kernel.path for kernel in sample.kernels}
    assert all(seconds > 1e-8 for seconds in sample.seconds) and sample.total_s > 0
