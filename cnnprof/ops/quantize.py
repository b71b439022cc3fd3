"""Quantisation and dequantisation, static, dynamic and simulated.

Work per element: quantise is a division by the scale, an addition of the zero point and a comparison to
saturate (rounding is part of the conversion); dequantise a subtraction where there is a zero point and a
multiplication; fake-quantise both. Dynamic quantisation first finds the minimum and the maximum: 2
comparisons more.

Canonical inputs: the data, then scale and zero point.
"""

from __future__ import annotations

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.linear_quantized import DYNAMIC_QUANTISE
from cnnprof.ops.rules import product, same_shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, WorkRule
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["DEQUANTISE", "QUANTISE", "SPECS", "constants", "each", "first_window"]

QUANTISE = Work(div=1, add=1, cmp=1)
DEQUANTISE = Work(add=1, mul=1)


# -- plain ----------------------------------------------------------------------------------------------


def _dequantise_work(call: Call) -> Work:
    """Without a zero point only the scale is applied; torch's tensors always have one."""
    zero = call.has(2) or call.op_type.startswith("aten:")
    return Work(mul=1, add=1 if zero else 0) * call.elements(0)


def each(unit: Work) -> WorkRule:
    def rule(call: Call) -> Work:
        return unit * call.elements(0)

    return rule


def _formula(call: Call) -> Formula:
    return product("E", call.elements(0))


def first_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Element by element, also where the data itself is a weight's: then nothing is read as data."""
    same = Axes(tuple(Same(axis) for axis in range(len(call.shape(0)))))
    return (None if call.input(0).is_weight else same, *(None for _ in call.inputs[1:]))


def _dynamic_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Element by element: that the scale moves with the extremes is calibration, not a path of the data (the
    matrix products that quantise on the way in are read the same way). The scale itself reads everything."""
    axes = range(len(call.shape(0)))
    maps: tuple[AxisMap, ...] = tuple(Same(axis) if output == 0 else All() for axis in axes)
    return (Axes(maps),)


def _dynamic_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(0), (), ())[: max(1, len(call.outputs))]


def _plain(call: Call) -> Call:
    return call.with_attributes({})


# -- specs ----------------------------------------------------------------------------------------------


def constants(first: int, last: int = 10) -> dict[int, Role]:
    return dict.fromkeys(range(first, last), Role.CONSTANT)


_QUANTIZERS = ("quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic")
_FAKES = (
    *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
    *("fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask"),
    *("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "_fake_quantize_learnable_per_tensor_affine"),
    "_fake_quantize_learnable_per_channel_affine",
)
_FAKE_BACKWARD = (
    "fake_quantize_per_tensor_affine_cachemask_backward",
    "fake_quantize_per_channel_affine_cachemask_backward",
)

SPECS = (
    OpSpec(
        kind="quantize",
        work=each(QUANTISE),
        formula=_formula,
        window=first_window,
        shapes=same_shape,
        roles=constants(1, 3),
        spellings=(
            Spelling("onnx:QuantizeLinear", _plain),
            Spelling("com.microsoft:QuantizeLinear", _plain),
            *(Spelling(f"aten:{name}", _plain) for name in _QUANTIZERS),
        ),
    ),
    OpSpec(
        kind="dequantize",
        work=_dequantise_work,
        formula=_formula,
        window=first_window,
        shapes=same_shape,
        roles={0: Role.PARAMETER, 1: Role.CONSTANT, 2: Role.CONSTANT},
        spellings=(
            Spelling("onnx:DequantizeLinear", _plain),
            Spelling("com.microsoft:DequantizeLinear", _plain),
            Spelling("aten:dequantize", _plain),
        ),
    ),
    OpSpec(
        kind="dynamic_quantize",
        work=each(DYNAMIC_QUANTISE),
        formula=_formula,
        window=_dynamic_window,
        shapes=_dynamic_shapes,
        spellings=(Spelling("onnx:DynamicQuantizeLinear", _plain),),
    ),
    OpSpec(
        kind="fake_quantize",
        work=each(QUANTISE + DEQUANTISE),
        formula=_formula,
        window=first_window,
        shapes=same_shape,
        roles=constants(1, 4),
        spellings=tuple(Spelling(f"aten:{name}", _plain) for name in _FAKES),
    ),
    OpSpec(
        kind="fake_quantize_backward",
        work=each(Work(mul=1)),
        formula=_formula,
        window=None,
        shapes=same_shape,
        spellings=tuple(Spelling(f"aten:{name}", _plain) for name in _FAKE_BACKWARD),
    ),
)
