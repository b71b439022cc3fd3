"""Activation functions, gates and dropout.

Work per element of the output, as the counting convention states it: relu and clip 1; leaky relu and
prelu 2; hard-sigmoid 3; hard-swish 4; silu 1 transcendental + 1; gelu (erf) 1 + 4.
Where the convention is silent: gelu (tanh) 0.5·x·(1 + tanh(c·(x + 0.044715·x³))) is 6 mul + 2 add + 1;
softplus log(1 + exp x) is 2 + 1; mish x·tanh(softplus x) is 3 + 2. Dropout at inference is the identity; in
training it is a comparison with random bits and two multiplications (mask, scale); the generator's integer
arithmetic is not counted. Slopes and bounds are dropped from the attributes: they change no cost.
"""

from __future__ import annotations

from cnnprof.ir.tensor import Role
from cnnprof.ops.naming import aten, axis_of, microsoft, moving, onnx, pointwise, without_attributes
from cnnprof.ops.rules import linear_formula, per_output, pointwise_window, same_shape
from cnnprof.ops.spec import Call, Memory, OpSpec
from cnnprof.ops.window import Axes, AxisMap, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

CMP = Work(cmp=1)
FUN = Work(transcendental=1)
GELU = Work(add=1, mul=3, transcendental=1)
GELU_TANH = Work(add=2, mul=6, transcendental=1)
SILU = Work(mul=1, transcendental=1)
SOFTPLUS = Work(add=1, transcendental=2)

# kind, work of one output element, ONNX names, com.microsoft names, ATen names
_ROWS: tuple[tuple[str, Work, str, str, str], ...] = (
    ("relu", CMP, "Relu", "", "relu"),
    ("clip", CMP, "Clip", "", "clamp clip clamp_min clamp_max hardtanh relu6"),
    ("threshold", CMP, "ThresholdedRelu", "", "threshold hardshrink"),
    ("leaky_relu", Work(cmp=1, mul=1), "LeakyRelu", "", "leaky_relu rrelu_with_noise"),
    ("hard_sigmoid", Work(mul=1, add=1, cmp=1), "HardSigmoid", "", "hardsigmoid"),
    ("hard_swish", Work(mul=2, add=1, cmp=1), "HardSwish", "", "hardswish"),
    ("sigmoid", FUN, "Sigmoid", "", "sigmoid special_expit"),
    ("tanh", FUN, "Tanh", "", "tanh"),
    ("mish", Work(add=1, mul=1, transcendental=3), "Mish", "", "mish"),
    ("softplus", SOFTPLUS, "Softplus", "", "softplus"),
    ("log_sigmoid", Work(add=2, transcendental=2), "", "", "log_sigmoid log_sigmoid_forward"),
    ("softsign", Work(cmp=1, add=1, div=1), "Softsign", "", "softsign"),
    ("shrink", Work(cmp=2, add=1), "Shrink", "", "softshrink"),
    ("elu", Work(cmp=1, add=1, mul=1, transcendental=1), "Elu", "", "elu"),
    ("selu", Work(cmp=1, add=1, mul=2, transcendental=1), "Selu", "", "selu"),
    ("celu", Work(cmp=1, add=1, mul=1, div=1, transcendental=1), "Celu", "", "celu"),
)


# -- spellings that mean several kinds -----------------------------------------------------------------


def _tanh_form(call: Call) -> bool:
    return bool(call.get("approximate", "none") == "tanh")


def _erf_form(call: Call) -> bool:
    return not _tanh_form(call)


def _plain_swish(call: Call) -> bool:
    return bool(call.get("alpha", 1.0) == 1.0)


def _training(call: Call) -> bool:
    """ONNX Dropout: attribute-free up to opset 10 (inference), a ``training_mode`` input from 12;
    ATen: ``train`` (None means training)."""
    if call.op_type.startswith("aten:"):
        return call.get("train", call.get("training", True)) is not False
    return bool((call.value(2) or (0,))[0])


def _ms_bias_training(call: Call) -> bool:
    return bool((call.value(4) or (0,))[0])


def _slope(call: Call) -> Call:
    return call.with_attributes({} if _plain_swish(call) else {"scaled": True})


def _swiglu_work(call: Call) -> Work:
    """a·sigmoid(alpha·a)·b."""
    return Work(mul=3 if call.get("scaled", False) else 2, transcendental=1) * call.out_elements()


# -- gates that halve an axis -----------------------------------------------------------------------------


def _glu_axis(call: Call) -> Call:
    return call.with_attributes({"axis": axis_of(call.get("dim", -1), len(call.shape(0)))})


def _last_axis(call: Call) -> Call:
    return call.with_attributes({"axis": len(call.shape(0)) - 1})


