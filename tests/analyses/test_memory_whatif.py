"""What-ifs with hand-worked answers: types, checkpointing, results in place, orders, arenas, what fits."""

from __future__ import annotations

import random

import pytest

from cnnprof.analyses.memory import fit_memory, memory
from cnnprof.analyses.memory.arena import plan_arena
from cnnprof.analyses.memory.checkpoint import checkpoint, match_modules
from cnnprof.analyses.memory.dtypes import parse_dtype_options
from cnnprof.analyses.memory.fit import largest, parse_bytes
from cnnprof.analyses.memory.inplace import in_place, in_place_candidates
from cnnprof.analyses.memory.liveness import Lifetime, Liveness, liveness
from cnnprof.analyses.memory.reorder import reorder
from cnnprof.analyses.memory.schedule import build_schedule
from cnnprof.errors import ModelError, UsageError
from cnnprof.ir import DType, Graph, GraphBuilder, ModelSource, Op, Role, Tensor

UNIT = 256  # elements of float32: 1 kB


class Net:
    """Rows of ops; sizes in kilobytes of float32."""

    def __init__(self, mode="inference"):
        self.builder = GraphBuilder(ModelSource("t", "t", "t"), mode)
        self.builder.add_tensor(Tensor("x", (UNIT,), role=Role.INPUT))

    def weight(self, name, size, dtype=DType.FLOAT32):
        self.builder.add_tensor(Tensor(name, (size * UNIT,), dtype, Role.PARAMETER))

    def op(self, name, reads, makes, *, kind="unknown", op_type="x:f", scope="", phase="forward", dtype=DType.FLOAT32):
        self.builder.add_op(
            Op(name, kind, op_type, tuple(reads), tuple(makes), scope=scope, phase=phase),
            [Tensor(out, (size * UNIT,), dtype) for out, size in makes.items()],
        )
        return self

    def graph(self, outputs, **keywords) -> Graph:
        return self.builder.build(["x"], outputs, **keywords)


def kilobytes(nbytes):
    return [n / 1024 for n in nbytes]


# -- types ----------------------------------------------------------------------------------------------------


def test_types_of_weights_and_activations_apart():
    net = Net()
    net.weight("w", 10)
    net.op("f", ["x", "w"], {"a": 4}).op("g", ["a"], {"ids": 2}, dtype=DType.INT32).op("h", ["ids"], {"y": 1})
    graph = net.graph(["y"])
    # float32: f: 1 + 10 + 4 = 15; g: 1 + 10 + 4 + 2 = 17; h: 1 + 10 + 2 + 1 = 14. Integers keep their type.
    assert memory(graph).peak_bytes == 17 * 1024
    assert memory(graph, weight_dtype="float16").peak_bytes == 12 * 1024
    assert memory(graph, activation_dtype="bfloat16").peak_bytes == (10 + 0.5 + 2 + 2) * 1024
    assert memory(graph, weight_dtype="int8", activation_dtype="int8").peak_bytes == (2.5 + 0.25 + 1 + 2) * 1024
    assert memory(graph, weight_dtype="int8").to_dict()["what_if"] == {"weight_dtype": "int8"}


def test_narrow_types_round_up_to_a_byte():
    builder = GraphBuilder(ModelSource("t", "t", "t"))
    builder.add_tensor(Tensor("x", (3,), role=Role.INPUT))
    graph = builder.build(["x"], ["x"])
    assert memory(graph, activation_dtype="int4").peak_bytes == 2  # 12 bits


def test_dtype_options():
    assert parse_dtype_options(("float16",)) == (DType.FLOAT16, DType.FLOAT16)
    assert parse_dtype_options(("weights=int8", "activations=bfloat16")) == (DType.INT8, DType.BFLOAT16)
    assert parse_dtype_options(("float16", "weights=int8")) == (DType.INT8, DType.FLOAT16)
    with pytest.raises(UsageError, match="float17"):
        parse_dtype_options(("float17",))
    with pytest.raises(UsageError, match="grads=float16"):
        parse_dtype_options(("grads=float16",))
    with pytest.raises(UsageError, match="dtype 'int64'"):
        memory(Net().graph(["x"]), weight_dtype="int64")


