"""Quantisation against hand-worked counts and NumPy's shapes."""

import numpy as np
import pytest
from calls import act, canonical, const, par, shapes, window

from cnnprof.ops.window import All, Axes, Fixed, Same, Slide
from cnnprof.ops.work import Work

S = [const(), const()]
CASES = [
    # 2·3·4 = 24 elements
    ("quantize", "onnx:QuantizeLinear", [act(2, 3, 4), *S], [(2, 3, 4)], {}, Work(div=24, add=24, cmp=24)),
    (
        "quantize",
        "aten:quantize_per_tensor",
        [act(2, 3, 4)],
        [(2, 3, 4)],
        {"scale": 0.1, "zero_point": 3},
        Work(div=24, add=24, cmp=24),
    ),
    ("dequantize", "onnx:DequantizeLinear", [act(2, 3, 4), *S], [(2, 3, 4)], {}, Work(add=24, mul=24)),
    ("dequantize", "onnx:DequantizeLinear", [act(2, 3, 4), const()], [(2, 3, 4)], {}, Work(mul=24)),
    ("dequantize", "aten:dequantize.self", [act(2, 3, 4)], [(2, 3, 4)], {}, Work(add=24, mul=24)),
    (
        "dynamic_quantize",
        "onnx:DynamicQuantizeLinear",
        [act(2, 3, 4)],
        [(2, 3, 4), (), ()],
        {},
        Work(cmp=72, div=24, add=24),
    ),
    (
        "fake_quantize",
        "aten:fake_quantize_per_tensor_affine",
        [act(2, 3, 4)],
        [(2, 3, 4)],
        {"scale": 0.1, "zero_point": 0, "quant_min": 0, "quant_max": 255},
        Work(div=24, add=48, cmp=24, mul=24),
    ),
    (
        "fake_quantize_backward",
        "aten:fake_quantize_per_tensor_affine_cachemask_backward",
        [act(2, 3, 4), act(2, 3, 4)],
        [(2, 3, 4)],
        {},
        Work(mul=24),
    ),
    # 24 + 4 operands dequantised, 24 sums quantised
    (
        "add_quantized",
        "com.microsoft:QLinearAdd",
        [act(2, 3, 4), *S, act(4), *S, *S],
        [(2, 3, 4)],
        {},
        Work(mul=28, add=76, div=24, cmp=24),
    ),
    (
        "mul_quantized",
        "com.microsoft:QLinearMul",
        [act(2, 3, 4), *S, act(2, 3, 4), *S, *S],
        [(2, 3, 4)],
        {},
        Work(mul=72, add=72, div=24, cmp=24),
    ),
    (
        "sigmoid_quantized",
        "com.microsoft:QLinearSigmoid",
        [act(2, 3, 4), *S, *S],
        [(2, 3, 4)],
        {},
        Work(mul=24, add=48, div=24, cmp=24, transcendental=24),
    ),
    (
        "leaky_relu_quantized",
        "com.microsoft:QLinearLeakyRelu",
        [act(2, 3, 4), *S, *S],
        [(2, 3, 4)],
        {"alpha": 0.1},
        Work(mul=48, add=48, div=24, cmp=48),
    ),
    (
        "softmax_quantized",
        "com.microsoft:QLinearSoftmax",
        [act(2, 3, 4), *S, *S],
        [(2, 3, 4)],
        {"axis": -1, "opset": 13},
        Work(mul=24, add=96, div=48, cmp=48, transcendental=24),
    ),
    (
        "where_quantized",
        "com.microsoft:QLinearWhere",
        [act(2, 3, 4), act(2, 3, 4), *S, act(2, 3, 4), *S, *S],
        [(2, 3, 4)],
        {},
        Work(mul=48, add=72, div=24, cmp=24),
    ),
    # 2·8·4 = 64 results
    (
        "concat_quantized",
        "com.microsoft:QLinearConcat",
        [*S, act(2, 3, 4), *S, act(2, 5, 4), *S],
        [(2, 8, 4)],
        {"axis": 1},
        Work(mul=64, add=128, div=64, cmp=64),
    ),
    # 24 dequantised, 20 additions to 4 means, 4 divisions, 4 quantised
    (
        "reduce_mean_quantized",
        "com.microsoft:QLinearReduceMean",
        [act(2, 3, 4), *S, *S],
        [(1, 1, 4)],
        {"axes": [0, 1]},
        Work(mul=24, add=48, div=8, cmp=4),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_shapes_are_numpys():
    a, b = (2, 1, 4), (3, 1)
    assert shapes("com.microsoft:QLinearAdd", [act(*a), *S, act(*b), *S, *S]) == (np.broadcast_shapes(a, b),)
    joined = np.concatenate([np.zeros((2, 3, 4)), np.zeros((2, 5, 4))], axis=-2).shape
    found = shapes("com.microsoft:QLinearConcat", [*S, act(2, 3, 4), *S, act(2, 5, 4), *S], axis=-2)
    assert found == (joined,)
    for keep in (0, 1):
        mean = np.zeros((2, 3, 4)).mean(axis=(1,), keepdims=bool(keep)).shape
        assert shapes("com.microsoft:QLinearReduceMean", [act(2, 3, 4), *S, *S], axes=[1], keepdims=keep) == (mean,)
    assert shapes("onnx:DynamicQuantizeLinear", [act(2, 3)], (None, None, None)) == ((2, 3), (), ())


def test_windows():
    assert window("onnx:QuantizeLinear", [act(2, 3), *S], [(2, 3)]) == (Axes((Same(0), Same(1))), None, None)
    assert window("onnx:DequantizeLinear", [par(2, 3), *S], [(2, 3)]) == (None, None, None)
    found = window("com.microsoft:QLinearAdd", [act(2, 1, 4), *S, act(3, 1), *S, *S], [(2, 3, 4)])
    assert found[:2] == (Axes((Same(0), Fixed(0), Same(2))), Axes((Same(1), Fixed(0))))
    assert found[2:] == (None,) * 6
    found = window("com.microsoft:QLinearConcat", [*S, act(2, 3), *S, act(2, 5), *S], [(2, 8)], axis=1)
    assert found[:2] == (Axes((Same(0), Slide(1, pad=0))), Axes((Same(0), Slide(1, pad=3))))
    found = window("com.microsoft:QLinearReduceMean", [act(2, 3, 4), *S, *S], [(2, 4)], axes=[1], keepdims=0)
    assert found[0] == Axes((Same(0), All(), Same(1)))
    assert window("onnx:DynamicQuantizeLinear", [act(2, 3)], [(2, 3), ()], output=1) == (Axes((All(), All())),)
