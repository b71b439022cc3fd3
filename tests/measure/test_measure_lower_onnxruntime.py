"""The onnxruntime lowering against onnxruntime's own optimised graph, on the networks that the onnx package ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
from small_networks import SMALL, small_network

from cnnprof.analyses.complexity import complexity
from cnnprof.api import load
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.ir import Graph
from cnnprof.measure.lowering_onnxruntime import lowering_here
from cnnprof.measure.onnxruntime_kernels import kernel_of_nodes, keys_of
from cnnprof.measure.onnxruntime_map import covered
from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.lower import lower
from cnnprof.predict.lower_onnxruntime import block_of, lower_onnxruntime, place

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# What costs nothing may stand on either side of a boundary.
FREE = {"dropout", "reshape"}


def core(names: tuple[str, ...], graph: Graph, folded: set[str]) -> tuple[str, ...]:
    return tuple(n for n in names if n not in folded and graph.op_by_name[n].kind not in FREE)


# model -> the share of onnxruntime's kernels that must be ours too, op for op. Below 1 where the optimised graph no
# longer tells which concatenation or pooling a blocked node was (inception), or where onnxruntime splits a batch norm
# that follows a concatenation into a scale and a shift of its own (densenet).
AGREE = {
    "bvlc_alexnet": 1.0, "resnet50": 1.0, "shufflenet": 1.0, "squeezenet": 0.97, "vgg19": 1.0, "zfnet512": 1.0,
    "inception_v1": 0.95, "inception_v2": 0.78, "densenet121": 0.6,
}  # fmt: skip


@pytest.mark.parametrize("name", AGREE)
def test_kernels_are_onnxruntimes(name: str, tmp_path: Path) -> None:
    path = LIGHT / f"light_{name}.onnx"
    graph = load(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kernels = lower(graph, "onnxruntime")
    assert sorted(n for k in kernels for n in k.ops) == sorted(op.name for op in graph.ops)
    folded = {n for k in kernels if k.path == "folded" for n in k.ops}
    own = {core(k.ops, graph, folded) for k in kernels} - {()}
    real = {core(ops, graph, folded) for ops in covered(file_nodes(tmp_path / "optimised.onnx"), graph).values()} - {()}
    assert len(own & real) / len(real) >= AGREE[name]
    # Every multiplication is in a kernel of a class that multiplies.
    assert sum(k.flops for k in kernels if k.cls.startswith("conv")) >= 2 * sum(
        row.macs for row, op in zip(complexity(graph).rows, graph.ops, strict=True) if op.kind == "conv"
    )


def nodes_and_kernels(source: Path | bytes, folder: Path) -> tuple[list[str], list[str]]:
    """(nodes without a kernel, kernels without a node) of a model under this machine's blocks."""
    graph = load_onnx(source, reference="net")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    model = source if isinstance(source, bytes) else str(source)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    nodes = file_nodes(folder / "optimised.onnx")
    placed = place(graph, complexity(graph), block=block_of(lowering_here()))
    owners = kernel_of_nodes(nodes, file_nodes(source), placed)
    keys = keys_of([(node.name, node.op_type) for node in nodes])
    used = set(owners.values())
    idle = [p.kernel.name for i, p in enumerate(placed) if i not in used and p.kernel.path != "folded"]
    return [key for key in keys if key not in owners], idle


@pytest.mark.parametrize("name", SMALL)
def test_synthetic_networks_map_exactly(name: str, tmp_path: Path) -> None:
    """Every motif at three kinds of width: each node of the optimised graph is one of our kernels, reorders included,
    and none of ours is left over."""
    graph = small_network(name)
    assert nodes_and_kernels(synthetic_model(graph, random_weights(graph, 0)), tmp_path) == ([], [])


@pytest.mark.parametrize("name", ["bvlc_alexnet", "resnet50", "shufflenet", "squeezenet", "vgg19", "zfnet512"])
def test_known_networks_map_exactly(name: str, tmp_path: Path) -> None:
    assert nodes_and_kernels(LIGHT / f"light_{name}.onnx", tmp_path) == ([], [])


def one(build: Callable[[NetBuilder, str], str], channels: int, block: int = 8) -> list[tuple[str, str]]:
    """(class, path) of the kernels of a network of one input with ``channels`` channels of 28 x 28."""
    net = NetBuilder("one", (1, channels, 28, 28))
    graph = net.done(build(net, net.input))
    return [(k.cls, k.path) for k in lower_onnxruntime(load_again(graph), complexity(load_again(graph)), block=block)]


def load_again(graph: Graph) -> Graph:
    return load_onnx(synthetic_model(graph, random_weights(graph, 0)), reference="one")


IN, OUT = ("copy", "reorder_in"), ("copy", "reorder_out")