# -- checkpointing --------------------------------------------------------------------------------------------


def training_net() -> Graph:
    """x -> body (a 8, b 8, out 2) -> head (loss 1); backward keeps a and b."""
    net = Net("training")
    net.op("f", ["x"], {"a": 8}, scope="body/f").op("g", ["a"], {"b": 8}, scope="body/g")
    net.op("h", ["b"], {"out": 2}, scope="body/h").op("loss", ["out"], {"loss": 6}, scope="head")
    net.op("dl", ["out"], {"dout": 2}, scope="head", phase="backward")
    net.op("dh", ["dout", "b"], {"db": 8}, scope="body/h", phase="backward")
    net.op("dg", ["db", "a"], {"da": 8}, scope="body/g", phase="backward")
    net.op("df", ["da", "x"], {"dx": 1}, scope="body/f", phase="backward")
    return net.graph(["loss"], saved_for_backward=["a", "b", "out"])


def test_checkpoint_drops_what_a_module_saved_and_runs_it_again():
    graph = training_net()
    schedule = build_schedule(graph)
    # x 1 throughout. f 9; g 17; h: a b out 19; loss: + 6 = 25; dl: a b out loss dout 27; dh: a b dout db loss 33;
    # dg: a db da loss 31; df: da dx loss 16.
    assert kilobytes(liveness(schedule).live_bytes) == [9, 17, 19, 25, 27, 33, 31, 16]
    again = checkpoint(schedule, ["body"])
    names = [(s.op.name, s.recomputed) for s in again.steps]
    assert names[5:8] == [("f", True), ("g", True), ("h", True)]
    # f 9; g 17; h (a is gone) b + out = 11; loss: out + loss = 9; dl: out loss dout = 11; then a is made again: loss
    # dout a' = 17; a' b' = 25; h once more (torch stops before its result) 25; dh: a' b' dout db = 33; dg 31; df 16.
    assert kilobytes(liveness(again).live_bytes) == [9, 17, 11, 9, 11, 17, 25, 25, 33, 31, 16]
    result = memory(graph, checkpoint_modules=["body"])
    assert result.what_if.checkpointed == ("body",)
    assert result.what_if.recomputed_ops == 3
    assert "f (again)" in result.op_names


def test_checkpoint_keeps_what_others_read():
    net = Net("training")
    net.op("f", ["x"], {"a": 8}, scope="body").op("g", ["a"], {"b": 4}, scope="body")
    net.op("skip", ["a", "b"], {"y": 1}, scope="head")  # the head reads a: the module's result
    net.op("dg", ["y", "a", "b"], {"da": 1}, scope="body", phase="backward")
    again = checkpoint(build_schedule(net.graph(["y"], saved_for_backward=["a", "b"])), ["body"])
    touched = [{again.storages[i].name for i in step.touches} for step in again.steps]
    assert touched[2] == {"a", "b", "y"}
    # The body's own backward reads copies made again; the first ones go once the head has read them.
    assert touched[-1] == {"y", "a (again)", "b (again)", "da"}
    # f: x a 9; g: 13; skip: 14; again f: x y a' 10; g: 14; dg: 15
    assert kilobytes(liveness(again).live_bytes) == [9, 13, 14, 10, 14, 15]


def test_globs_name_the_outermost_modules():
    schedule = build_schedule(training_net())
    assert match_modules(schedule, ["body"]) == ("body",)
    assert match_modules(schedule, ["body.*"]) == ("body/f", "body/g", "body/h")
    assert match_modules(schedule, ["*"]) == ("body", "head")
    assert match_modules(schedule, ["body", "body/f"]) == ("body",)
    with pytest.raises(UsageError, match="--checkpoint bodies: matches no module") as caught:
        match_modules(schedule, ["bodies"])
    assert "body" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="nothing is saved for backward in inference"):
        memory(Net().graph(["x"]), checkpoint_modules=["*"])


# -- in place ---------------------------------------------------------------------------------------------------


