"""Convolutions against hand-worked counts, a counting reference, and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from calls import act, canonical, const, par, shapes, window, work
from counting_conv import conv_backward, conv_forward, conv_transpose

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.window import All, Axes, DataDependent, Same, Slide, Spread
from cnnprof.ops.work import Work

# (kind, spelling, inputs, output shapes, attributes, work)
CASES = [
    # AlexNet's first: 55·55·64 outputs · 3·11·11 = 193,600 · 363 = 70,276,800; bias 193,600
    (
        "conv",
        "onnx:Conv",
        [act(1, 3, 224, 224), par(64, 3, 11, 11), par(64)],
        [(1, 64, 55, 55)],
        {"strides": [4, 4], "pads": [2, 2, 2, 2]},
        Work(mac=70_276_800, add=193_600),
    ),
    # 2·6·5·4 outputs · 2 channels a group · 3·3 = 240 · 18 = 4,320
    (
        "conv",
        "aten:convolution",
        [act(2, 6, 7, 6), par(6, 2, 3, 3), None],
        [(2, 6, 5, 4)],
        {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "transposed": False, "groups": 3},
        Work(mac=4320),
    ),
    # 1-D: 1·4·8 outputs · 3·5 = 480
    ("conv", "onnx:Conv", [act(1, 3, 12), par(4, 3, 5)], [(1, 4, 8)], {}, Work(mac=480)),
    # 3-D: 2·5·1·2·4 = 80 outputs · 1·8 = 640
    ("conv", "onnx:Conv", [act(2, 1, 2, 3, 5), par(5, 1, 2, 2, 2)], [(2, 5, 1, 2, 4)], {}, Work(mac=640)),
    # input side: 3·2·2 elements · 1·2·2 = 48
    (
        "conv_transpose",
        "onnx:ConvTranspose",
        [act(1, 3, 2, 2), par(3, 1, 2, 2)],
        [(1, 1, 4, 4)],
        {"strides": [2, 2]},
        Work(mac=48),
    ),
    # the same through ATen, with bias: 16 outputs
    (
        "conv_transpose",
        "aten:convolution",
        [act(1, 3, 2, 2), par(3, 1, 2, 2), par(1)],
        [(1, 1, 4, 4)],
        {"stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "transposed": True, "groups": 1},
        Work(mac=48, add=16),
    ),
    # 2·4·4 outputs · 3·3·3 = 32 · 27 = 864; bias 32 + residual 32; relu 32
    (
        "conv_fused",
        "com.microsoft:FusedConv",
        [act(1, 3, 6, 6), par(2, 3, 3, 3), par(2), act(1, 2, 4, 4)],
        [(1, 2, 4, 4)],
        {"activation": "Relu"},
        Work(mac=864, add=64, cmp=32),
    ),
    # channels last, weight (M, C/g, kH, kW): 5·4·2 outputs · 3·9 = 40 · 27 = 1,080
    (
        "conv_fused",
        "com.microsoft:NhwcFusedConv",
        [act(1, 7, 6, 3), par(2, 3, 3, 3)],
        [(1, 5, 4, 2)],
        {},
        Work(mac=1080),
    ),
    # 32 outputs · 27
    (
        "conv_integer",
        "onnx:ConvInteger",
        [act(1, 3, 6, 6), par(2, 3, 3, 3), const()],
        [(1, 2, 4, 4)],
        {},
        Work(mac=864),
    ),
    # and requantised: scale, zero point, saturation at each of the 32 outputs; bias 32
    (
        "conv_quantized",
        "onnx:QLinearConv",
        [act(1, 3, 6, 6), const(), const(), par(2, 3, 3, 3), const(), const(), const(), const(), par(2)],
        [(1, 2, 4, 4)],
        {},
        Work(mac=864, add=64, mul=32, cmp=32),
    ),
    # 4·4 positions · 9 taps · 3 channels = 432 sampled taps: 3 lerps each (2 add, 1 mul), mask 1 mul.
    # add 432·6 = 2,592; mul 432·3 + 432 = 1,728; MACs as the convolution
    (
        "deform_conv",
        "onnx:DeformConv",
        [act(1, 3, 6, 6), par(2, 3, 3, 3), act(1, 18, 4, 4), None, act(1, 9, 4, 4)],
        [(1, 2, 4, 4)],
        {},
        Work(mac=864, add=2592, mul=1728),
    ),
    # 2·4·10 outputs · 3 taps = 240, bias 80, silu 1 + 1
    (
        "conv_causal",
        "onnx:CausalConvWithState",
        [act(2, 4, 10), par(4, 1, 3), par(4)],
        [(2, 4, 10), (2, 4, 2)],
        {"activation": "silu"},
        Work(mac=240, add=80, mul=80, transcendental=80),
    ),
    # depthwise 3x3 on 4x8x8 pad 1: forward 4·64·9 = 2,304; both gradients 4,608
    (
        "conv_backward",
        "aten:convolution_backward",
        [act(1, 4, 8, 8), act(1, 4, 8, 8), par(4, 1, 3, 3)],
        [(1, 4, 8, 8), (4, 1, 3, 3), None],
        {"stride": [1, 1], "padding": [1, 1], "groups": 4, "output_mask": [True, True, False]},
        Work(mac=4608),
    ),
    # 32 gradients · 27 = 864, twice; 432 taps: 20 add, 11 mul; bias 32 − 2
    (
        "deform_conv_backward",
        "torchvision:_deform_conv2d_backward",
        [act(1, 2, 4, 4), act(1, 3, 6, 6), par(2, 3, 3, 3), act(1, 18, 4, 4), act(0), par(2)],
        [(1, 3, 6, 6), (2, 3, 3, 3), (1, 18, 4, 4), None, (2,)],
        {"use_mask": False},
        Work(mac=1728, add=8670, mul=4752),
    ),
    # only the bias gradient: 4 sums of 64
    (
        "conv_backward",
        "aten:convolution_backward",
        [act(1, 4, 8, 8), act(1, 4, 8, 8), par(4, 1, 3, 3)],
        [None, None, (4,)],
        {"stride": [1, 1], "padding": [1, 1], "groups": 4, "output_mask": [False, False, True]},
        Work(add=252),
    ),
    # transposed: forward 3·4 · 1·4 = 48, twice
    (
        "conv_backward",
        "aten:convolution_backward",
        [act(1, 1, 4, 4), act(1, 3, 2, 2), par(3, 1, 2, 2)],
        [(1, 3, 2, 2), (3, 1, 2, 2), None],
        {"stride": [2, 2], "padding": [0, 0], "transposed": True, "output_mask": [True, True, False]},
        Work(mac=96),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_depthwise_training_step_is_three_forwards():
    # issue's number: forward + backward of 4 channels, 3x3 depthwise, 8x8 pad 1 = 2·2,304·3 FLOPs
    attributes = {"stride": [1, 1], "padding": [1, 1], "groups": 4}
    forward = work("aten:convolution", [act(1, 4, 8, 8), par(4, 1, 3, 3)], [(1, 4, 8, 8)], **attributes)
    backward = work(
        "aten:convolution_backward",
        [act(1, 4, 8, 8), act(1, 4, 8, 8), par(4, 1, 3, 3)],
        [(1, 4, 8, 8), (4, 1, 3, 3), None],
        output_mask=[True, True, False],
        **attributes,
    )
    assert forward.flops + backward.flops == 13_824


GEOMETRIES = [
    # (data, weight, stride, padding, dilation, groups)
    ((2, 4, 9), (6, 2, 3), (2,), ((1, 1),), (2,), 2),
    ((1, 3, 7, 5), (4, 3, 3, 2), (2, 1), ((1, 1), (0, 0)), (1, 2), 1),
    ((2, 4, 6, 5), (4, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    ((1, 2, 4, 3, 5), (2, 2, 2, 1, 3), (1, 2, 2), ((0, 0), (0, 0), (1, 1)), (1, 1, 1), 1),
]
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@pytest.mark.parametrize(("data", "weight", "stride", "padding", "dilation", "groups"), GEOMETRIES)
def test_forward_and_backward_against_the_counting_reference(*, data, weight, stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(data), rng.standard_normal(weight)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y, count = conv_forward(x, w, **geometry)
    xt, wt = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    symmetric = [before for before, _ in padding]
    torch_y = CONV[len(stride)](xt, wt, None, stride, symmetric, dilation, groups)
    np.testing.assert_allclose(y, torch_y.detach().numpy(), atol=1e-10)
    gradient = rng.standard_normal(y.shape)
    torch_y.backward(torch.tensor(gradient))
    dx, count_dx, dw, count_dw = conv_backward(
        x, w, gradient, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    np.testing.assert_allclose(dx, xt.grad.numpy(), atol=1e-10)
    np.testing.assert_allclose(dw, wt.grad.numpy(), atol=1e-10)

    foreign = {"stride": stride, "padding": symmetric, "dilation": dilation, "groups": groups}
    onnx = {
        "strides": stride,
        "pads": [*(a for a, _ in padding), *(b for _, b in padding)],
        "dilations": dilation,
        "group": groups,
    }
    assert work("aten:convolution", [act(*data), par(*weight)], [y.shape], **foreign).mac == count
    assert work("onnx:Conv", [act(*data), par(*weight)], [y.shape], **onnx).mac == count
    assert shapes("onnx:Conv", [act(*data), par(*weight)], **onnx) == (y.shape,)
    for mask, expected in (
        ((True, False, False), count_dx),
        ((False, True, False), count_dw),
        ((True, True, False), count_dx + count_dw),
    ):
        done = work(
            "aten:convolution_backward",
            [act(*y.shape), act(*data), par(*weight)],
            [data, weight, None],
            output_mask=mask,
            **foreign,
        )
        assert done.mac == expected


@pytest.mark.parametrize(
    ("data", "weight", "stride", "padding", "dilation", "groups", "extra"),
    [
        ((2, 4, 5), (4, 3, 3), (2,), ((1, 1),), (1,), 2, (1,)),
        ((1, 3, 2, 2), (3, 1, 2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), 1, (0, 0)),
        ((1, 4, 3, 4), (4, 1, 3, 2), (2, 1), ((1, 1), (0, 0)), (1, 2), 4, (1, 0)),
        ((1, 2, 2, 3, 2), (2, 2, 2, 2, 1), (1, 2, 1), ((0, 0),) * 3, (1, 1, 1), 1, (0, 0, 0)),
    ],
)
def test_transposed_against_the_counting_reference(*, data, weight, stride, padding, dilation, groups, extra):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(data), rng.standard_normal(weight)
    y, count = conv_transpose(
        x, w, stride=stride, padding=padding, dilation=dilation, groups=groups, output_padding=extra
    )
    symmetric = [before for before, _ in padding]
    reference = TRANSPOSED[len(stride)](
        torch.tensor(x), torch.tensor(w), None, stride, symmetric, extra, groups, dilation
    )
    np.testing.assert_allclose(y, reference.numpy(), atol=1e-10)
    pads = [*(a for a, _ in padding), *(b for _, b in padding)]
    onnx = {
        "strides": stride,
        "pads": pads,
        "dilations": dilation,
        "group": groups,
        "output_padding": extra,
    }
    assert work("onnx:ConvTranspose", [act(*data), par(*weight)], [y.shape], **onnx).mac == count
    assert shapes("onnx:ConvTranspose", [act(*data), par(*weight)], **onnx) == (y.shape,)


@pytest.mark.parametrize(
    ("auto_pad", "padding"),
    # size 7, stride 2: 4 outputs reach 6 + 4 = 10 positions, so 3 are padded; VALID pads none
    [("SAME_UPPER", (1, 2)), ("SAME_LOWER", (2, 1)), ("VALID", (0, 0))],
)
def test_auto_pad(auto_pad, padding):
    _, call = canonical("onnx:Conv", [act(1, 1, 7), par(1, 1, 4)], [(1, 1, 4)], auto_pad=auto_pad, strides=[2])
    assert call.attributes["padding"] == (padding,)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"auto_pad": "SAME_UPPER"}, 6),  # 3 · stride 2
        ({"output_shape": [8]}, 8),  # natural size (3−1)·2+3 = 7: one more at the end
        ({"output_shape": [6]}, 6),
        ({"output_padding": [1]}, 8),
    ],
)
def test_transposed_output_sizes(attributes, size):
    assert shapes("onnx:ConvTranspose", [act(1, 1, 3), par(1, 1, 3)], strides=[2], **attributes) == ((1, 1, size),)


def test_windows():
    inputs = [act(1, 3, 9, 8), par(4, 3, 3, 2)]
    found = window("onnx:Conv", inputs, [(1, 4, 4, 7)], strides=[2, 1], pads=[1, 0, 0, 0])
    assert found == (Axes((Same(0), All(), Slide(2, 3, 2, 1, 1), Slide(3, 2, 1, 1, 0))), None)
    transposed = window("onnx:ConvTranspose", [act(1, 3, 4), par(3, 2, 3)], [(1, 2, 9)], strides=[2])
    assert transposed == (Axes((Same(0), All(), Spread(2, 3, 2, 1, 0))), None)
    last = window("com.microsoft:NhwcFusedConv", [act(1, 7, 6, 3), par(2, 3, 3, 3)], [(1, 5, 4, 2)])
    assert last == (Axes((Same(0), Slide(1, 3, 1, 1, 0), Slide(2, 3, 1, 1, 0), All())), None)
    causal = window("onnx:CausalConvWithState", [act(2, 4, 9), par(4, 1, 3)], [(2, 4, 9), (2, 4, 2)])
    assert causal[0] == Axes((Same(0), Same(1), Slide(2, 3, 1, 1, 2)))
    deform = window(
        "torchvision:deform_conv2d",
        [act(1, 3, 6, 6), par(2, 3, 3, 3), act(1, 18, 4, 4), act(1, 9, 4, 4), par(2)],
        [(1, 2, 4, 4)],
        use_mask=True,
    )
    assert deform[0] == DataDependent()


def test_same_padding_of_an_even_kernel_puts_the_odd_one_at_the_end():
    # total 3: torch pads 3 // 2 = 1 before and 2 after (nn/modules/conv.py, _reversed_padding_repeated_twice)
    _, call = canonical("torch:conv1d", [act(1, 1, 6), par(1, 1, 4)], [(1, 1, 6)], padding="same")
    assert call.attributes["padding"] == ((1, 2),)


def test_formula_in_symbols_and_numbers():
    spec, call = canonical("onnx:Conv", [act(1, 64, 56, 56), par(64, 64, 3, 3)], [(1, 64, 56, 56)])
    assert spec.formula(call).symbols == "O(M²·K²·C_in·C_out)"
    assert spec.formula(call).numbers == "56·56·3·3·64·64"
    spec, call = canonical("onnx:Conv", [act(2, 6, 9, 8), par(6, 1, 3, 2)], [(2, 6, 7, 7)], group=6)
    assert spec.formula(call).symbols == "O(N·M²·K_1·K_2·C_in·C_out/g)"
    assert spec.formula(call).numbers == "2·7·7·3·2·6·6/6"


def test_an_unknown_shape_is_uncountable_not_zero():
    with pytest.raises(UncountableError, match="absent"):
        work("onnx:Conv", [act(1, 3, 8, 8), par(4, 3, 3, 3)], [None])
    with pytest.raises(UncountableError, match="expected 4 pads"):
        work("onnx:Conv", [act(1, 3, 8, 8), par(4, 3, 3, 3)], [(1, 4, 6, 6)], pads=[1, 1])
