"""Laws that hold for every graph, on random DAGs with views, in-place results and unused outputs."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprof.analyses.memory import memory
from cnnprof.analyses.memory.arena import plan_arena
from cnnprof.analyses.memory.inplace import in_place
from cnnprof.analyses.memory.liveness import bytes_in_any_order, least_possible_peak, liveness
from cnnprof.analyses.memory.reorder import dependencies, reorder
from cnnprof.analyses.memory.schedule import build_schedule
from cnnprof.ir import DType, Graph, GraphBuilder, ModelSource, Op, Role, Tensor

DTYPES = (DType.FLOAT32, DType.FLOAT32, DType.FLOAT16, DType.INT64, DType.BOOL)


@st.composite
def graphs(draw: st.DrawFn, batch: int = 1, released: bool = False) -> Graph:
    """Random DAGs of up to 14 ops; the same draw gives the same graph at every ``batch``."""
    builder = GraphBuilder(ModelSource("random", "random", "test"))
    per_sample = st.integers(1, 40)
    for i in range(draw(st.integers(1, 2))):
        builder.add_tensor(Tensor(f"x{i}", (batch, draw(per_sample)), role=Role.INPUT))
    for i in range(draw(st.integers(0, 2))):
        builder.add_tensor(Tensor(f"w{i}", (draw(per_sample),), role=Role.PARAMETER))
    inputs = [n for n, t in builder.tensors.items() if t.role is Role.INPUT]
    for at in range(draw(st.integers(1, 14))):
        names = list(builder.tensors)
        reads = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        how = draw(st.sampled_from(["fresh", "fresh", "fresh", "relu", "view", "inplace"]))
        source = builder.tensors[reads[0]]
        if how == "relu" and not source.is_weight:
            made = [Tensor(f"t{at}", source.shape, source.dtype)]
            op = Op(f"op{at}", "relu", "aten:relu.default", (reads[0],), (f"t{at}",))
        elif how in ("view", "inplace") and source.role is Role.ACTIVATION:
            made = [Tensor(f"t{at}", source.shape, source.dtype, storage=source.storage_name)]
            op_type = "aten:view.default" if how == "view" else "aten:add_.Tensor"
            op = Op(f"op{at}", "unknown", op_type, tuple(reads), (f"t{at}",))
        else:
            made = [
                Tensor(f"t{at}.{j}", (batch, draw(per_sample)), draw(st.sampled_from(DTYPES)))
                for j in range(draw(st.integers(1, 2)))
            ]
            op = Op(f"op{at}", "unknown", "x:f", tuple(reads), tuple(t.name for t in made))
        builder.add_op(op, made)
    made_names = [n for n, t in builder.tensors.items() if t.role is Role.ACTIVATION]
    outputs = draw(st.lists(st.sampled_from(made_names), min_size=1, max_size=2, unique=True))
    graph = builder.build(inputs, outputs)
    if not released:
        return graph
    # What a framework may be seen to do: hold a storage for some ops beyond its last reader.
    last = {}
    for at, op in enumerate(graph.ops):
        for name in (*op.present_inputs, *op.present_outputs):
            last[graph.tensors[name].storage_name] = at
    seen = {s: draw(st.integers(at, len(graph.ops))) for s, at in last.items()}
    return replace(graph, released={s: at for s, at in seen.items() if at < len(graph.ops)})


def own_bytes(graph: Graph, op: Op) -> int:
    storages = {graph.tensors[n].storage_name for n in (*op.present_inputs, *op.present_outputs)}
    return sum(graph.storages[s] for s in storages)


def alive_by_definition(graph: Graph, at: int) -> int:
    """Bytes alive during op ``at``, straight from the counting convention's sentence."""
    total = 0
    for storage, nbytes in graph.storages.items():
        tensors = [t for t in graph.tensors.values() if t.storage_name == storage]
        names = {t.name for t in tensors}
        uses = [i for i, op in enumerate(graph.ops) if names & {*op.present_inputs, *op.present_outputs}]
        there_from_the_start = any(t.role is not Role.ACTIVATION for t in tensors)
        stays = there_from_the_start or bool(names & set(graph.outputs))
        begun = there_from_the_start or (uses and uses[0] <= at)
        if begun and (stays or uses[-1] >= at):
            total += nbytes
    return total


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_timeline_follows_the_convention_and_its_maximum_is_the_peak(graph):
    result = memory(graph, advise=False)
    assert list(result.live_bytes) == [alive_by_definition(graph, i) for i in range(len(graph.ops))]
    assert result.peak_bytes == max(alive_by_definition(graph, i) for i in range(len(graph.ops)))
    assert sum(t.nbytes for t in result.alive_at_peak) == result.peak_bytes
    assert sum(result.by_category.values()) == result.peak_bytes
    sizes = [t.nbytes for t in result.alive_at_peak]
    assert sizes == sorted(sizes, reverse=True)