def test_elementwise_results_could_overwrite_their_input():
    net = Net()
    net.op("conv", ["x"], {"a": 8}).op("relu", ["a"], {"r": 8}, kind="relu", op_type="aten:relu.default")
    net.op("next", ["r"], {"y": 2})
    schedule = build_schedule(net.graph(["y"]))
    assert kilobytes(liveness(schedule).live_bytes) == [9, 17, 11]
    assert [schedule.steps[at].op.name for at, *_ in in_place_candidates(schedule)] == ["relu"]
    assert kilobytes(liveness(in_place(schedule)).live_bytes) == [9, 9, 11]


def test_no_result_in_place_where_the_input_is_still_needed():
    net = Net()
    net.op("conv", ["x"], {"a": 8}).op("relu", ["a"], {"r": 8}, kind="relu", op_type="aten:relu.default")
    net.op("add", ["r", "a"], {"y": 8}, kind="add", op_type="aten:add.Tensor")
    schedule = build_schedule(net.graph(["y"]))
    # relu's input is read by add; add itself may overwrite r or a.
    assert [schedule.steps[at].op.name for at, *_ in in_place_candidates(schedule)] == ["add"]
    net = Net()
    net.op("relu", ["x"], {"y": 1}, kind="relu", op_type="aten:relu.default")
    assert in_place_candidates(build_schedule(net.graph(["y"]))) == ()  # graph inputs belong to the caller


# -- order -------------------------------------------------------------------------------------------------------


def test_a_better_order_finishes_one_branch_before_the_next():
    net = Net()
    for branch in "pqr":
        net.op(f"{branch}1", ["x"], {f"{branch}1": 10})
    for branch in "pqr":
        net.op(f"{branch}2", [f"{branch}1"], {f"{branch}2": 1})
    net.op("cat", ["p2", "q2", "r2"], {"y": 3})
    graph = net.graph(["y"])
    # As written: x + 3·10 + p2 = 32. Branch by branch: x + p2 + q2 + r1 + r2 = 1 + 1 + 1 + 10 + 1 = 14.
    result = memory(graph, reordering=True)
    assert result.peak_bytes == 32 * 1024
    assert result.reordered.peak_bytes == 14 * 1024
    assert sorted(result.reordered.order) == sorted(result.op_names)
    section = result.to_dict()["reordered"]
    assert section["heuristic"] is True
    assert section["order"] == list(result.reordered.order)
    assert "execution order" in [row.what for row in result.savings]


def test_no_order_is_better_for_a_chain():
    net = Net()
    net.op("a", ["x"], {"a": 3}).op("b", ["a"], {"b": 2}).op("c", ["b"], {"y": 1})
    schedule = build_schedule(net.graph(["y"]))
    found = reorder(schedule)
    assert (found.method, found.order) == ("graph order", (0, 1, 2))


# -- arena -------------------------------------------------------------------------------------------------------


def lives(*rows):
    last = max(end for _, end, _ in rows)
    live = [sum(n for start, end, n in rows if start <= at <= end) for at in range(last + 1)]
    lifetimes = tuple(Lifetime(i, start, end, n) for i, (start, end, n) in enumerate(rows))
    return Liveness(resident_bytes=0, live_bytes=tuple(live), lifetimes=lifetimes)


def test_arena_reuses_what_is_free():
    arena = plan_arena(lives((0, 1, 64), (1, 2, 128), (2, 3, 64)))
    assert (arena.nbytes, arena.lower_bound_bytes, arena.overhead) == (192, 192, 0.0)
    assert [p.offset for p in arena.placements] == [0, 64, 0]


def test_arena_alternates_residuals_between_its_walls():
    # Blocks whose residual (1) lives beside two large tensors (4 and 4) and meets the next residual at its end:
    # bound 4 + 4 + 1 = 9; a bottom-up plan that gives residuals two low places needs 10.
    rows = []
    for k in range(4):
        rows += [(4 * k, 4 * k + 4, 64), (4 * k + 1, 4 * k + 2, 256), (4 * k + 2, 4 * k + 3, 256)]
    arena = plan_arena(lives(*rows))
    assert arena.lower_bound_bytes == 9 * 64
    assert arena.nbytes == 9 * 64


