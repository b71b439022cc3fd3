"""The nine light networks of the onnx package against tables written down from the papers.

A row is (input channels, output channels, kernel side, groups, output side): geometry only, from the
architecture's publication and the file's padding. What it costs is worked out here: output side² · kernel side² ·
(input channels / groups) · output channels. The totals are literals, most of them published.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.ir import Graph
from cnnprof.ops.table import spec

Row = tuple[int, int, int, int, int]


def dense(rows: list[tuple[int, int]]) -> list[Row]:
    """Fully connected layers are 1x1 convolutions of a 1x1 map."""
    return [(a, b, 1, 1, 1) for a, b in rows]


# Krizhevsky 2012, Caffe's bvlc variant; 224 input without padding: conv1 (224-11)//4+1 = 54, pools 26 and 12,
# last pool 6. Grouped convolutions are the two-GPU split.
ALEXNET = [
    (3, 96, 11, 1, 54),
    (96, 256, 5, 2, 26),
    (256, 384, 3, 1, 12),
    (384, 384, 3, 2, 12),
    (384, 256, 3, 2, 12),
    *dense([(9216, 4096), (4096, 4096), (4096, 1000)]),
]

# Zeiler & Fergus 2013 with 512 wide layers 3 to 5 (SPPnet's ZF-5): conv1 (224-7)//2+1 = 109, pool 54,
# conv2 (54-5)//2+1 = 25, pool 12, last pool 6.
ZFNET = [
    (3, 96, 7, 1, 109),
    (96, 256, 5, 1, 25),
    (256, 512, 3, 1, 12),
    (512, 512, 3, 1, 12),
    (512, 512, 3, 1, 12),
    *dense([(18432, 4096), (4096, 1024), (1024, 1000)]),
]

# Simonyan & Zisserman 2014, configuration E: 3x3 everywhere, side halves after each stage.
_VGG_STAGES = [(2, 64, 224), (2, 128, 112), (4, 256, 56), (4, 512, 28), (4, 512, 14)]


def vgg19() -> Iterator[Row]:
    channels = 3
    for depth, width, side in _VGG_STAGES:
        for _ in range(depth):
            yield channels, width, 3, 1, side
            channels = width
    yield from dense([(25088, 4096), (4096, 4096), (4096, 1000)])


# Iandola 2016, release 1.1: conv1 3x3/2 without padding (224-3)//2+1 = 111; pools 55, 27, 13; classifier at 13.
_FIRE = [
    (64, 16, 64, 55),
    (128, 16, 64, 55),
    (128, 32, 128, 27),
    (256, 32, 128, 27),
    (256, 48, 192, 13),
    (384, 48, 192, 13),
    (384, 64, 256, 13),
    (512, 64, 256, 13),
]


def squeezenet() -> Iterator[Row]:
    yield 3, 64, 3, 1, 111
    for channels, squeeze, expand, side in _FIRE:
        yield channels, squeeze, 1, 1, side
        yield squeeze, expand, 1, 1, side
        yield squeeze, expand, 3, 1, side
    yield 512, 1000, 1, 1, 13


# He 2015, 50 layers, stride in the 3x3 convolution; file order within a block: 1x1, 3x3, 1x1, shortcut.
_RESNET_STAGES = [(3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)]


def resnet50() -> Iterator[Row]:
    yield 3, 64, 7, 1, 112
    channels, before = 64, 56
    for depth, width, side in _RESNET_STAGES:
        for block in range(depth):
            yield channels, width, 1, 1, before if block == 0 else side
            yield width, width, 3, 1, side
            yield width, 4 * width, 1, 1, side
            if block == 0:
                yield channels, 4 * width, 1, 1, side
            channels = 4 * width
        before = side
    yield from dense([(2048, 1000)])


# Huang 2017, 121 layers, growth 32: each layer a 1x1 to 128 and a 3x3 to 32; transitions halve channels, then side.
def densenet121() -> Iterator[Row]:
    yield 3, 64, 7, 1, 112
    channels = 64
    for depth, side in ((6, 56), (12, 28), (24, 14), (16, 7)):
        for _ in range(depth):
            yield channels, 128, 1, 1, side
            yield 128, 32, 3, 1, side
            channels += 32
        if side != 7:
            yield channels, channels // 2, 1, 1, side
            channels //= 2
    yield 1024, 1000, 1, 1, 1


# Zhang 2017, g = 4, widths 136, 272, 544 (half of the paper's 272, 544, 1088). A stage's first unit has stride 2
# and puts out what the shortcut (its own input) leaves of the width; the very first has 4 groups at 24 inputs.
def shufflenet() -> Iterator[Row]:
    yield 3, 24, 3, 1, 112
    channels, side = 24, 56
    for units, width in ((4, 136), (8, 272), (4, 544)):
        for unit in range(units):
            out = width - channels if unit == 0 else width
            yield channels, out, 1, 4, side
            side = side // 2 if unit == 0 else side
            yield out, out, 3, out, side
            yield out, out, 1, 4, side
            channels = width
    yield from dense([(544, 1000)])


# Szegedy 2014, table 1: (input, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, side). The file pools
# without padding, so sides are 55, 27, 13, 6.
_INCEPTION_V1 = [
    (192, 64, 96, 128, 16, 32, 32, 27),
    (256, 128, 128, 192, 32, 96, 64, 27),
    (480, 192, 96, 208, 16, 48, 64, 13),
    (512, 160, 112, 224, 24, 64, 64, 13),
    (512, 128, 128, 256, 24, 64, 64, 13),
    (512, 112, 144, 288, 32, 64, 64, 13),
    (528, 256, 160, 320, 32, 128, 128, 13),
    (832, 256, 160, 320, 32, 128, 128, 6),
    (832, 384, 192, 384, 48, 128, 128, 6),
]


def inception_v1() -> Iterator[Row]:
    yield 3, 64, 7, 1, 112
    yield 64, 64, 1, 1, 55
    yield 64, 192, 3, 1, 55
    for channels, one, reduce3, three, reduce5, five, pool, side in _INCEPTION_V1:
        yield channels, one, 1, 1, side
        yield channels, reduce3, 1, 1, side
        yield reduce3, three, 3, 1, side
        yield channels, reduce5, 1, 1, side
        yield reduce5, five, 5, 1, side
        yield channels, pool, 1, 1, side
    yield from dense([(1024, 1000)])


# Ioffe & Szegedy 2015, figure 5: (input, #1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool proj, side);
# 0 marks the stride-2 blocks, which have neither 1x1 nor projection and end in half the side.
_INCEPTION_V2 = [
    (192, 64, 64, 64, 64, 96, 32, 28),
    (256, 64, 64, 96, 64, 96, 64, 28),
    (320, 0, 128, 160, 64, 96, 0, 28),
    (576, 224, 64, 96, 96, 128, 128, 14),
    (576, 192, 96, 128, 96, 128, 128, 14),
    (576, 160, 128, 160, 128, 160, 96, 14),
    (576, 96, 128, 192, 160, 192, 96, 14),
    (576, 0, 128, 192, 192, 256, 0, 14),
    (1024, 352, 192, 320, 160, 224, 128, 7),
    (1024, 352, 192, 320, 192, 224, 128, 7),
]


def inception_v2() -> Iterator[Row]:
    yield 3, 64, 7, 1, 112
    yield 64, 64, 1, 1, 56
    yield 64, 192, 3, 1, 56
    for channels, one, reduce3, three, reduce_d, double, pool, side in _INCEPTION_V2:
        end = side if one else side // 2
        if one:
            yield channels, one, 1, 1, side
        yield channels, reduce3, 1, 1, side
        yield reduce3, three, 3, 1, end
        yield channels, reduce_d, 1, 1, side
        yield reduce_d, double, 3, 1, side
        yield double, double, 3, 1, end
        if pool:
            yield channels, pool, 1, 1, side
    yield from dense([(1024, 1000)])


# name -> rows; MACs; parameters; buffers. Parameters are weights and biases of the rows plus batch norms:
# AlexNet 60,965,224 and GoogLeNet 6,998,552 are Caffe's files'; ResNet-50 25,557,032, VGG-19 143,667,240,
# SqueezeNet 1.1 1,235,496 torchvision's. DenseNet: torchvision's 7,978,856 + 83,648, since Caffe keeps a scale
# and bias beside each batch norm's own (2 · 41,824 channels); the same holds for Inception v2.
NETWORKS = {
    "bvlc_alexnet": (ALEXNET, 654_560_384, 60_965_224, 0),
    "zfnet512": (ZFNET, 1_481_727_008, 87_250_536, 0),
    "vgg19": (list(vgg19()), 19_632_062_464, 143_667_240, 0),
    "squeezenet": (list(squeezenet()), 349_151_936, 1_235_496, 0),
    "resnet50": (list(resnet50()), 4_089_184_256, 25_557_032, 53_120),
    "densenet121": (list(densenet121()), 2_834_161_664, 8_062_504, 83_648),
    "shufflenet": (list(shufflenet()), 124_664_528, 1_393_320, 26_832),
    "inception_v1": (list(inception_v1()), 1_431_556_352, 6_998_552, 0),
    "inception_v2": (list(inception_v2()), 2_018_851_840, 11_214_888, 19_904),
}
# Which networks normalise instead of adding a bias, and how many per-channel vectors each normalisation brings
# as parameters: 2 (scale and bias), or 4 where Caffe's Scale layer follows with two more. Buffers: 2 a channel.
NORMALISED = {"resnet50": 2, "densenet121": 4, "shufflenet": 2, "inception_v2": 4}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, light_models: Path) -> tuple[str, Graph]:
    return request.param, load_onnx(light_models / f"light_{request.param}.onnx")


def test_each_layer_costs_what_its_geometry_says(network: tuple[str, Graph]) -> None:
    name, graph = network
    rows = NETWORKS[name][0]
    cost = complexity(graph).by_name
    layers = [op for op in graph if (entry := spec(op.kind)) is not None and entry.mac_operator]
    expected = [side**2 * k**2 * (c_in // groups) * c_out for c_in, c_out, k, groups, side in rows]
    assert [cost[op.name].macs for op in layers] == expected
    weights = [graph.tensors[op.inputs[1] or ""].elements for op in layers]
    assert weights == [k**2 * (c_in // groups) * c_out for c_in, c_out, k, groups, _ in rows]


def test_totals(network: tuple[str, Graph]) -> None:
    name, graph = network
    _, macs, parameters, buffers = NETWORKS[name]
    found = complexity(graph)
    assert (found.macs, found.parameters, found.buffers) == (macs, parameters, buffers)
    assert found.complete
    assert graph.tensors[graph.outputs[0]].elements == 1000


def test_the_literals_follow_from_the_rows() -> None:
    """The totals above are no copy of a run: geometry gives them too."""
    for name, (rows, macs, parameters, buffers) in NETWORKS.items():
        assert sum(side**2 * k**2 * (a // g) * b for a, b, k, g, side in rows) == macs, name
        weights = sum(k**2 * (a // g) * b for a, b, k, g, _ in rows)
        vectors = NORMALISED.get(name)
        if vectors is None:
            assert weights + sum(b for _, b, *_ in rows) == parameters, name
            continue
        # DenseNet normalises before each convolution but the first, and once at the end: count its inputs.
        if name == "densenet121":
            channels = 64 + sum(a for a, *_ in rows[1:-1]) + 1024
        else:
            channels = sum(b for _, b, *_ in rows[:-1])
        bias = 1000 + (24 if name == "shufflenet" else 0)  # the classifier's; ShuffleNet's first convolution has one
        assert buffers == 2 * channels, name
        assert weights + vectors * channels + bias == parameters, name


def test_resnet50_by_hand(light_models: Path) -> None:
    """One of each kind of layer: 112²·7²·3·64, 56²·64·64, 56²·9·64·64, 7²·512·2048, 2048·1000."""
    graph = load_onnx(light_models / "light_resnet50.onnx")
    macs = [row.macs for row in complexity(graph).rows if row.macs]
    assert macs[0] == 118_013_952
    assert macs[1] == 12_845_056
    assert macs[2] == 115_605_504
    assert macs[-2] == 51_380_224
    assert macs[-1] == 2_048_000
