"""All layers' receptive fields: ResNet-152's and a DenseNet-like graph's, at three sizes."""

from __future__ import annotations

from typing import Any

import pytest
from rf_nets import Stack, resnet_v1

from cnnprof.analyses.receptive_field import receptive_field
from cnnprof.ir import Graph

pytestmark = pytest.mark.bench


def densenet_like(nodes: int, block: int = 24) -> Graph:
    """Concat of all before (a new block every ``block`` layers), ReLU, 1x1, 3x3."""
    net = Stack(224, 192)
    net.conv(7, 2)
    made = [net.at]
    count = 1
    while count < nodes:
        if len(made) > block:
            made = made[-1:]
        if len(made) > 1:
            net.join("concat", *made)
        net.simple("relu")
        net.conv(1)
        made.append(net.conv(3))
        count = len(net.builder._ops)
    return net.build()[0]


def test_resnet152(benchmark: Any) -> None:
    graph, _ = resnet_v1("resnet_v1_152", 224)
    found = benchmark(receptive_field, graph)
    assert found.rows[-1].size == (1507, 1507)


@pytest.mark.parametrize("nodes", [500, 5000, 50000])
def test_densenet_like(benchmark: Any, nodes: int) -> None:
    graph = densenet_like(nodes)
    found = benchmark.pedantic(receptive_field, (graph,), rounds=3 if nodes < 50000 else 1)
    threes = sum(op.kind == "conv" and op.attributes["kernel"] == (3, 3) for op in graph.ops)
    assert found.rows[-1].size == (7 + 4 * threes, 7 + 4 * threes)  # every 3x3 at jump 2 adds 4