@given(graphs(released=True))
@settings(max_examples=100, deadline=None)
def test_peak_covers_every_ops_own_inputs_and_outputs(graph):
    result = memory(graph, advise=False)
    assert result.peak_bytes >= max(own_bytes(graph, op) for op in graph.ops)
    if result.framework_peak is not None:
        # A framework may hold longer than the last reader, never shorter.
        assert result.framework_peak.nbytes >= result.peak_bytes


@given(graphs(released=True), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_storage_is_made_once_and_freed_once_and_alive_when_used(graph, by_last_reader):
    schedule = build_schedule(graph)
    schedule = schedule.by_last_reader() if by_last_reader else schedule
    live = liveness(schedule)
    alive = {i for i, s in enumerate(schedule.storages) if s.resident}
    freed: list[int] = []
    for at, step in enumerate(schedule.steps):
        born = [life.storage for life in live.lifetimes if life.start == at]
        assert not alive & set(born)
        assert not set(born) & set(freed)
        alive |= set(born)
        assert set(step.touches) <= alive
        assert live.live_bytes[at] == sum(schedule.storages[i].nbytes for i in alive)
        dead = [life.storage for life in live.lifetimes if life.end == at]
        assert set(dead) <= alive
        alive -= set(dead)
        freed += dead
    assert len(freed) == len(set(freed))
    kept = {i for i, s in enumerate(schedule.storages) if s.resident or s.to_end}
    assert kept <= alive | {i for i in kept if not any(i in s.touches for s in schedule.steps)}
    if schedule.held_until is None:
        assert alive == kept


@given(st.data(), st.integers(2, 9))
@settings(max_examples=80, deadline=None)
def test_activations_are_linear_in_the_batch(data, batch):
    seeds = data.draw(st.integers(0, 2**32))
    one, many = (_seeded(seeds, n) for n in (1, batch))
    first, other = memory(one, advise=False), memory(many, advise=False)
    assert other.weight_bytes == first.weight_bytes
    assert other.peak_activation_bytes == batch * first.peak_activation_bytes
    assert other.peak.op == first.peak.op


def _seeded(seed: int, batch: int) -> Graph:
    import random

    rng = random.Random(seed)
    builder = GraphBuilder(ModelSource("random", "random", "test"))
    builder.add_tensor(Tensor("x", (batch, rng.randint(1, 9)), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (rng.randint(1, 99),), role=Role.PARAMETER))
    names = ["x"]
    for at in range(rng.randint(1, 20)):
        reads = ["w", *rng.sample(names, min(len(names), rng.randint(1, 3)))]
        builder.add_op(
            Op(f"op{at}", "unknown", "x:f", tuple(reads), (f"t{at}",)),
            [Tensor(f"t{at}", (batch, rng.randint(1, 40)))],
        )
        names.append(f"t{at}")
    return builder.build(["x"], [names[-1]])


@given(graphs())
@settings(max_examples=80, deadline=None)
def test_peak_is_monotone_in_the_width_of_either_type(graph):
    widths = ("int4", "int8", "float16", "float32", "float64")
    for part in ("weight_dtype", "activation_dtype"):
        peaks = [memory(graph, advise=False, **{part: dtype}).peak_bytes for dtype in widths]
        assert peaks == sorted(peaks)
    plain = memory(graph, advise=False)
    halves = memory(graph, advise=False, weight_dtype="float16", activation_dtype="float16")
    assert halves.peak_bytes <= plain.peak_bytes


@given(graphs(), st.sampled_from([1, 64, 256]))
@settings(max_examples=150, deadline=None)
def test_arena_never_overlaps_and_is_never_below_the_bound(graph, alignment):
    live = liveness(build_schedule(graph).by_last_reader())
    arena = plan_arena(live, alignment_bytes=alignment)
    assert arena.nbytes >= arena.lower_bound_bytes >= live.peak_bytes - live.resident_bytes
    lives = {life.storage: life for life in live.lifetimes}
    for i, a in enumerate(arena.placements):
        assert a.offset % alignment == 0
        assert a.offset + a.nbytes <= arena.nbytes
        assert a.nbytes >= lives[a.storage].nbytes
        for b in arena.placements[:i]:
            first, second = lives[a.storage], lives[b.storage]
            together = first.start <= second.end and second.start <= first.end
            apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
            assert apart or not together
    assert {p.storage for p in arena.placements} == {s for s, life in lives.items() if life.nbytes}


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_reordering_is_a_topological_order_and_never_worse(graph):
    schedule = build_schedule(graph)
    found = reorder(schedule)
    assert sorted(found.order) == list(range(len(graph.ops)))
    place = {at: i for i, at in enumerate(found.order)}
    made: set[str] = {n for n, t in graph.tensors.items() if t.role is not Role.ACTIVATION}
    for at in found.order:
        assert set(graph.ops[at].present_inputs) <= made  # data first
        made |= set(graph.ops[at].present_outputs)
    for at, needs in enumerate(dependencies(schedule)):
        assert all(place[need] < place[at] for need in needs)
    # A write in place keeps its place among all other uses of its storage.
    for at, op in enumerate(graph.ops):
        if op.op_type != "aten:add_.Tensor":
            continue
        storage = graph.tensors[op.outputs[0]].storage_name
        for other, user in enumerate(graph.ops):
            used = {graph.tensors[n].storage_name for n in (*user.present_inputs, *user.present_outputs)}
            if storage in used and other != at:
                assert (place[other] < place[at]) == (other < at)
    replayed = liveness(schedule.in_order(found.order)).peak_bytes
    assert found.peak_bytes == replayed <= liveness(schedule).peak_bytes


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_no_order_goes_below_what_any_order_needs(graph):
    """Held against the orders that networkx finds: up to 200 of them, whatever they do to results in place."""
    schedule = build_schedule(graph)
    index = {op.name: at for at, op in enumerate(graph.ops)}
    least = [bytes_in_any_order(schedule, at) for at in range(len(graph.ops))]
    for names in islice(nx.all_topological_sorts(graph.digraph), 200):
        order = [index[name] for name in names]
        live = liveness(schedule.in_order(order))
        assert all(live.live_bytes[place] >= least[at] for place, at in enumerate(order))
        assert live.peak_bytes >= least_possible_peak(schedule)


def test_a_chain_has_no_better_order_and_two_branches_may_have_one() -> None:
    """By hand, in bytes: x 8; a chain x -> a (40) -> b (4) needs x, a and b at once. With a second branch x -> c (40)
    -> d (4) beside it, either may be done first."""
    builder = GraphBuilder(ModelSource("hand", "hand", "test"))
    builder.add_tensor(Tensor("x", (2,), role=Role.INPUT))
    for name, source, elements in (("a", "x", 10), ("b", "a", 1), ("c", "x", 10), ("d", "c", 1)):
        builder.add_op(Op(f"make_{name}", "unknown", "x:f", (source,), (name,)), [Tensor(name, (elements,))])
    schedule = build_schedule(builder.build(["x"], ["b", "d"]))
    # Graph outputs live to the end: b is there while c is made, but needn't have been.
    assert list(liveness(schedule).live_bytes) == [8 + 40, 8 + 40 + 4, 8 + 4 + 40, 8 + 4 + 40 + 4]
    assert [bytes_in_any_order(schedule, at) for at in range(4)] == [8 + 40, 8 + 40 + 4, 8 + 40, 8 + 40 + 4]


@given(graphs())
@settings(max_examples=80, deadline=None)
def test_working_in_place_never_raises_the_timeline(graph):
    schedule = build_schedule(graph)
    before, after = liveness(schedule).live_bytes, liveness(in_place(schedule)).live_bytes
    assert all(a <= b for a, b in zip(after, before, strict=True))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_savings_are_what_they_say_and_stand_in_order(graph):
    result = memory(graph)
    savings = [row.saving_bytes for row in result.savings]
    assert savings == sorted(savings, reverse=True)
    for row in result.savings:
        assert row.saving_bytes > 0
        assert row.peak_bytes + row.saving_bytes == result.peak_bytes