def test_arena_is_nearly_always_optimal_on_small_cases():
    # Exhaustive search over 20,000 such cases found every one solvable at the bound: so the bound is the oracle.
    rng = random.Random(7)
    optimal, worst = 0, 0.0
    for _ in range(300):
        starts = [rng.randint(0, 4) for _ in range(rng.randint(5, 7))]
        rows = [(start, min(5, start + rng.randint(0, 3)), 64 * rng.randint(1, 3)) for start in starts]
        arena = plan_arena(lives(*rows))
        optimal += arena.nbytes == arena.lower_bound_bytes
        worst = max(worst, arena.overhead)
    assert optimal >= 285
    assert worst <= 0.34  # one unit in three


# -- fit ---------------------------------------------------------------------------------------------------------


def linear_graph(batch: int, side: int = 4) -> Graph:
    builder = GraphBuilder(ModelSource("t", "t", "t"))
    builder.add_tensor(Tensor("x", (batch, 1, side, side), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (1000,), role=Role.PARAMETER))
    builder.add_op(Op("f", "unknown", "x:f", ("x", "w"), ("y",)), [Tensor("y", (batch, 3, side, side))])
    return builder.build(["x"], ["y"])


def test_the_largest_batch_and_side_that_fit_are_exact():
    asked = []

    def graph_at(batch, side):
        asked.append((batch, side))
        return linear_graph(batch or 2, side or 4)

    # peak(batch, side) = 4000 + batch · side² · (1 + 3) · 4
    result = fit_memory(memory(linear_graph(2)), 1_000_000, graph_at, side=4)
    assert result.fit.batch.value == (1_000_000 - 4000) // 256 == 3890
    assert result.fit.batch.peak_bytes == 4000 + 3890 * 256
    assert result.fit.batch.next_peak_bytes == 4000 + 3891 * 256
    assert result.fit.side.value == 176  # 4000 + 2·176²·16 = 995,232; 177: 1,006,528
    assert result.fit.side.peak_bytes == 995_232
    assert len(asked) < 40


def test_a_budget_below_the_weights_fits_nothing_and_analyses_nothing():
    def graph_at(batch, side):
        raise AssertionError("not needed")

    result = fit_memory(memory(linear_graph(1)), 3999, graph_at, side=4)
    assert result.fit.batch.value == 0
    assert result.fit.batch.reason == "the weights alone take 4000 bytes"
    assert result.to_dict()["fit"]["weight_bytes"] == 4000


def test_sizes_the_model_refuses_dont_fit_and_say_why():
    def peak_at(n):
        if n % 32:
            raise ModelError(f"side {n}: expected a multiple of 32")
        return n * n

    found = largest(peak_at, 10**6, start=224, limit=2**15, power=2)
    assert found.value % 32 == 0
    assert 224 <= found.value <= 1000
    fixed = largest(lambda n: 5 if n == 224 else peak_at(1), 10, start=224, limit=2**15, power=2)
    assert fixed.value == 224
    assert "the model refuses 225" in fixed.reason


def test_a_search_that_never_ends_says_at_least():
    found = largest(lambda n: 1, 10, start=1, limit=1000)
    assert (found.value, found.at_least) == (1000, True)


@pytest.mark.parametrize("curve", [lambda n: n**3, lambda n: 50 * n, lambda n: 7 * n + 900 * (n > 10), lambda n: 2**n])
def test_the_search_is_right_on_crooked_curves(curve):
    for budget in (1, 8, 500, 5000):
        expected = max([n for n in range(1, 1000) if curve(n) <= budget], default=0)  # one by one
        assert largest(curve, budget, start=1, limit=2**20).value == expected


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("16GiB", 16 * 2**30), ("24 GB", 24 * 10**9), ("512M", 512 * 2**20), ("1.5kb", 1500), ("77", 77)],
)
def test_sizes_as_people_write_them(text, nbytes):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "lots", "16 parsecs", "-3GiB", "0"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError):
        parse_bytes(text)
