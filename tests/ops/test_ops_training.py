"""Work of losses, of their gradients and everyone else's, and of optimizer steps: worked by hand."""

import pytest
from calls import act, canonical, par

from cnnprof.ops.work import Work

X = (2, 3, 4, 5)  # 120 elements
N = 120

# kind, spelling, operands, (add, mul, cmp, div, transcendental) of one element of the gradient
GRADIENTS = [
    ("relu_backward", "aten:threshold_backward", 2, (0, 0, 1, 0, 0)),
    ("clip_backward", "aten:hardtanh_backward", 2, (0, 0, 2, 0, 0)),  # above the one bound, below the other
    ("leaky_relu_backward", "aten:leaky_relu_backward", 2, (0, 1, 1, 0, 0)),
    ("hard_sigmoid_backward", "aten:hardsigmoid_backward", 2, (0, 1, 2, 0, 0)),  # −3 < x < 3: g/6
    ("prelu_backward", "aten:_prelu_kernel_backward", 3, (0, 2, 1, 0, 0)),  # w·g to the data, x·g to the slope
    ("hard_swish_backward", "aten:hardswish_backward", 2, (1, 2, 2, 0, 0)),  # g·(x/3 + ½) between −3 and 3
    ("sigmoid_backward", "aten:sigmoid_backward", 2, (1, 2, 0, 0, 0)),  # g·s·(1 − s)
    ("tanh_backward", "aten:tanh_backward", 2, (1, 2, 0, 0, 0)),  # g·(1 − t·t)
    ("silu_backward", "aten:silu_backward", 2, (2, 3, 0, 0, 1)),  # g·σ·(1 + x·(1 − σ))
    # Φ = ½·(1 + erf(x·√½)): 1, 2, 1; φ = c·exp(−½·x·x): 3 mul, 1; g·(Φ + x·φ): 1, 2
    ("gelu_backward", "aten:gelu_backward", 2, (2, 7, 0, 0, 2)),
    ("mish_backward", "aten:mish_backward", 2, (3, 4, 0, 0, 4)),  # softplus 1 + 2; tanh, σ; g·(t + x·σ·(1 − t·t))
    ("elu_backward", "aten:elu_backward", 2, (0, 2, 1, 0, 1)),  # g·α·exp x below 0
    ("softplus_backward", "aten:softplus_backward", 2, (1, 1, 0, 1, 1)),  # g·z/(z + 1)
    ("log_sigmoid_backward", "aten:log_sigmoid_backward", 3, (1, 1, 0, 1, 1)),
    ("logit_backward", "aten:logit_backward", 2, (1, 1, 0, 1, 0)),  # g/(x·(1 − x))
    ("softmax_backward", "aten:_softmax_backward_data", 2, (2, 2, 0, 0, 0)),  # y·(g − Σ g·y)
    ("log_softmax_backward", "aten:_log_softmax_backward_data", 2, (2, 1, 0, 0, 1)),  # g − exp y·Σ g
    ("dropout_backward", "aten:native_dropout_backward", 2, (0, 2, 0, 0, 0)),
    ("masked_mul", "aten:_masked_scale", 2, (0, 2, 0, 0, 0)),
    ("squared_error_backward", "aten:mse_loss_backward", 3, (1, 2, 0, 0, 0)),  # 2/n·(x − t)·g
    ("absolute_error_backward", "aten:l1_loss_backward", 3, (1, 1, 1, 0, 0)),
    ("huber_loss_backward", "aten:smooth_l1_loss_backward", 3, (1, 2, 2, 0, 0)),
    # g·(p − t)/max((1 − p)·p, ε)
    ("binary_cross_entropy_backward", "aten:binary_cross_entropy_backward", 3, (2, 2, 1, 1, 0)),
    # z = exp(−t·x); −g·t·z/(1 + z)
    ("soft_margin_loss_backward", "aten:soft_margin_loss_backward", 3, (1, 3, 0, 1, 1)),
]

# kind, spelling, unit of one element of the prediction; the mean adds 119 and one division
LOSSES = [
    ("squared_error", "aten:mse_loss", (1, 1, 0, 0, 0)),
    ("absolute_error", "aten:l1_loss", (1, 0, 1, 0, 0)),
    ("huber_loss", "aten:smooth_l1_loss", (2, 2, 2, 0, 0)),
    ("binary_cross_entropy", "aten:binary_cross_entropy", (3, 2, 0, 0, 2)),
    ("binary_cross_entropy_logits", "aten:binary_cross_entropy_with_logits", (4, 2, 1, 0, 2)),
    ("divergence", "aten:kl_div", (1, 1, 0, 0, 1)),
    ("soft_margin_loss", "aten:soft_margin_loss", (1, 1, 0, 0, 2)),
    ("margin_loss", "aten:multilabel_margin_loss_forward", (2, 1, 1, 0, 0)),
]


