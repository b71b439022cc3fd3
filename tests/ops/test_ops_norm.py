"""Normalisations against hand-worked counts, torch's gradients and onnxruntime's shapes."""

import pytest
import torch
import torch.nn.functional as F
from calls import act, canonical, const, par, shapes, window, work

from cnnprof.ir.tensor import Role, Tensor
from cnnprof.ops.window import All, Axes, Lookup, Same, Slide
from cnnprof.ops.work import Work

FOUR = [par(4), par(4), par(4), par(4)]
CASES = [
    # 2·4·3·5 = 120 elements
    (
        "batch_norm",
        "onnx:BatchNormalization",
        [act(2, 4, 3, 5), *FOUR],
        [(2, 4, 3, 5)],
        {},
        Work(mul=120, add=120),
    ),
    # training: 3 mul, 4 add an element; 4 roots; running: 4 channels · 2 · (2 mul, 1 add)
    (
        "batch_norm",
        "onnx:BatchNormalization",
        [act(2, 4, 3, 5), *FOUR],
        [(2, 4, 3, 5), (4,), (4,)],
        {"training_mode": 1},
        Work(mul=376, add=488, transcendental=4),
    ),
    (
        "batch_norm",
        "aten:native_batch_norm",
        [act(2, 4, 3, 5), *FOUR],
        [(2, 4, 3, 5), (4,), (4,)],
        {"training": True},
        Work(mul=376, add=488, transcendental=4),
    ),
    (
        "batch_norm",
        "aten:_native_batch_norm_legit_no_training",
        [act(2, 4, 3, 5), *FOUR],
        [(2, 4, 3, 5), (0,), (0,)],
        {},
        Work(mul=120, add=120),
    ),
    # no running statistics, no scale and shift: 2 mul, 3 add
    (
        "batch_norm",
        "aten:_native_batch_norm_legit.no_stats",
        [act(2, 4, 3, 5), None, None],
        [(2, 4, 3, 5), (4,), (4,)],
        {"training": True},
        Work(mul=240, add=360, transcendental=4),
    ),
    # 7 an element, a root for each of the 8 planes
    (
        "instance_norm",
        "onnx:InstanceNormalization",
        [act(2, 4, 3, 5), par(4), par(4)],
        [(2, 4, 3, 5)],
        {},
        Work(mul=360, add=480, transcendental=8),
    ),
    # 2·3·8 = 48 elements, 6 groups
    (
        "layer_norm",
        "onnx:LayerNormalization",
        [act(2, 3, 8), par(8), par(8)],
        [(2, 3, 8)],
        {},
        Work(mul=144, add=192, transcendental=6),
    ),
    # over the last two axes, without shift: 2 groups
    (
        "layer_norm",
        "aten:native_layer_norm",
        [act(2, 3, 8), par(3, 8), None],
        [(2, 3, 8), (2, 1, 1), (2, 1, 1)],
        {"normalized_shape": [3, 8]},
        Work(mul=144, add=144, transcendental=2),
    ),
    # skip and bias: 2 more additions
    (
        "layer_norm",
        "com.microsoft:SkipLayerNormalization",
        [act(2, 3, 8), act(2, 3, 8), par(8), par(8), par(8)],
        [(2, 3, 8)],
        {},
        Work(mul=144, add=288, transcendental=6),
    ),
    (
        "rms_norm",
        "onnx:RMSNormalization",
        [act(2, 3, 8), par(8)],
        [(2, 3, 8)],
        {"axis": -1},
        Work(mul=144, add=48, transcendental=6),
    ),
    (
        "rms_norm",
        "aten:_fused_rms_norm",
        [act(2, 3, 8), par(8)],
        [(2, 3, 8), (2, 3, 1)],
        {"normalized_shape": [8]},
        Work(mul=144, add=48, transcendental=6),
    ),
    (
        "rms_norm",
        "com.microsoft:SkipSimplifiedLayerNormalization",
        [act(2, 3, 8), act(2, 3, 8), par(8)],
        [(2, 3, 8)],
        {},
        Work(mul=144, add=96, transcendental=6),
    ),
    # 2 images · 2 groups
    (
        "group_norm",
        "onnx:GroupNormalization",
        [act(2, 4, 3, 5), par(4), par(4)],
        [(2, 4, 3, 5)],
        {"num_groups": 2},
        Work(mul=360, add=480, transcendental=4),
    ),
    (
        "group_norm",
        "aten:native_group_norm",
        [act(2, 4, 3, 5), par(4), par(4)],
        [(2, 4, 3, 5), (2, 2), (2, 2)],
        {"N": 2, "C": 4, "HxW": 15, "group": 2},
        Work(mul=360, add=480, transcendental=4),
    ),
    # SiLU: one sigmoid and one multiplication an element
    (
        "group_norm",
        "com.microsoft:GroupNorm",
        [act(2, 3, 5, 4), par(4), par(4)],
        [(2, 3, 5, 4)],
        {"groups": 2, "activation": 1, "channels_last": 1},
        Work(mul=480, add=480, transcendental=124),
    ),
    # per element: square, α, 4 sums + bias, power, division: 120 elements
    (
        "local_response_norm",
        "onnx:LRN",
        [act(2, 4, 3, 5)],
        [(2, 4, 3, 5)],
        {"size": 5},
        Work(mul=240, add=600, transcendental=120, div=120),
    ),
    # 6 vectors of 8: 48 squares, 42 additions, 6 roots, 48 divisions
    (
        "lp_normalization",
        "onnx:LpNormalization",
        [act(2, 3, 8)],
        [(2, 3, 8)],
        {},
        Work(mul=48, add=42, transcendental=6, div=48),
    ),
    # over N, H, W: one group a channel
    (
        "mean_variance_norm",
        "onnx:MeanVarianceNormalization",
        [act(2, 4, 3, 5)],
        [(2, 4, 3, 5)],
        {},
        Work(add=360, mul=120, div=120, transcendental=4),
    ),
    # 48 elements: two sums of three embeddings, then 7 each and a root for each of 6 tokens
    (
        "embed_layer_norm",
        "com.microsoft:EmbedLayerNormalization",
        [act(2, 3), act(2, 3), par(30, 8), par(10, 8), par(2, 8), par(8), par(8)],
        [(2, 3, 8), (2,)],
        {},
        Work(mul=144, add=288, transcendental=6),
    ),
    # 4 slices of 27: 108 squares, 104 sums, 4 roots, 4 divisions, 108 multiplications
    (
        "weight_norm",
        "aten:_weight_norm_interface",
        [par(4, 3, 3, 3), par(4, 1, 1, 1)],
        [(4, 3, 3, 3), (4, 1, 1, 1)],
        {"dim": 0},
        Work(mul=216, add=104, transcendental=4, div=4),
    ),
    # 108 elements: the dot product 1 + 1, then 2 multiplications and a subtraction
    (
        "weight_norm_backward",
        "aten:_weight_norm_interface_backward",
        [act(4, 3, 3, 3), par(4, 3, 3, 3), par(4, 1, 1, 1), act(4, 1, 1, 1)],
        [(4, 3, 3, 3), (4, 1, 1, 1)],
        {"dim": 0},
        Work(mul=324, add=216),
    ),
    # all three gradients in training: x̂ 1+1, shift 1 add, scale 1+1, data 2 add 2 mul: 5 add 4 mul · 120
    (
        "batch_norm_backward",
        "aten:native_batch_norm_backward",
        [act(2, 4, 3, 5), act(2, 4, 3, 5), par(4)],
        [(2, 4, 3, 5), (4,), (4,)],
        {"train": True, "output_mask": [True, True, True]},
        Work(add=600, mul=480),
    ),
    # frozen: only g·γ·rstd
    (
        "batch_norm_backward",
        "aten:native_batch_norm_backward",
        [act(2, 4, 3, 5), act(2, 4, 3, 5), par(4)],
        [(2, 4, 3, 5), None, None],
        {"train": False, "output_mask": [True, False, False]},
        Work(mul=120),
    ),
    # x̂ 1+1, γ·g 1, sums 2 add 1 mul, combination 2 add 2 mul, affine 2 add 1 mul: 7 add 6 mul · 48
    (
        "layer_norm_backward",
        "aten:native_layer_norm_backward",
        [act(2, 3, 8), act(2, 3, 8), act(2, 3, 1), act(2, 3, 1), par(8), par(8)],
        [(2, 3, 8), (8,), (8,)],
        {"normalized_shape": [8], "output_mask": [True, True, True]},
        Work(add=336, mul=288),
    ),
    # x̂ 1 mul, γ·g 1, sum 1+1, combination 1 add 2 mul, scale 1+1: 3 add 6 mul · 48
    (
        "rms_norm_backward",
        "aten:_fused_rms_norm_backward",
        [act(2, 3, 8), act(2, 3, 8), act(2, 3, 1), par(8)],
        [(2, 3, 8), (8,)],
        {"normalized_shape": [8], "output_mask": [True, True]},
        Work(add=144, mul=288),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_roles_make_running_statistics_buffers():
    spec, _ = canonical("onnx:BatchNormalization", [act(2, 4, 3), *FOUR], [(2, 4, 3)])
    assert spec.roles == {1: Role.PARAMETER, 2: Role.PARAMETER, 3: Role.BUFFER, 4: Role.BUFFER}


def _reached(function, shape, place):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x)[place], x)
    return {tuple(index) for index in gradient.abs().gt(1e-12).nonzero().tolist()}


