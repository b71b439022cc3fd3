"""Work of every elementwise kind and activation: one element's operations, written down by hand from its formula.

Every row stands on a tensor of 2·3·4·5 = 120 elements, so its work is 120 times the unit.
"""

import pytest
from calls import act, canonical, par

from cnnprof.ops.work import Work

SHAPE = (2, 3, 4, 5)
N = 120

# kind, spelling, operands, (add, mul, cmp, div, transcendental) of one element
UNITS = [
    ("mul", "onnx:Mul", 2, (0, 1, 0, 0, 0)),
    ("div", "aten:div.Tensor", 2, (0, 0, 0, 1, 0)),
    ("neg", "onnx:Neg", 1, (1, 0, 0, 0, 0)),
    ("reciprocal", "onnx:Reciprocal", 1, (0, 0, 0, 1, 0)),
    ("square", "aten:square", 1, (0, 1, 0, 0, 0)),
    ("mod", "onnx:Mod", 2, (1, 1, 0, 1, 0)),  # a − ⌊a/b⌋·b
    ("abs", "onnx:Abs", 1, (0, 0, 1, 0, 0)),
    ("sign", "onnx:Sign", 1, (0, 0, 1, 0, 0)),
    ("floor", "onnx:Floor", 1, (0, 0, 1, 0, 0)),
    ("ceil", "onnx:Ceil", 1, (0, 0, 1, 0, 0)),
    ("round", "onnx:Round", 1, (0, 0, 1, 0, 0)),
    ("trunc", "aten:trunc", 1, (0, 0, 1, 0, 0)),
    ("frac", "aten:frac", 1, (1, 0, 1, 0, 0)),  # x − trunc x
    ("where", "onnx:Where", 3, (0, 0, 1, 0, 0)),
    ("nan_to_num", "aten:nan_to_num", 1, (0, 0, 3, 0, 0)),  # nan? +inf? −inf?
    ("heaviside", "aten:heaviside", 2, (0, 0, 1, 0, 0)),
    ("copysign", "aten:copysign.Tensor", 2, (0, 0, 1, 0, 0)),
    ("ldexp", "aten:ldexp.Tensor", 2, (0, 1, 0, 0, 0)),
    ("cross", "aten:linalg_cross", 2, (1, 2, 0, 0, 0)),  # a·d − b·c
    ("complex", "aten:complex", 2, (0, 0, 0, 0, 0)),
    *((kind, f"onnx:{kind.capitalize()}", 1, (0, 0, 0, 0, 1)) for kind in ("exp", "log", "sqrt", "erf")),
    *((kind, f"onnx:{kind.capitalize()}", 1, (0, 0, 0, 0, 1)) for kind in ("sin", "cos", "tan", "asin", "acos")),
    *((kind, f"onnx:{kind.capitalize()}", 1, (0, 0, 0, 0, 1)) for kind in ("atan", "sinh", "cosh", "asinh")),
    *((kind, f"onnx:{kind.capitalize()}", 1, (0, 0, 0, 0, 1)) for kind in ("acosh", "atanh", "sigmoid", "tanh")),
    *((kind, f"aten:{kind}", 1, (0, 0, 0, 0, 1)) for kind in ("exp2", "expm1", "log2", "log10", "log1p", "rsqrt")),
    *((kind, f"aten:{kind}", 1, (0, 0, 0, 0, 1)) for kind in ("erfc", "erfinv", "lgamma", "digamma", "polygamma")),
    ("pow", "onnx:Pow", 2, (0, 0, 0, 0, 1)),
    ("bessel", "aten:i0", 1, (0, 0, 0, 0, 1)),
    ("special_function", "aten:special_zeta", 2, (0, 0, 0, 0, 1)),
    ("sinc", "aten:sinc", 1, (0, 1, 0, 1, 1)),  # sin(πx)/(πx)
    ("atan2", "aten:atan2", 2, (0, 0, 0, 1, 1)),  # atan(y/x)
    ("polar", "aten:polar", 2, (0, 2, 0, 0, 2)),  # r·cos φ and r·sin φ
    ("hypot", "aten:hypot", 2, (1, 2, 0, 0, 1)),  # √(x·x + y·y)
    ("logaddexp", "aten:logaddexp", 2, (3, 0, 1, 0, 2)),  # larger + log(1 + exp(smaller − larger))
    ("xlogy", "aten:xlogy.Tensor", 2, (0, 1, 0, 0, 1)),
    ("logit", "aten:logit", 1, (1, 0, 0, 1, 1)),  # log(x/(1 − x))
    ("lerp", "aten:lerp.Tensor", 3, (2, 1, 0, 0, 0)),  # a + w·(b − a)
    ("addcmul", "aten:addcmul", 3, (1, 2, 0, 0, 0)),  # a + v·b·c
    ("addcdiv", "aten:addcdiv", 3, (1, 1, 0, 1, 0)),  # a + v·b/c
    ("deg2rad", "aten:deg2rad", 1, (0, 1, 0, 0, 0)),
    ("equal", "onnx:Equal", 2, (0, 0, 1, 0, 0)),
    ("not_equal", "aten:ne.Tensor", 2, (0, 0, 1, 0, 0)),
    ("greater", "onnx:Greater", 2, (0, 0, 1, 0, 0)),
    ("greater_equal", "onnx:GreaterOrEqual", 2, (0, 0, 1, 0, 0)),
    ("less", "onnx:Less", 2, (0, 0, 1, 0, 0)),
    ("less_equal", "aten:le.Scalar", 1, (0, 0, 1, 0, 0)),
    ("is_nan", "onnx:IsNaN", 1, (0, 0, 1, 0, 0)),
    ("is_inf", "onnx:IsInf", 1, (0, 0, 1, 0, 0)),
    ("is_close", "aten:isclose", 2, (2, 1, 3, 0, 0)),  # |a − b| ≤ α + ρ·|b|
    ("logical_and", "onnx:And", 2, (0, 0, 1, 0, 0)),
    ("logical_or", "onnx:Or", 2, (0, 0, 1, 0, 0)),
    ("logical_xor", "onnx:Xor", 2, (0, 0, 1, 0, 0)),
    ("logical_not", "onnx:Not", 1, (0, 0, 1, 0, 0)),
    ("bitwise_and", "onnx:BitwiseAnd", 2, (0, 0, 1, 0, 0)),
    ("bitwise_or", "onnx:BitwiseOr", 2, (0, 0, 1, 0, 0)),
    ("bitwise_xor", "onnx:BitwiseXor", 2, (0, 0, 1, 0, 0)),
    ("bitwise_not", "onnx:BitwiseNot", 1, (0, 0, 1, 0, 0)),
    ("bit_shift", "onnx:BitShift", 2, (0, 0, 1, 0, 0)),
    ("gcd", "aten:gcd", 2, (1, 1, 0, 1, 0)),  # one step of Euclid's algorithm: a remainder
    ("conj", "aten:_conj_physical", 1, (1, 0, 0, 0, 0)),  # the imaginary part's sign
    ("add", "onnx:Add", 2, (1, 0, 0, 0, 0)),
    ("add", "onnx:Sum", 2, (1, 0, 0, 0, 0)),
    ("sub", "aten:rsub.Tensor", 2, (1, 0, 0, 0, 0)),
    ("add_n", "onnx:Sum", 4, (3, 0, 0, 0, 0)),
    ("mean_n", "onnx:Mean", 3, (2, 0, 0, 1, 0)),
    ("maximum", "onnx:Max", 3, (0, 0, 2, 0, 0)),
    ("minimum", "aten:minimum", 2, (0, 0, 1, 0, 0)),
    ("complex_mul", "com.microsoft:ComplexMul", 2, (1, 2, 0, 0, 0)),  # either part of a product: two products, a sum
    ("identity", "onnx:Identity", 1, (0, 0, 0, 0, 0)),
    ("bit_cast", "onnx:BitCast", 1, (0, 0, 0, 0, 0)),
    ("cast", "onnx:Cast", 1, (0, 0, 0, 0, 0)),
    ("copy", "aten:clone", 1, (0, 0, 0, 0, 0)),
    # activations
    ("relu", "onnx:Relu", 1, (0, 0, 1, 0, 0)),
    ("relu", "aten:relu_", 1, (0, 0, 1, 0, 0)),
    ("clip", "onnx:Clip", 1, (0, 0, 1, 0, 0)),
    ("clip", "aten:hardtanh", 1, (0, 0, 1, 0, 0)),
    ("threshold", "onnx:ThresholdedRelu", 1, (0, 0, 1, 0, 0)),
    ("leaky_relu", "onnx:LeakyRelu", 1, (0, 1, 1, 0, 0)),
    ("hard_sigmoid", "onnx:HardSigmoid", 1, (1, 1, 1, 0, 0)),
    ("hard_swish", "onnx:HardSwish", 1, (1, 2, 1, 0, 0)),
    ("hard_swish", "aten:hardswish_", 1, (1, 2, 1, 0, 0)),
    ("swiglu", "onnx:SwiGLU", 2, (0, 2, 0, 0, 1)),  # a·σ(a)·b
    ("mish", "onnx:Mish", 1, (1, 1, 0, 0, 3)),  # x·tanh(log(1 + exp x))
    ("softplus", "onnx:Softplus", 1, (1, 0, 0, 0, 2)),
    ("log_sigmoid", "aten:log_sigmoid_forward", 1, (2, 0, 0, 0, 2)),  # x − log(1 + exp x)
    ("softsign", "onnx:Softsign", 1, (1, 0, 1, 1, 0)),  # x/(1 + |x|)
    ("shrink", "onnx:Shrink", 1, (1, 0, 2, 0, 0)),
    ("elu", "onnx:Elu", 1, (1, 1, 1, 0, 1)),  # x > 0 ? x : α·(exp x − 1)
    ("selu", "onnx:Selu", 1, (1, 2, 1, 0, 1)),
    ("celu", "onnx:Celu", 1, (1, 1, 1, 1, 1)),  # x > 0 ? x : α·(exp(x/α) − 1)
    ("silu", "onnx:Swish", 1, (0, 1, 0, 0, 1)),
    ("silu", "aten:silu", 1, (0, 1, 0, 0, 1)),
    ("swish", "com.microsoft:QuickGelu", 1, (0, 2, 0, 0, 1)),  # x·σ(α·x)
    ("gelu", "onnx:Gelu", 1, (1, 3, 0, 0, 1)),  # ½·x·(1 + erf(x·√½))
    ("gelu_tanh", "com.microsoft:FastGelu", 1, (2, 6, 0, 0, 1)),
    ("prelu", "onnx:PRelu", 2, (0, 1, 1, 0, 0)),
    ("random_dropout", "com.microsoft:BitmaskDropout", 1, (0, 2, 1, 0, 0)),
    ("hardmax", "onnx:Hardmax", 1, (0, 0, 2, 0, 0)),
    ("softmax", "onnx:Softmax", 1, (2, 0, 1, 1, 1)),  # largest, subtract, exp, sum, divide
]


