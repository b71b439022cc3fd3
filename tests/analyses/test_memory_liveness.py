"""Liveness, by hand on named graphs and by law on random ones."""

from __future__ import annotations

import pytest

from cnnprof.analyses.memory import memory
from cnnprof.analyses.memory.liveness import liveness
from cnnprof.analyses.memory.schedule import Category, build_schedule
from cnnprof.errors import UsageError
from cnnprof.ir import DType, Graph, GraphBuilder, ModelSource, Op, Role, Tensor

KB = 1024


def build(ops, *, inputs=(("x", 1),), weights=(), outputs, storages=None, sizes=None, released=None):
    """A graph from rows (name, op_type, reads, {output: kilobytes}); float32, one axis."""
    builder = GraphBuilder(ModelSource("test", "test", "test"))
    storages = storages or {}
    for name, size in inputs:
        builder.add_tensor(Tensor(name, (size * 256,), role=Role.INPUT))
    for name, size in weights:
        builder.add_tensor(Tensor(name, (size * 256,), role=Role.PARAMETER))
    for index, (name, op_type, reads, makes) in enumerate(ops):
        made = [Tensor(out, (size * 256,), storage=storages.get(out, "")) for out, size in makes.items()]
        builder.add_op(Op(name, "unknown", op_type, tuple(reads), tuple(makes)), made)
        for storage in (released or {}).get(index, ()):
            builder.set_released(storage)
    for storage, nbytes in (sizes or {}).items():
        builder.set_storage_bytes(storage, nbytes)
    return builder.build([name for name, _ in inputs], outputs)


def live_kb(graph: Graph) -> list[float]:
    return [n / KB for n in liveness(build_schedule(graph).by_last_reader()).live_bytes]