def _predicted(relation, shape, place):
    sets = []
    for axis_map, size in zip(relation.maps, shape, strict=True):
        match axis_map:
            case Same(axis):
                sets.append([place[axis]])
            case All():
                sets.append(range(size))
            case Lookup(axis, table):
                sets.append(table[place[axis]])
    found = {()}
    for positions in sets:
        found = {(*one, position) for one in found for position in positions}
    return found


@pytest.mark.parametrize(
    ("name", "function", "attributes"),
    [
        ("aten:native_group_norm", lambda x: F.group_norm(x, 2), {"group": 2}),
        ("torch:instance_norm", F.instance_norm, {}),
        ("aten:native_layer_norm", lambda x: F.layer_norm(x, x.shape[2:]), {"normalized_shape": [3, 3]}),
        (
            "aten:native_batch_norm",
            lambda x: F.batch_norm(x, None, None, training=True),
            {"training": True},
        ),
    ],
)
def test_windows_are_where_torchs_gradient_goes(name, function, attributes):
    shape, place = (2, 4, 3, 3), (1, 2, 0, 1)
    relations = window(name, [act(*shape)], [shape], **attributes)
    assert _predicted(relations[0], shape, place) == _reached(function, shape, place)


def test_local_response_window_is_onnxs():
    # even size 4: channels c − 1 .. c + 2 (⌊3/2⌋ before, ⌈3/2⌉ after)
    assert window("onnx:LRN", [act(1, 8, 3)], [(1, 8, 3)], size=4) == (Axes((Same(0), Slide(1, 4, 1, 1, 1), Same(2))),)


