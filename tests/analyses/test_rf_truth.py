"""Receptive fields against published tables (tests/data/receptive_fields.csv, sources in the file)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from rf_nets import Net, Stack, alexnet_v2, inception_v2, mobilenet_v1, resnet_v1, rows_of, vgg

from cnnprof.analyses.receptive_field import ReceptiveFields, receptive_field


def check(found: ReceptiveFields, layer: str, row: dict[str, str]) -> None:
    field = found.layer(layer)
    size = int(row["size"])
    assert field.size == (size, size), row
    assert field.stride == (int(row["stride"]),) * 2, row
    if row["padding"]:
        assert field.padding == (int(row["padding"]),) * 2, row
        assert field.centre == (Fraction(size - 1, 2) - int(row["padding"]),) * 2
    assert field.aligned and field.exact and field.density == 1


SLIM: dict[str, Callable[[int], Net]] = {
    "alexnet_v2": alexnet_v2,
    "vgg_a": lambda size: vgg("vgg_a", size),
    "vgg_16": lambda size: vgg("vgg_16", size),
    "mobilenet_v1": mobilenet_v1,
    "resnet_v1_50": lambda size: resnet_v1("resnet_v1_50", size),
    "resnet_v1_101": lambda size: resnet_v1("resnet_v1_101", size),
    "resnet_v1_152": lambda size: resnet_v1("resnet_v1_152", size),
    "inception_v2": inception_v2,
}


@pytest.mark.parametrize("size", [224, 321])
@pytest.mark.parametrize("model", SLIM)
def test_distill_table(model: str, size: int) -> None:
    """Every end-point of google-research/receptive_field's table at this input size; rows without a size
    hold at any."""
    graph, points = SLIM[model](size)
    found = receptive_field(graph)
    rows = [row for row in rows_of(model) if row["resolution"] in ("", str(size))]
    assert len(rows) >= 4
    for row in rows:
        name = row["endpoint"]
        layer = graph.ops[-1].name if name == "(final feature map)" else points[name]
        check(found, layer, row)


def test_mobilenet_v1_headline() -> None:
    """Distill's summary table: 315 / 32 / 126."""
    graph, _ = mobilenet_v1(224)
    field = receptive_field(graph).rows[-1]
    assert (field.size, field.stride, field.padding) == ((315, 315), (32, 32), (126, 126))