def _times(unit, elements):
    add, mul, cmp, div, transcendental = (count * elements for count in unit)
    return Work(add=add, mul=mul, cmp=cmp, div=div, transcendental=transcendental)


PREVIEW = "ai.onnx.preview.training"
LISTS = [act(10), act(5)]  # two parameters, 15 elements
STEPS = [act(), act()]

CASES = [
    *((kind, name, [act(*X)] * operands, [X], {}, _times(unit, N)) for kind, name, operands, unit in GRADIENTS),
    *(
        (kind, name, [act(*X)] * 2, [()], {"reduction": 1}, _times(unit, N) + Work(add=119, div=1))
        for kind, name, unit in LOSSES
    ),
    ("squared_error", "aten:mse_loss", [act(4, 10)] * 2, [(4, 10)], {"reduction": 0}, Work(add=40, mul=40)),
    # 4·(x + a·x³)-products, tanh; ½·(1 + t); ½·x·(1 − t·t)·c·(1 + 3a·x²); sum; g
    (
        "gelu_tanh_backward",
        "aten:gelu_backward",
        [act(10)] * 2,
        [(10,)],
        {"approximate": "tanh"},
        Work(add=50, mul=120, transcendental=10),
    ),
    # 9 incoming elements: g·σ, then ·a·(1 − σ)
    (
        "glu_backward",
        "aten:glu_backward",
        [act(3, 3), act(3, 6)],
        [(3, 6)],
        {"dim": 1},
        Work(add=9, mul=27, transcendental=9),
    ),
    ("placement_backward", "aten:slice_backward", [act(2, 3)], [(2, 5)], {"dim": 1}, Work()),
    ("gather_backward", "aten:index_select_backward", [act(2, 3), act(2)], [(7, 3)], {"dim": 0}, Work(add=6)),
    (
        "pad_backward",
        "aten:reflection_pad2d_backward",
        [act(1, 2, 6, 6), act(1, 2, 4, 4)],
        [(1, 2, 4, 4)],
        {},
        Work(add=72),
    ),
    # every incoming element into 1, 2, 4, 8, 16 places
    (
        "resize_nearest_backward",
        "aten:upsample_nearest2d_backward",
        [act(1, 1, 4, 4)],
        [(1, 1, 2, 2)],
        {},
        Work(add=16),
    ),
    (
        "resize_linear1d_backward",
        "aten:upsample_linear1d_backward",
        [act(1, 1, 8)],
        [(1, 1, 4)],
        {},
        Work(add=16, mul=16),
    ),
    (
        "resize_linear2d_backward",
        "aten:upsample_bilinear2d_backward",
        [act(1, 1, 4, 4)],
        [(1, 1, 2, 2)],
        {},
        Work(add=64, mul=64),
    ),
    (
        "resize_linear3d_backward",
        "aten:upsample_trilinear3d_backward",
        [act(1, 1, 2, 2, 2)],
        [(1, 1, 1, 1, 1)],
        {},
        Work(add=64, mul=64),
    ),
    (
        "resize_cubic_backward",
        "aten:upsample_bicubic2d_backward",
        [act(1, 1, 4, 4)],
        [(1, 1, 2, 2)],
        {},
        Work(add=256, mul=256),
    ),
    # 24 incoming elements · 4 corners: 1 mul, 1 add into the input; 2 mul, 1 add for each of two slopes
    (
        "grid_sample_backward",
        "aten:grid_sampler_2d_backward",
        [act(1, 2, 3, 4), act(1, 2, 5, 5), act(1, 3, 4, 2)],
        [(1, 2, 5, 5), (1, 3, 4, 2)],
        {"interpolation_mode": 0},
        Work(mul=480, add=288),
    ),
    # 8 corners: 1 mul, 1 add; 3 mul, 1 add for each of three slopes
    (
        "grid_sample_backward",
        "aten:grid_sampler_3d_backward",
        [act(1, 1, 1, 1, 2), act(1, 1, 5, 5, 5), act(1, 1, 1, 2, 3)],
        [(1, 1, 5, 5, 5), (1, 1, 1, 2, 3)],
        {"interpolation_mode": 0},
        Work(mul=160, add=64),
    ),
    # 16 taps of 8 mul, 3 add
    (
        "grid_sample_backward",
        "aten:grid_sampler_2d_backward",
        [act(1, 1, 1, 2), act(1, 1, 5, 5), act(1, 1, 2, 2)],
        [(1, 1, 5, 5), (1, 1, 2, 2)],
        {"interpolation_mode": 2},
        Work(mul=256, add=96),
    ),
    # 4 samples: negate, add up, divide
    (
        "negative_log_likelihood",
        "aten:nll_loss_forward",
        [act(4, 10), act(4)],
        [(), ()],
        {"reduction": 1},
        Work(add=7, div=1),
    ),
    # with class weights, on 2·3 pixels of 2 images
    (
        "negative_log_likelihood",
        "onnx:NegativeLogLikelihoodLoss",
        [act(2, 5, 2, 3), act(2, 2, 3), par(5)],
        [(2, 2, 3)],
        {"reduction": "none"},
        Work(mul=12, add=12),
    ),
    (
        "negative_log_likelihood_backward",
        "aten:nll_loss_backward",
        [act(), act(4, 10), act(4)],
        [(4, 10)],
        {"reduction": 1},
        Work(mul=4, div=4),
    ),
    # log-softmax 40·(1 + 3 + 1) and 4 logarithms; 4 negations, 3 additions, a division
    (
        "cross_entropy",
        "onnx:SoftmaxCrossEntropyLoss",
        [act(4, 10), act(4)],
        [()],
        {},
        Work(cmp=40, add=127, div=1, transcendental=44),
    ),
    # R, T, then lists of one parameter of 10
    ("momentum", f"{PREVIEW}:Momentum", [act(), act(), *[act(10)] * 3], [(10,), (10,)], {}, Work(add=30, mul=40)),
    # two parameters, Nesterov: 4 add, 5 mul
    (
        "momentum",
        f"{PREVIEW}:Momentum",
        [act(), act(), *LISTS * 3],
        [(10,), (5,), (10,), (5,)],
        {"mode": "nesterov"},
        Work(add=60, mul=75),
    ),
    (
        "adagrad",
        f"{PREVIEW}:Adagrad",
        [act(), act(), *LISTS * 3],
        [(10,), (5,), (10,), (5,)],
        {},
        Work(add=60, mul=45, div=15, transcendental=15),
    ),
    (
        "adam",
        f"{PREVIEW}:Adam",
        [act(), act(), *LISTS * 4],
        [(10,), (5,)] * 3,
        {},
        Work(add=75, mul=105, div=15, transcendental=15),
    ),
    # ATen's lists, 15 elements
    ("foreach_add", "aten:_foreach_add_.List", LISTS * 2, [(10,), (5,)], {}, Work(add=15)),
    ("foreach_mul", "aten:_foreach_mul_.Scalar", LISTS, [(10,), (5,)], {"scalar": 2}, Work(mul=15)),
    ("foreach_div", "aten:_foreach_div.Scalar", LISTS, [(10,), (5,)], {}, Work(div=15)),
    ("foreach_addcmul", "aten:_foreach_addcmul_.Scalar", LISTS * 3, [(10,), (5,)], {}, Work(add=15, mul=30)),
    (
        "foreach_addcdiv",
        "aten:_foreach_addcdiv_.ScalarList",
        LISTS * 3,
        [(10,), (5,)],
        {},
        Work(add=15, mul=15, div=15),
    ),
    ("foreach_lerp", "aten:_foreach_lerp_.Scalar", LISTS * 2, [(10,), (5,)], {}, Work(add=30, mul=15)),
    ("foreach_function", "aten:_foreach_sqrt", LISTS, [(10,), (5,)], {}, Work(transcendental=15)),
    ("foreach_compare", "aten:_foreach_maximum_.List", LISTS * 2, [(10,), (5,)], {}, Work(cmp=15)),
    ("foreach_copy", "aten:_foreach_copy_", LISTS * 2, [(10,), (5,)], {}, Work()),
    # 15 squares, 13 additions, 2 roots
    ("foreach_norm", "aten:_foreach_norm.Scalar", LISTS, [(), ()], {}, Work(mul=15, add=13, transcendental=2)),
    # v = α·v + β·g, x − r·v; without momentum x − r·g; with decay g + λ·x; Nesterov g + α·v
    (
        "fused_sgd",
        "aten:_fused_sgd_",
        LISTS * 2,
        [(10,), (5,)] * 2,
        {"momentum": 0.0, "weight_decay": 0.0},
        Work(add=15, mul=15),
    ),
    (
        "fused_sgd",
        "aten:_fused_sgd_",
        LISTS * 3,
        [(10,), (5,)] * 3,
        {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
        Work(add=60, mul=75),
    ),
    # without decay 4 add, 6 mul, a division, a root; every list but the steps is written
    (
        "fused_adam",
        "aten:_fused_adam_",
        [*LISTS * 4, *STEPS],
        [(10,), (5,)] * 4,
        {"weight_decay": 0.0, "amsgrad": False},
        Work(add=60, mul=90, div=15, transcendental=15),
    ),
    (
        "fused_adam",
        "aten:_fused_adamw_",
        [*LISTS * 5, *STEPS],
        [(10,), (5,)] * 5,
        {"weight_decay": 0.01, "amsgrad": True},
        Work(add=75, mul=105, cmp=15, div=15, transcendental=15),
    ),
    (
        "fused_adagrad",
        "aten:_fused_adagrad_",
        [*LISTS * 3, *STEPS],
        [(10,), (5,)] * 3,
        {"weight_decay": 0.0},
        Work(add=45, mul=30, div=15, transcendental=15),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected
