"""What the residual model is told of a kernel."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.predict.features import FEATURES, KERNEL_MODEL, as_fitted, row_of
from cnnprof.predict.kernels import FED_BY, Kernel, in_network
from cnnprof.predict.lower import lower
from cnnprof.predict.roofline import Rates, roofline
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


@pytest.mark.parametrize(("positions", "vectors"), [(1, 16), (16, 16), (17, 32), (49, 64), (64, 64), (196, 208)])
def test_a_product_of_matrices_takes_whole_vectors_of_positions(positions: int, vectors: int) -> None:
    """7x7 positions as many as 8x8."""
    features = dict(zip(FEATURES, row_of(replace(_CONV, cls="conv_pointwise", positions=positions)), strict=True))
    assert features["positions_in_vectors"] == pytest.approx(math.log1p(vectors))
    rows = Kernel(name="l", ops=("l",), cls="gemm", positions=1, batch=positions)  # whichever of the two they are
    assert row_of(rows)[FEATURES.index("positions_in_vectors")] == pytest.approx(math.log1p(vectors))


def test_a_depthwise_convolution_has_vectors_of_all_its_channels() -> None:
    depthwise = replace(_CONV, cls="conv_depthwise", channels_in=1, channels_out=1)
    widths = [row_of(replace(depthwise, groups=n))[FEATURES.index("width_divisor")] for n in (48, 72, 96, 162)]
    assert widths == [16.0, 8.0, 32.0, 2.0]
    assert row_of(replace(_CONV, channels_out=24))[FEATURES.index("width_divisor")] == 8.0


def test_what_made_the_input_of_a_kernel() -> None:
    """Views pass on what they were given; a library's kernel of several ops has its first one's."""
    net = NetBuilder("one", (1, 8, 16, 16))
    x = net.act(net.batch_norm(net.conv(net.input, 8)), "relu")
    x = net.concat(net.conv(net.pool(x, "max_pool"), 8), net.conv(net.pool(x, "average_pool"), 8))
    left, _ = net.halves(net.conv(x, 16))
    x = net.linear(net.flatten(net.squeeze(net.conv(left, 8), mean=True)), 8)
    graph = net.done(net.linear(net.act(x, "gelu", in_place=False), 8))
    found = [(kernel.cls, kernel.fed_by) for kernel in lower(graph, "torch")]
    assert found == [
        ("conv_pointwise", ""), ("norm_batch", "conv"), ("activation", "fresh"),
        ("pool", "fresh"), ("conv_pointwise", "pool"), ("pool", "fresh"), ("conv_pointwise", "pool"),
        ("concat", "conv"), ("conv_pointwise", "concat"), ("copy", "conv"), ("conv_pointwise", "conv"),
        ("reduce", "conv"), ("copy", "reduce"), ("gemm", "reduce"), ("activation_exp", "gemm"), ("gemm", "fresh"),
    ]  # fmt: skip
    assert {fed_by for _, fed_by in found} <= set(FED_BY)
    first, second = lower(graph, "fused")[:2]
    assert (len(first.ops), first.fed_by, second.cls, second.fed_by) == (3, "", "pool", "fresh")
    builder = GraphBuilder(ModelSource("one", "one", "torch"))
    builder.add_tensor(Tensor("x", (1, 4), role=Role.INPUT))
    for op, name, made in (("relu_", "x", "a"), ("neg", "a", "b")):
        builder.add_op(Op(op, op.strip("_"), f"aten:{op}.default", (name,), (made,)), [Tensor(made, (1, 4))])
    assert [kernel.fed_by for kernel in lower(builder.build(["x"], ["b"]), "torch")] == ["", "in_place"]
    row = dict(zip(FEATURES, row_of(replace(_CONV, fed_by="pool")), strict=True))
    assert row["fed_by"] == FED_BY.index("pool")


def test_a_fit_of_before_sees_work_and_traffic_alone() -> None:
    """The roofline and the features are those of a kernel without; a fit of today counts both."""
    plain = replace(_CONV, flops=1e6, bytes_in=1e3, bytes_weights=1e3, bytes_out=1e3)
    slow = replace(plain, slowdown=1.5, bytes_expanded=500.0)
    assert as_fitted([slow], 1) == (plain,) and as_fitted([slow], KERNEL_MODEL) == (slow,)
    features = dict(zip(FEATURES, row_of(slow), strict=True))
    assert (features["flops"], features["bytes_in"]) == (math.log1p(1.5e6), math.log1p(1500.0))
    rates = Rates(flops_per_s=1e9, bytes_per_s=1e6, overhead_s=0.0)
    assert roofline(slow, rates).compute_s == pytest.approx(1.5e-3)
    assert roofline(slow, rates).memory_s == pytest.approx(3.5e-3)
    assert slow.intensity == plain.intensity == 1e6 / 3e3


def test_a_pooling_of_zeros_is_another_kernel() -> None:
    """After ReLU and ReLU6, also where two of them are put together; not after SiLU, for onnxruntime or an old fit."""

    def pool_of(*acts: str) -> tuple[str, Graph]:
        net = NetBuilder("one", (1, 8, 8, 8))
        parts = [net.act(net.conv(net.input, 8), act) for act in acts]
        graph = net.done(net.pool(net.concat(*parts) if len(parts) > 1 else parts[0], "max_pool"))
        return next(kernel.key for kernel in lower(graph, "torch") if kernel.cls == "pool"), graph

    assert [pool_of(act)[0] for act in ("relu", "clip", "silu")] == [
        "pool/max_pool_rectified", "pool/max_pool_rectified", "pool/max_pool",
    ]  # fmt: skip
    assert pool_of("relu", "clip")[0] == "pool/max_pool_rectified"
    assert pool_of("relu", "silu")[0] == "pool/max_pool"
    graph = pool_of("relu")[1]
    assert "rectified" not in "".join(kernel.path for kernel in lower(graph, "onnxruntime"))
    assert [kernel.path for kernel in as_fitted(lower(graph, "torch"), 1) if kernel.cls == "pool"] == ["max_pool"]


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