def _halves_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Output o reads o and o + half along the axis."""
    shape, gate = call.shape(0), call.attr("axis")
    maps: tuple[AxisMap, ...] = tuple(
        Slide(axis, kernel=2, dilation=size // 2) if axis == gate else Same(axis) for axis, size in enumerate(shape)
    )
    return (Axes(maps), *(None for _ in call.inputs[1:]))


def _halves_shapes(call: Call) -> tuple[tuple[int, ...] | None, ...]:
    shape, gate = call.shape(0), call.attr("axis")
    return (tuple(size // 2 if axis == gate else size for axis, size in enumerate(shape)),)


def _fast_gelu_work(call: Call) -> Work:
    return (GELU_TANH + Work(add=1 if call.has(1) else 0)) * call.out_elements()


def _bias_add_work(call: Call) -> Work:
    return Work(add=sum(call.has(i) for i in (1, 2))) * call.out_elements()


def _bias_dropout_work(call: Call) -> Work:
    adds = 1 + (1 if call.has(2) else 0)
    drop = Work(cmp=1, mul=2) if call.get("training") else Work()
    return (Work(add=adds) + drop) * call.out_elements()


def _bias_dropout(call: Call) -> Call:
    return call.with_attributes({"training": True} if _ms_bias_training(call) else {})


_BIAS = {1: Role.PARAMETER}

SPECS: tuple[OpSpec, ...] = (
    *(
        pointwise(
            kind,
            unit,
            onnx(onnx_names, without_attributes),
            microsoft(ms_names, without_attributes),
            aten(aten_names, without_attributes),
        )
        for kind, unit, onnx_names, ms_names, aten_names in _ROWS
    ),
    pointwise(
        "silu",
        SILU,
        onnx("Swish", without_attributes, _plain_swish),
        aten("silu", without_attributes),
    ),
    pointwise(
        "swish",  # x·sigmoid(alpha·x)
        Work(mul=2, transcendental=1),
        onnx("Swish", without_attributes, lambda call: not _plain_swish(call)),
        microsoft("QuickGelu", without_attributes),
    ),
    pointwise("swiglu", _swiglu_work, onnx("SwiGLU", _slope)),
    pointwise(
        "gelu",
        GELU,
        onnx("Gelu", without_attributes, _erf_form),
        microsoft("Gelu", without_attributes),
        aten("gelu", without_attributes, _erf_form),
    ),
    pointwise(
        "gelu_tanh",
        GELU_TANH,
        onnx("Gelu", without_attributes, _tanh_form),
        aten("gelu", without_attributes, _tanh_form),
    ),
    OpSpec(
        kind="prelu",
        work=per_output(Work(cmp=1, mul=1)),
        formula=linear_formula,
        window=pointwise_window,
        shapes=same_shape,
        roles=_BIAS,
        spellings=(*onnx("PRelu"), *aten("prelu _prelu_kernel")),
    ),
    OpSpec(
        kind="bias_gelu",
        work=per_output(GELU + Work(add=1)),
        formula=linear_formula,
        window=pointwise_window,
        shapes=same_shape,
        roles=_BIAS,
        spellings=microsoft("BiasGelu"),
    ),
    OpSpec(
        kind="fast_gelu",
        work=_fast_gelu_work,
        formula=linear_formula,
        window=pointwise_window,
        shapes=same_shape,
        roles=_BIAS,
        spellings=microsoft("FastGelu"),
    ),
    OpSpec(
        kind="bias_add",
        work=_bias_add_work,
        formula=linear_formula,
        window=pointwise_window,
        shapes=same_shape,
        roles=_BIAS,
        spellings=microsoft("BiasAdd"),
    ),
    OpSpec(
        kind="bias_dropout",
        work=_bias_dropout_work,
        formula=linear_formula,
        window=pointwise_window,
        shapes=same_shape,
        roles=_BIAS,
        spellings=microsoft("BiasDropout BitmaskBiasDropout", _bias_dropout),
    ),
    OpSpec(
        kind="bias_split_gelu",  # (x + bias) halved: left · gelu(right)
        work=per_output(GELU + Work(add=2, mul=1)),
        formula=linear_formula,
        window=_halves_window,
        shapes=_halves_shapes,
        roles=_BIAS,
        spellings=microsoft("BiasSplitGelu", _last_axis),
    ),
    OpSpec(
        kind="glu",
        work=per_output(SILU),
        formula=linear_formula,
        window=_halves_window,
        shapes=_halves_shapes,
        spellings=aten("glu", _glu_axis),
    ),
    moving(
        "dropout",
        pointwise_window,
        onnx("Dropout", without_attributes, lambda call: not _training(call)),
        aten("dropout native_dropout", without_attributes, lambda call: not _training(call)),
        memory=Memory.VIEW,
        shapes=same_shape,
    ),
    pointwise(
        "random_dropout",
        Work(cmp=1, mul=2),
        onnx("Dropout", without_attributes, _training),
        microsoft("BitmaskDropout", without_attributes),
        aten("dropout native_dropout", without_attributes, _training),
        shapes=same_shape,
    ),
)
