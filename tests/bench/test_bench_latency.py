"""How long prediction takes: lowering and predicting a deep network, reading a calibrated profile, statistics."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.measure.statistics import Sample, summarise
from cnnprof.predict.front import predict
from cnnprof.predict.lower import lower
from cnnprof.predict.residual import evaluate

pytestmark = pytest.mark.bench


def deep(blocks: int) -> Graph:
    """Residual blocks of conv, relu, add, 64 channels wide."""
    builder = GraphBuilder(ModelSource("deep", "deep", "torch"))
    shape = (1, 64, 56, 56)
    window = {"kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1), "padding": ((1, 1), (1, 1)), "groups": 1}
    builder.add_tensor(Tensor("x", shape, role=Role.INPUT))
    x = "x"
    for i in range(blocks):
        builder.add_tensor(Tensor(f"w{i}", (64, 64, 3, 3), role=Role.PARAMETER))
        for name, kind, inputs in (
            (f"c{i}", "conv", (x, f"w{i}", None)),
            (f"r{i}", "relu", (f"c{i}",)),
            (f"a{i}", "add", (f"r{i}", x)),
        ):
            attributes = window if kind == "conv" else {}
            builder.add_op(Op(name, kind, f"aten:{kind}", inputs, (name,), attributes), [Tensor(name, shape)])
        x = f"a{i}"
    return builder.build(["x"], [x])


@pytest.mark.parametrize("blocks", [100, 1000])
def test_predict_from_a_datasheet(benchmark, blocks: int) -> None:
    """3 ops a block; ten times the ops should cost ten times as much."""
    graph = deep(blocks)
    made = benchmark.pedantic(predict, args=(graph, "rtx4090"), rounds=3)
    assert len(made.layers) == 3 * blocks


def test_lower_with_fusion(benchmark) -> None:
    kernels = benchmark.pedantic(lower, args=(deep(1000), "fused"), rounds=3)
    assert len(kernels) == 1000


def test_evaluate_trees(benchmark) -> None:
    """A hundred trees of 127 nodes on a network of 500 kernels."""
    rng = np.random.default_rng(0)
    inner = 63
    tree = {
        "feature": [*rng.integers(0, 14, inner).tolist(), *([-1] * 64)],
        "threshold": rng.random(127).tolist(),
        "left": [*(2 * i + 1 for i in range(inner)), *([0] * 64)],
        "right": [*(2 * i + 2 for i in range(inner)), *([0] * 64)],
        "value": rng.random(127).tolist(),
    }
    result = benchmark.pedantic(
        evaluate, args=([{"base": 0, "rate": 0.01, "trees": [tree] * 100}], rng.random((500, 14))), rounds=3
    )
    assert result.shape == (500,)


def test_summarise_samples(benchmark) -> None:
    rng = random.Random(0)
    visits = [[Sample(t := rng.gauss(1, 0.01), t) for _ in range(50)] for _ in range(5)]
    assert benchmark.pedantic(summarise, args=(visits,), kwargs={"single_thread": True}, rounds=3).samples == 250
