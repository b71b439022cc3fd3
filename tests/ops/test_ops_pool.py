"""Pools against hand-worked counts and torch's shapes; adaptive windows against torch's gradients."""

import pytest
import torch
import torch.nn.functional as F
from calls import act, canonical, const, shapes, window, work

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.window import All, Axes, DataDependent, Lookup, Same, Slide
from cnnprof.ops.work import Work

THREE = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
CASES = [
    # ResNet's: 64·56·56 = 200,704 outputs, 8 comparisons each
    ("max_pool", "onnx:MaxPool", [act(1, 64, 112, 112)], [(1, 64, 56, 56)], THREE, Work(cmp=1_605_632)),
    (
        "max_pool",
        "aten:max_pool2d_with_indices",
        [act(2, 3, 8, 7)],
        [(2, 3, 4, 3), (2, 3, 4, 3)],
        {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0], "dilation": [1, 1], "ceil_mode": False},
        Work(cmp=216),  # 72 outputs · 3
    ),
    # unbatched, stride left out: 3·2·2 = 12 outputs · (3·2 − 1)
    ("max_pool", "aten:max_pool2d", [act(3, 6, 4)], [(3, 2, 2)], {"kernel_size": [3, 2]}, Work(cmp=60)),
    # channels last: 2·3·5 = 30 outputs · 3
    (
        "max_pool",
        "com.microsoft:NhwcMaxPool",
        [act(1, 4, 6, 5)],
        [(1, 2, 3, 5)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        Work(cmp=90),
    ),
    (
        "max_pool_masked",
        "com.microsoft:MaxpoolWithMask",
        [act(1, 1, 4, 4), act(1, 1, 4, 4)],
        [(1, 1, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        Work(cmp=28),  # 4 · (3 + 4)
    ),
    # 12 outputs: 8 additions and a division each, whatever the divisor
    (
        "average_pool",
        "onnx:AveragePool",
        [act(1, 3, 4, 4)],
        [(1, 3, 2, 2)],
        THREE | {"count_include_pad": 1},
        Work(add=96, div=12),
    ),
    (
        "average_pool",
        "aten:avg_pool3d",
        [act(1, 2, 4, 4, 4)],
        [(1, 2, 2, 2, 2)],
        {"kernel_size": [2, 2, 2], "stride": []},
        Work(add=112, div=16),  # 16 · 7
    ),
    (
        "average_pool_quantized",
        "com.microsoft:QLinearAveragePool",
        [act(1, 3, 4, 4), const(), const(), const(), const()],
        [(1, 3, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        Work(add=48, div=12, mul=12, cmp=12),  # 12 · 3 + 12
    ),
    # 12 outputs of 4 taps: 48 squares, 36 additions, 12 roots
    (
        "lp_pool",
        "onnx:LpPool",
        [act(1, 3, 4, 4)],
        [(1, 3, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        Work(mul=48, add=36, transcendental=12),
    ),
    (
        "lp_pool",
        "onnx:LpPool",
        [act(1, 3, 4, 4)],
        [(1, 3, 2, 2)],
        {"kernel_shape": [2, 2], "strides": [2, 2], "p": 1},
        Work(cmp=48, add=36),
    ),
    (
        "fractional_max_pool",
        "aten:fractional_max_pool2d",
        [act(1, 3, 7, 7), act(1, 3, 2)],
        [(1, 3, 4, 4), (1, 3, 4, 4)],
        {"kernel_size": [2, 2], "output_size": [4, 4]},
        Work(cmp=144),
    ),
    # 2,048·49 elements in all: 2,048·48 additions, 2,048 divisions
    (
        "global_average_pool",
        "onnx:GlobalAveragePool",
        [act(1, 2048, 7, 7)],
        [(1, 2048, 1, 1)],
        {},
        Work(add=98_304, div=2048),
    ),
    ("global_max_pool", "onnx:GlobalMaxPool", [act(2, 3, 5)], [(2, 3, 1)], {}, Work(cmp=24)),
    (
        "global_lp_pool",
        "onnx:GlobalLpPool",
        [act(1, 3, 4, 5)],
        [(1, 3, 1, 1)],
        {"p": 3},
        Work(cmp=60, add=57, transcendental=63),
    ),
    (
        "global_average_pool_quantized",
        "com.microsoft:QLinearGlobalAveragePool",
        [act(1, 4, 5, 3), const(), const(), const(), const()],
        [(1, 1, 1, 3)],
        {"channels_last": 1},
        Work(add=60, div=3, mul=3, cmp=3),  # 57 + 3
    ),
    # 7 -> 3: windows [0,3) [2,5) [4,7): 9 taps an axis, 81 a channel, 9 outputs a channel
    (
        "adaptive_average_pool",
        "aten:_adaptive_avg_pool2d",
        [act(1, 2, 7, 7)],
        [(1, 2, 3, 3)],
        {"output_size": [3, 3]},
        Work(add=144, div=18),
    ),
    (
        "adaptive_max_pool",
        "aten:adaptive_max_pool2d",
        [act(1, 2, 7, 7)],
        [(1, 2, 3, 3), (1, 2, 3, 3)],
        {"output_size": [3, 3]},
        Work(cmp=144),
    ),
    # 2 boxes · 3 channels · 2·2 bins = 24 outputs of 4 samples: 96 · (6 add, 3 mul), 72 additions, 24
    # divisions
    (
        "roi_align",
        "onnx:RoiAlign",
        [act(1, 3, 9, 9), act(2, 4), act(2)],
        [(2, 3, 2, 2)],
        {"sampling_ratio": 2, "output_height": 2, "output_width": 2},
        Work(add=648, mul=288, div=24),
    ),
    (
        "roi_align",
        "torchvision:roi_align",
        [act(1, 3, 9, 9), act(2, 5)],
        [(2, 3, 2, 2)],
        {"sampling_ratio": 2, "pooled_height": 2, "pooled_width": 2},
        Work(add=648, mul=288, div=24),
    ),
    ("max_unpool", "aten:max_unpool2d", [act(1, 3, 2, 2), act(1, 3, 2, 2)], [(1, 3, 4, 4)], {}, Work()),
    (
        "max_pool_backward",
        "aten:max_pool2d_with_indices_backward",
        [act(1, 3, 2, 2), act(1, 3, 4, 4), act(1, 3, 2, 2)],
        [(1, 3, 4, 4)],
        {"kernel_size": [2, 2]},
        Work(add=12),
    ),
    # 12 gradients divided once, each added to 4 taps
    (
        "average_pool_backward",
        "aten:avg_pool2d_backward",
        [act(1, 3, 2, 2), act(1, 3, 4, 4)],
        [(1, 3, 4, 4)],
        {"kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
        Work(add=48, div=12),
    ),
    (
        "adaptive_average_pool_backward",
        "aten:_adaptive_avg_pool2d_backward",
        [act(1, 2, 3, 3), act(1, 2, 7, 7)],
        [(1, 2, 7, 7)],
        {},
        Work(add=162, div=18),
    ),
    # 24 gradients of 4 samples: 96 · (4 mul, 4 add)
    (
        "roi_align_backward",
        "torchvision:_roi_align_backward",
        [act(2, 3, 2, 2), act(2, 5)],
        [(1, 3, 9, 9)],
        {"sampling_ratio": 2, "batch_size": 1, "channels": 3, "height": 9, "width": 9},
        Work(mul=384, add=384, div=24),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


@pytest.mark.parametrize("size", [7, 8, 9, 13])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1)])
@pytest.mark.parametrize("ceil", [False, True])
def test_shapes_are_torchs(size, kernel, stride, pad, ceil):
    expected = F.max_pool1d(torch.zeros(1, 2, size), kernel, stride, pad, ceil_mode=ceil).shape
    attributes = {"kernel_shape": [kernel], "strides": [stride], "pads": [pad, pad], "ceil_mode": int(ceil)}
    assert shapes("onnx:MaxPool", [act(1, 2, size)], **attributes) == (tuple(expected),)


@pytest.mark.parametrize(("size", "outputs"), [(7, 3), (5, 5), (4, 6), (9, 1), (10, 4)])
def test_adaptive_windows_are_where_torchs_gradient_goes(size, outputs):
    x = torch.ones(1, 1, size, requires_grad=True)
    y = F.adaptive_avg_pool1d(x, outputs)
    reached = []
    for o in range(outputs):
        (gradient,) = torch.autograd.grad(y[0, 0, o], x, retain_graph=True)
        reached.append(tuple(gradient[0, 0].nonzero().flatten().tolist()))
    found = window("aten:adaptive_avg_pool1d", [act(1, 1, size)], [(1, 1, outputs)], output_size=[outputs])
    along = Lookup(2, tuple(reached))
    if reached == [(o,) for o in range(size)]:
        along = Same(2)
    elif reached == [tuple(range(size))]:
        along = All()  # a global pool: its window isn't a local one
    assert found == (Axes((Same(0), Same(1), along)),)


def test_windows():
    assert window("onnx:MaxPool", [act(1, 3, 8, 8)], [(1, 3, 4, 4)], **THREE) == (
        Axes((Same(0), Same(1), Slide(2, 3, 2, 1, 1), Slide(3, 3, 2, 1, 1))),
    )
    assert window("aten:avg_pool2d", [act(3, 8, 8)], [(3, 4, 4)], kernel_size=[2], stride=[2]) == (
        Axes((Same(0), Slide(1, 2, 2, 1, 0), Slide(2, 2, 2, 1, 0))),
    )
    nhwc = window("com.microsoft:NhwcMaxPool", [act(1, 4, 6, 5)], [(1, 3, 5, 5)], kernel_shape=[2, 2])
    assert nhwc == (Axes((Same(0), Slide(1, 2, 1, 1, 0), Slide(2, 2, 1, 1, 0), Same(3))),)
    assert window("onnx:GlobalAveragePool", [act(1, 3, 8, 8)], [(1, 3, 1, 1)]) == (
        Axes((Same(0), Same(1), All(), All())),
    )
    found = window("onnx:RoiAlign", [act(1, 3, 9, 9), act(2, 4), act(2)], [(2, 3, 2, 2)], sampling_ratio=2)
    assert found[0] == DataDependent()


def test_boxes_decide_some_costs():
    with pytest.raises(UncountableError, match="boxes"):
        work("onnx:RoiAlign", [act(1, 3, 9, 9), act(2, 4), act(2)], [(2, 3, 2, 2)])
    with pytest.raises(UncountableError, match="boxes"):
        work("onnx:MaxRoiPool", [act(1, 3, 9, 9), act(2, 5)], [(2, 3, 2, 2)], pooled_shape=[2, 2])


def test_formula():
    spec, call = canonical("onnx:MaxPool", [act(1, 64, 112, 112)], [(1, 64, 56, 56)], **THREE)
    assert (spec.formula(call).symbols, spec.formula(call).numbers) == ("O(M²·K²·C)", "56·56·3·3·64")