def test_layouts_by_hand() -> None:
    """Rules read off onnxruntime 1.32's optimised graphs, block 8."""
    assert one(lambda n, x: n.conv(x, 32, 3), 3) == [("conv_stem", "blocked"), OUT]
    assert one(lambda n, x: n.conv(x, 20, 1), 12) == [IN, ("conv_pointwise", "blocked"), OUT]
    assert one(lambda n, x: n.conv(x, 16, 3), 10) == [("conv_dense", "im2col")]
    assert one(lambda n, x: n.conv(x, 36, 3, 1, 36), 36) == [IN, ("conv_depthwise", "blocked"), OUT]
    assert one(lambda n, x: n.conv(x, 6, 3, 1, 6), 6) == [("conv_depthwise", "im2col")]
    assert one(lambda n, x: n.conv(x, 32, 3, 1, 4), 32) == [IN, ("conv_grouped", "blocked"), OUT]
    assert one(lambda n, x: n.conv(x, 24, 3, 1, 2), 24) == [("conv_grouped", "im2col")]
    assert one(lambda n, x: n.conv(x, 32, 3, 1, 4), 32, block=16) == [("conv_grouped", "im2col")]
    assert one(lambda n, x: n.conv(x, 32, 3), 16, block=1) == [("conv_dense", "im2col")]
    # A residual sum and its activation disappear in the first convolution; clip comes after a reorder.
    assert one(lambda n, x: n.act(n.add(n.conv(x, 24, 3), n.conv(x, 24)), "relu"), 16) == [
        IN, ("conv_pointwise", "blocked"), ("conv_dense", "blocked"), OUT,
    ]  # fmt: skip
    assert one(lambda n, x: n.act(n.add(n.conv(x, 24, 3), n.conv(x, 24)), "relu6"), 16)[-2:] == [
        OUT, ("activation", "clip"),
    ]  # fmt: skip
    assert one(lambda n, x: n.squeeze(n.conv(x, 24)), 16)[-2:] == [("reduce", "global_average_pool_blocked"), OUT]
    assert one(lambda n, x: n.squeeze(n.conv(x, 20)), 16)[-2:] == [OUT, ("reduce", "global_average_pool")]
    assert one(lambda n, x: n.squeeze(n.conv(x, 24), mean=True), 16)[-2:] == [OUT, ("reduce", "reduce_mean")]
    assert one(lambda n, x: n.conv(n.act(n.conv(x, 24), "silu"), 16), 16)[2] == ("activation_exp", "quick_gelu")


def conv_of(build: Callable[[NetBuilder, str], str], channels: int, batch: int = 1) -> Kernel:
    """The first convolution of a network of one input with ``channels`` channels of 28 x 28."""
    net = NetBuilder("one", (batch, channels, 28, 28))
    graph = load_again(net.done(build(net, net.input)))
    return next(k for k in lower_onnxruntime(graph, complexity(graph)) if k.cls.startswith("conv"))


@pytest.mark.parametrize(
    ("channels", "groups", "slowdown"),
    [
        (8, 1, 1.8), (16, 1, 1.3), (24, 1, 1.0), (32, 1, 1.0),
        (40, 1, (4 + 1.8) / 5), (48, 1, (4 + 2 * 1.3) / 6),
        (20, 1, 1.0),  # three blocks, the last filled up
        (32, 4, 1.8), (32, 32, 1.0),
    ],
)  # fmt: skip
def test_a_set_of_few_blocks_is_slow(channels: int, groups: int, slowdown: float) -> None:
    kernel = conv_of(lambda n, x: n.conv(x, channels, 3, 1, groups), 32)
    assert kernel.path == "blocked" and kernel.bytes_expanded == 0.0
    assert kernel.slowdown == pytest.approx(slowdown)
    assert kernel.work == kernel.flops * kernel.slowdown


@pytest.mark.parametrize(
    ("size", "stride", "groups", "copied"),
    [
        (3, 1, 1, 10 * 9 * 784 * (1 + 32 / 28)), (3, 2, 1, 10 * 9 * 196 * (4 + 16 / 14)),
        (3, 1, 2, 10 * 9 * 784 * (1 + 32 / 28)), (1, 2, 1, 10 * 196 * (4 + 16 / 14)), (1, 1, 1, 0),
    ],
)  # fmt: skip
def test_windows_written_out_are_copied(size: int, stride: int, groups: int, copied: float) -> None:
    kernel = conv_of(lambda n, x: n.conv(x, 16, size, stride, groups), 10, batch=2)
    assert (kernel.path, kernel.slowdown) == ("im2col", 1.0)
    assert kernel.bytes_expanded == pytest.approx(2 * 4 * copied)
    assert kernel.bytes_handled == kernel.bytes_moved + kernel.bytes_expanded
    assert kernel.scaled(batch=2.0, width=0.5).bytes_expanded == kernel.bytes_expanded


@pytest.mark.parametrize(
    ("act", "channels", "passed"),
    [
        ("relu", 24, 0), ("relu6", 24, 24 * 28 * 28 * 4), ("leaky_relu", 24, 24 * 28 * 28 * 4),
        ("relu6", 10, 0),  # no block of channels: the product is followed by a pass whatever the activation
    ],
)  # fmt: skip
def test_a_clip_goes_over_the_result_again(act: str, channels: int, passed: int) -> None:
    net = NetBuilder("one", (2, 16, 28, 28))
    graph = load_again(net.done(net.act(net.conv(net.input, channels, 3, 1, 2 if channels == 10 else 1), act)))
    convs = [k for k in lower_onnxruntime(graph, complexity(graph)) if k.cls.startswith("conv")]
    assert [kernel.bytes_passed for kernel in convs] == [2 * passed]
    assert convs[0].scaled(batch=3.0, width=0.5).bytes_passed == 3 * passed


def test_every_op_is_in_one_kernel_and_flops_are_whole() -> None:
    graph = load_again(small_network("token-16"))
    kernels = lower(graph, "onnxruntime")
    assert sorted(n for k in kernels for n in k.ops) == sorted(op.name for op in graph.ops)
    assert all(k.name == k.ops[0] for k in kernels if k.ops)
    macs = sum(row.macs for row in complexity(graph).rows)
    assert (
        sum(
            k.flops for k in kernels if k.cls in ("gemm", "conv_stem", "conv_dense", "conv_depthwise", "conv_pointwise")
        )
        >= 2 * macs
    )