def test_chain_frees_each_tensor_after_its_last_reader():
    graph = build(
        [
            ("a", "x:f", ["x", "w"], {"a": 2}),
            ("b", "x:f", ["a"], {"b": 8}),
            ("c", "x:f", ["b"], {"c": 4}),
            ("d", "x:f", ["c"], {"y": 1}),
        ],
        weights=[("w", 16)],
        outputs=["y"],
    )
    # resident: x 1 + w 16 = 17. a: +2; b: a+b = 10; c: b+c = 12; d: c+y = 5
    assert live_kb(graph) == [19, 27, 29, 22]
    result = memory(graph)
    assert result.peak_bytes == 29 * KB
    assert (result.peak.op, result.peak.index) == ("c", 2)
    assert [(t.name, t.nbytes // KB, t.made_by, t.freed_after) for t in result.alive_at_peak] == [
        ("w", 16, None, None),
        ("b", 8, "b", "c"),
        ("c", 4, "c", "d"),
        ("x", 1, None, None),
    ]
    assert result.by_category == {"parameter": 16 * KB, "activation": 12 * KB, "input": KB}
    assert (result.weight_bytes, result.peak_activation_bytes) == (16 * KB, 13 * KB)


def test_residual_is_held_over_the_block():
    graph = build(
        [
            ("stem", "x:f", ["x"], {"s": 4}),
            ("conv1", "x:f", ["s"], {"c1": 8}),
            ("conv2", "x:f", ["c1"], {"c2": 4}),
            ("add", "x:add", ["c2", "s"], {"y": 4}),
        ],
        outputs=["y"],
    )
    # x 1 throughout; s is held until the addition: 5, 13, 17, 13
    assert live_kb(graph) == [5, 13, 17, 13]


def test_same_input_twice_and_an_unused_output():
    graph = build(
        [("split", "x:split", ["x"], {"p": 2, "unused": 4}), ("add", "x:add", ["p", "p"], {"y": 2})],
        outputs=["y"],
    )
    # split: x + p + unused = 7; the unused half dies at once: x + p + y = 5
    assert live_kb(graph) == [7, 5]


def test_views_and_in_place_results_share_their_storage():
    graph = build(
        [
            ("conv", "x:f", ["x"], {"a": 8}),
            ("relu", "aten:relu_.default", ["a"], {"r": 8}),
            ("view", "aten:view.default", ["r"], {"v": 8}),
            ("linear", "x:f", ["v"], {"y": 1}),
        ],
        storages={"r": "a", "v": "a"},
        outputs=["y"],
    )
    assert live_kb(graph) == [9, 9, 9, 10]  # one storage of 8 until linear has run


def test_a_view_of_a_part_keeps_the_whole_storage():
    graph = build(
        [
            ("conv", "x:f", ["x"], {"a": 8}),
            ("slice", "aten:slice.Tensor", ["a"], {"part": 1}),
            ("use", "x:f", ["part"], {"y": 1}),
        ],
        storages={"part": "a"},
        outputs=["y"],
    )
    assert live_kb(graph) == [9, 9, 10]


def test_stated_storage_bytes_win_over_the_tensors_size():
    # An expanded tensor: 8 kB by shape, 1 kB of memory.
    graph = build([("expand", "x:e", ["x"], {"y": 8})], outputs=["y"], sizes={"y": KB})
    assert live_kb(graph) == [2]


def test_graph_outputs_live_to_the_end():
    graph = build(
        [("a", "x:f", ["x"], {"early": 4}), ("b", "x:f", ["x"], {"t": 2}), ("c", "x:f", ["t"], {"late": 1})],
        outputs=["early", "late"],
    )
    assert live_kb(graph) == [5, 7, 8]


def test_what_the_framework_held_stands_beside_the_convention():
    # The frame of the module keeps `a` while c runs; the graph's last reader of it is b.
    graph = build(
        [("a", "x:f", ["x"], {"a": 4}), ("b", "x:f", ["a"], {"b": 2}), ("c", "x:f", ["b"], {"y": 2})],
        outputs=["y"],
        released={2: ("a", "b")},
    )
    result = memory(graph)
    assert [n // KB for n in result.live_bytes] == [5, 7, 5]
    assert [n // KB for n in result.framework_live_bytes] == [5, 7, 9]
    assert result.framework_peak.nbytes == 9 * KB
    assert result.framework_peak.op == "c"
    assert result.to_dict()["framework"]["peak"] == {
        "bytes": 9 * KB,
        "op": "c",
        "index": 2,
        "phase": "forward",
    }


def test_a_graph_without_ops_holds_its_inputs_and_weights():
    result = memory(build([], weights=[("w", 3)], outputs=["x"]))
    assert (result.peak_bytes, result.peak.op) == (4 * KB, None)
    assert result.arena.nbytes == 0
    assert result.to_dict()["timeline"]["live_bytes"] == []


def test_unknown_sizes_are_named_and_never_zero_in_silence():
    builder = GraphBuilder(ModelSource("t", "t", "t"))
    builder.add_tensor(Tensor("x", (256,), role=Role.INPUT))
    builder.add_op(Op("nonzero", "unknown", "x:nz", ("x",), ("i",)), [Tensor("i", None, DType.INT64)])
    result = memory(builder.build(["x"], ["i"]))
    assert result.unsized == ("i",)
    assert not result.complete
    assert result.to_dict()["unsized"] == ["i"]


def test_shared_weight_counts_once():
    builder = GraphBuilder(ModelSource("t", "t", "t"))
    builder.add_tensor(Tensor("x", (256,), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (512,), role=Role.PARAMETER))
    builder.add_tensor(Tensor("tied", (512,), role=Role.PARAMETER, storage="w"))
    builder.add_op(Op("a", "unknown", "x:f", ("x", "w"), ("a",)), [Tensor("a", (256,))])
    builder.add_op(Op("b", "unknown", "x:f", ("a", "tied"), ("y",)), [Tensor("y", (256,))])
    assert memory(builder.build(["x"], ["y"])).parameter_bytes == 2048


def test_rounding_rounds_every_storage_up():
    builder = GraphBuilder(ModelSource("t", "t", "t"))
    builder.add_tensor(Tensor("x", (3,), role=Role.INPUT))  # 12 bytes -> 512
    builder.add_op(Op("f", "unknown", "x:f", ("x",), ("y",)), [Tensor("y", (129,))])  # 516 -> 1024
    graph = builder.build(["x"], ["y"])
    assert memory(graph).peak_bytes == 528
    assert memory(graph, rounding_bytes=512).peak_bytes == 1536
    with pytest.raises(UsageError, match="rounding of 0 bytes"):
        memory(graph, rounding_bytes=0)


def test_timeline_of_a_large_graph_keeps_its_peak():
    ops = [("op0", "x:f", ["x"], {"t0": 1})]
    ops += [(f"op{i}", "x:f", [f"t{i - 1}"], {f"t{i}": 50 if i == 777 else 1}) for i in range(1, 2000)]
    result = memory(build(ops, outputs=["t1999"]), advise=False)
    timeline = result.to_dict()["timeline"]
    assert timeline["ops_per_point"] == 4  # ceil(2000 / 512)
    assert len(timeline["live_bytes"]) == 500
    assert max(timeline["live_bytes"]) == result.peak_bytes == 52 * KB  # x, t776 and t777


def test_categories_of_a_training_graph():
    builder = GraphBuilder(ModelSource("t", "t", "t"), mode="training")
    builder.add_tensor(Tensor("x", (256,), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (512,), role=Role.PARAMETER))
    builder.add_op(Op("f", "unknown", "x:f", ("x", "w"), ("a",)), [Tensor("a", (1024,))])
    builder.add_op(Op("g", "unknown", "x:f", ("a",), ("loss",)), [Tensor("loss", (1,))])
    builder.add_op(Op("gb", "unknown", "x:b", ("a",), ("da",), phase="backward"), [Tensor("da", (1024,))])
    builder.add_op(Op("fb", "unknown", "x:b", ("da", "x"), ("dw",), phase="backward"), [Tensor("dw", (512,))])
    builder.add_op(
        Op("sgd", "unknown", "aten:add_.Tensor", ("w", "dw"), ("w2",), phase="optimizer"),
        [Tensor("w2", (512,), storage="w")],
    )
    graph = builder.build(["x"], ["loss"], saved_for_backward=["a", "x"], optimizer_state_bytes=4096)
    result = memory(graph)
    assert result.saved_for_backward_bytes == 4096  # a; x is an input and there anyway
    assert result.gradient_bytes == 2048
    assert result.optimizer_state_bytes == 4096
    # resident 1024 + 2048 + 4096; gb: a, da, loss = 8196; the peak is there
    assert result.peak_bytes == 7168 + 8196
    assert result.peak.phase == "backward"
    assert {t.category for t in result.alive_at_peak} >= {Category.SAVED, Category.OPTIMIZER}
    # Optimizer state follows the parameters' type.
    assert memory(graph, weight_dtype="float16").optimizer_state_bytes == 2048