def test_fused_shapes_are_onnxruntimes():
    # as its schema infers them: see test_ops_contrib_shapes.py
    inputs = [act(2, 3, 8), act(2, 3, 8), par(8), par(8)]
    outputs = [(2, 3, 8), None, None, (2, 3, 8)]
    assert shapes("com.microsoft:SkipLayerNormalization", inputs, outputs) == (
        (2, 3, 8),
        (2, 3, 1),
        (2, 3, 1),
        (2, 3, 8),
    )


def test_unused_outputs_do_not_mean_training():
    _, call = canonical("onnx:BatchNormalization", [act(2, 4, 3), *FOUR], [(2, 4, 3), None, None])
    assert not call.attributes
    _, call = canonical("onnx:BatchNormalization", [act(2, 4, 3), *FOUR], [(2, 4, 3), (4,), (4,)])
    assert call.attributes == {"training": True}


def test_skip_is_read_like_the_data():
    inputs = [act(2, 3, 8), Tensor("s", (3, 8)), par(8), par(8)]
    relations = window("com.microsoft:SkipLayerNormalization", inputs, [(2, 3, 8)])
    assert relations[0] == Axes((Same(0), Same(1), All()))
    assert relations[3] == Axes((Same(1), All()))
    assert work("com.microsoft:SkipLayerNormalization", [*inputs[:2], const(8)], [(2, 3, 8)]).add == 192