def test_context_module_of_dilated_convolutions() -> None:
    """Yu & Koltun 2016, table 1: 3, 5, 9, 17, 33, 65, 67, 67; centred, without holes."""
    net = Stack(160, 150)
    layers = []
    for kernel, dilation in ((3, 1), (3, 1), (3, 2), (3, 4), (3, 8), (3, 16), (3, 1), (1, 1)):
        net.conv(kernel, dilation=dilation)
        layers.append(net.at.removesuffix(":0"))
    found = receptive_field(net.build()[0])
    rows = rows_of("yu_koltun_context")
    assert len(rows) == 8
    for layer, row in zip(layers, rows, strict=True):
        size = int(row["size"])
        field = found.layer(layer)
        assert field.size == (size, size)
        assert field.stride == (1, 1)
        assert field.padding == ((size - 1) // 2,) * 2
        assert field.density == 1 and field.gridding_layer is None


def test_exponential_growth() -> None:
    """Yu & Koltun 2016, section 2: dilations 2^0 … 2^i give 2^(i+2) − 1."""
    net = Stack(90)
    for row, power in zip(rows_of("yu_koltun_exponential"), range(6), strict=True):
        net.conv(3, dilation=2**power)
        field = receptive_field(net.build()[0]).rows[-1]
        assert field.size == (int(row["size"]),) == (2 ** (power + 2) - 1,)


def test_fcn_32s() -> None:
    """Long, Shelhamer, Darrell 2015: VGG-16 with fc6 as a 7x7 convolution: 404 at stride 32. The original
    pads conv1_1 by 100, which moves the window (100 − 1 more than 1) and not its size."""
    net = Stack(224, 192)
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for layer in range(1, count + 1):
            net.conv(3, pad=100 if (block, layer) == (1, 1) else 1)
            net.point(f"conv{block}_{layer}")
        net.pool(2, 2, "VALID")
        net.point(f"pool{block}")
    net.conv(7, pad="VALID")
    net.point("fc6 as conv7x7")
    net.conv(1)
    net.point("fc7 conv1x1")
    graph, points = net.build()
    found = receptive_field(graph)
    rows = rows_of("fcn32_vgg16")
    assert len(rows) == 20
    for row in rows:
        field = found.layer(points[row["endpoint"]])
        assert field.size == (int(row["size"]),) * 2
        assert field.stride == (int(row["stride"]),) * 2
    assert found.layer(points["pool5"]).padding == (90 + 99, 90 + 99)  # VGG-16's 90, and the 99 more


def _unit_test_net1(net: Stack) -> None:
    """conv1x1/4 VALID beside pad(1 before) – conv3x3/2 VALID – conv1x1/2 VALID, added."""
    source = net.at
    left = net.conv(1, 4, "VALID")
    net.at = source
    net.pad(((1, 0), (1, 0)))
    net.conv(3, 2, "VALID")
    net.join("add", left, net.conv(1, 2, "VALID"))


def test_unit_test_nets_of_the_reference_library() -> None:
    """google-research/receptive_field, receptive_field_computation_test.py: nets 1, 5 and 8."""
    net = Stack(33, 41)
    _unit_test_net1(net)
    field = receptive_field(net.build()[0]).rows[-1]
    row = rows_of("rf_test_net1")[0]
    assert (field.size, field.stride, field.padding) == ((3, 3), (4, 4), (1, 1))
    assert (row["size"], row["stride"], row["padding"]) == ("3", "4", "1")
    assert field.aligned

    net = Stack(33, 41)
    net.conv((3, 5), 2, "VALID")
    net.conv((3, 1), 2, "VALID")
    field = receptive_field(net.build()[0]).rows[-1]
    assert rows_of("rf_test_net5")[0]["size"] == "5x7(w x h)"
    assert (field.size, field.stride, field.padding) == ((7, 5), (4, 4), (0, 0))

    net = Stack(65, 73)
    _unit_test_net1(net)
    source = net.simple("relu")
    left = net.conv(1, 2, "VALID")
    net.at = source
    net.pad(((1, 0), (1, 0)))
    net.join("add", left, net.conv(3, 2, "VALID"))
    field = receptive_field(net.build()[0]).rows[-1]
    assert rows_of("rf_test_net8")[0]["size"] == "11"
    assert (field.size, field.stride, field.padding) == ((11, 11), (8, 8), (5, 5))
    assert field.aligned


def test_pytorch_receptive_field_examples() -> None:
    """Fangyh09/pytorch-receptive-field README; its "start" is the first centre in pixels, half a pixel on."""
    net = Stack(256, 256)
    net.conv(7, 2, 3)
    layers = [net.at, net.simple("batch_norm"), net.simple("relu"), net.pool(3, 2, 1)]
    layers.append(net.pool(3, 2, 1, "average_pool"))
    found = receptive_field(net.build()[0])
    rows = rows_of("Fangyh09_Net2d")
    for layer, row in zip(layers, rows, strict=True):
        field = found.layer(layer.removesuffix(":0"))
        assert field.size == (int(row["size"]),) * 2
        assert field.stride == (int(row["stride"]),) * 2
        assert [c + Fraction(1, 2) for c in field.centre if c is not None] == [Fraction(1, 2)] * 2

    net = Stack(16, 16, 16)
    layers = [net.conv(3, 1, 1), net.simple("batch_norm"), net.simple("relu"), net.pool(2, 2, 1)]
    found = receptive_field(net.build()[0])
    for layer, row in zip(layers, rows_of("Fangyh09_Net3d"), strict=True):
        field = found.layer(layer.removesuffix(":0"))
        assert field.size == (int(row["size"]),) * 3
        assert field.stride == (int(row["stride"]),) * 3
    last = found.rows[-1].centre[0]
    assert last is not None and last + Fraction(1, 2) == 0  # "start 0.0 at last"
