"""Benchmarks of the memory analysis: 100,000 ops in well under 5 s, and near-linear."""

from __future__ import annotations

import time

import pytest

from cnnprof.analyses.memory import memory
from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor

pytestmark = pytest.mark.bench


def blocks(ops: int) -> Graph:
    """Residual blocks of five ops, a concatenation every tenth block, views and in-place results among them."""
    builder = GraphBuilder(ModelSource("blocks", "blocks", "test"))
    builder.add_tensor(Tensor("x", (1, 64, 28, 20), role=Role.INPUT))
    last, kept = "x", []
    for at in range(ops // 5):
        shape = (1, 64 + at % 7, 28, 20)
        weight = builder.add_tensor(Tensor(f"w{at}", (shape[1], 64, 3, 3), role=Role.PARAMETER)).name
        names = [f"t{at}.{i}" for i in range(5)]
        rows = (
            ("conv", "aten:convolution.default", (last, weight), names[0], ""),
            ("relu", "aten:relu_.default", (names[0],), names[1], names[0]),
            ("unknown", "aten:view.default", (names[1],), names[2], names[0]),
            ("relu", "aten:relu.default", (names[2],), names[3], ""),
            ("add", "aten:add.Tensor", (names[3], last, *kept[-1:]), names[4], ""),
        )
        for i, (kind, op_type, reads, out, storage) in enumerate(rows):
            tensor = Tensor(out, shape, storage=storage)
            builder.add_op(Op(f"op{at}.{i}", kind, op_type, reads, (out,)), [tensor])
        last = names[4]
        kept = [*kept[-3:], last] if at % 10 == 0 else kept
    return builder.build(["x"], [last])


def test_bench_memory_of_100_000_ops(benchmark):
    graph = blocks(100_000)
    result = benchmark.pedantic(memory, (graph,), rounds=1, warmup_rounds=0)
    assert len(result.live_bytes) == 100_000
    assert result.arena.nbytes >= result.arena.lower_bound_bytes
    assert benchmark.stats.stats.min < 5.0


def test_bench_memory_is_near_linear():
    def seconds(ops: int) -> float:
        graph = blocks(ops)
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            memory(graph)
            best = min(best, time.process_time() - start)
        return best

    small, large = seconds(5_000), seconds(40_000)
    # Eight times the ops: 8 if linear, 64 if quadratic.
    assert large < 16 * small