def _times(unit, elements):
    add, mul, cmp, div, transcendental = (count * elements for count in unit)
    return Work(add=add, mul=mul, cmp=cmp, div=div, transcendental=transcendental)


def _kind(kind, name):
    return "fast_gelu" if name == "com.microsoft:FastGelu" else kind


CASES = [
    *(
        (_kind(kind, name), name, [act(*SHAPE)] * operands, [SHAPE], {}, _times(unit, N))
        for kind, name, operands, unit in UNITS
    ),
    # the second operand is scaled first
    ("add", "aten:add.Tensor", [act(*SHAPE)] * 2, [SHAPE], {"alpha": 2}, Work(add=120, mul=120)),
    # sizes broadcast: (3, 1, 1) and (2, 3, 4, 5)
    ("mul", "aten:mul_.Tensor", [act(*SHAPE), act(3, 1, 1)], [SHAPE], {}, Work(mul=120)),
    ("atan2", "aten:angle", [act(*SHAPE)], [SHAPE], {}, Work(div=120, transcendental=120)),
    ("swiglu", "onnx:SwiGLU", [act(*SHAPE)] * 2, [SHAPE], {"alpha": 1.5}, Work(mul=360, transcendental=120)),
    ("swish", "onnx:Swish", [act(*SHAPE)], [SHAPE], {"alpha": 1.5}, Work(mul=240, transcendental=120)),
    (
        "gelu_tanh",
        "onnx:Gelu",
        [act(*SHAPE)],
        [SHAPE],
        {"approximate": "tanh"},
        Work(add=240, mul=720, transcendental=120),
    ),
    # a bias for the last axis: one addition before the gelu
    (
        "bias_gelu",
        "com.microsoft:BiasGelu",
        [act(*SHAPE), par(5)],
        [SHAPE],
        {},
        Work(add=240, mul=360, transcendental=120),
    ),
    (
        "fast_gelu",
        "com.microsoft:FastGelu",
        [act(*SHAPE), par(5)],
        [SHAPE],
        {},
        Work(add=360, mul=720, transcendental=120),
    ),
    ("bias_add", "com.microsoft:BiasAdd", [act(2, 3, 5), par(5), act(2, 3, 5)], [(2, 3, 5)], {}, Work(add=60)),
    # bias and residual, dropout at inference
    ("bias_dropout", "com.microsoft:BiasDropout", [act(2, 3, 5), par(5), act(2, 3, 5)], [(2, 3, 5)], {}, Work(add=60)),
    # 24 outputs: two biases, gelu 1 + 3 (+1), one product
    (
        "bias_split_gelu",
        "com.microsoft:BiasSplitGelu",
        [act(2, 3, 8), par(8)],
        [(2, 3, 4)],
        {},
        Work(add=72, mul=96, transcendental=24),
    ),
    ("glu", "aten:glu", [act(2, 6, 3)], [(2, 3, 3)], {"dim": 1}, Work(mul=18, transcendental=18)),
    # 24 rows of 5: a logarithm each
    (
        "log_softmax",
        "aten:_log_softmax",
        [act(*SHAPE)],
        [SHAPE],
        {"dim": 3},
        Work(cmp=120, add=360, transcendental=144),
    ),
    ("dropout", "onnx:Dropout", [act(*SHAPE)], [SHAPE], {}, Work()),
    ("dropout", "aten:native_dropout", [act(*SHAPE)], [SHAPE, SHAPE], {"p": 0.5, "train": False}, Work()),
    (
        "random_dropout",
        "aten:native_dropout",
        [act(*SHAPE)],
        [SHAPE, SHAPE],
        {"p": 0.5, "train": True},
        Work(cmp=120, mul=240),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected
