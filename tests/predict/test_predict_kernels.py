"""What the residual model is told of a kernel."""

from __future__ import annotations

import math
from dataclasses import replace

from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.predict.kernels import FEATURES, Kernel, in_network, row_of
from cnnprof.predict.lower import lower
from cnnprof.predict.scale import at

_CONV = Kernel(name="c", ops=("c",), cls="conv_dense")


def test_a_linear_layer_has_rows_and_no_batch() -> None:
    tokens = Kernel(name="l", ops=("l",), cls="gemm", channels_in=96, channels_out=384, positions=49, batch=4)
    rows = Kernel(name="l", ops=("l",), cls="gemm", channels_in=96, channels_out=384, positions=196, batch=1)
    assert row_of(tokens) == row_of(rows)


def test_what_divides_the_channels() -> None:
    features = dict(zip(FEATURES, row_of(replace(_CONV, channels_in=24, channels_out=96)), strict=True))
    assert (features["channels_in_divisor"], features["channels_out_divisor"]) == (8.0, 32.0)
    odd = dict(zip(FEATURES, row_of(replace(_CONV, channels_in=3, channels_out=128)), strict=True))
    assert (odd["channels_in_divisor"], odd["channels_out_divisor"]) == (1.0, 32.0)


def test_a_network_beyond_any_cache_is_like_another() -> None:
    small, large, larger = (replace(_CONV, bytes_weights=float(size << 20), bytes_out=0.0) for size in (1, 40, 400))
    rows = [row_of(in_network([kernel])[0])[FEATURES.index("bytes_network")] for kernel in (small, large, larger)]
    assert rows == [math.log1p(1 << 20), math.log1p(32 << 20), math.log1p(32 << 20)]


def test_a_network_touches_its_weights_and_results_once() -> None:
    first, second = (
        replace(_CONV, bytes_in=7.0, bytes_weights=20.0, bytes_out=300.0),
        replace(_CONV, bytes_in=300.0, bytes_out=4000.0),
    )
    assert [kernel.bytes_network for kernel in in_network([first, second])] == [4320.0, 4320.0]


def test_only_onnxruntimes_kernels_know_their_network() -> None:
    conv_relu = _conv_relu()
    # 8x3 kernels of 3x3, and 8x6x6 results (once: the relu is fused).
    assert {k.bytes_network for k in lower(conv_relu, "onnxruntime")} == {4.0 * (216 + 288 + 288)}
    assert {k.bytes_network for k in lower(conv_relu, "torch")} == {0.0}


def test_at_another_batch_results_are_more_and_weights_the_same() -> None:
    graph = _conv_relu()
    twice, _ = at(graph, lower(graph, "onnxruntime"), batch=2, dtype="float32")
    assert {k.bytes_network for k in twice} == {4.0 * (216 + 2 * (288 + 288))}
    eager, _ = at(graph, lower(graph, "torch"), batch=2, dtype="float32")
    assert {k.bytes_network for k in eager} == {0.0}


def _conv_relu() -> Graph:
    builder = GraphBuilder(ModelSource("small", "small", "onnx"))
    builder.add_tensor(Tensor("x", (1, 3, 8, 8), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (8, 3, 3, 3), role=Role.PARAMETER))
    window = {"kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0)), "groups": 1}
    builder.add_op(Op("conv", "conv", "Conv", ("x", "w"), ("c",), window), [Tensor("c", (1, 8, 6, 6))])
    builder.add_op(Op("relu", "relu", "Relu", ("c",), ("r",)), [Tensor("r", (1, 8, 6, 6))])
    return builder.build(["x"], ["r"])
