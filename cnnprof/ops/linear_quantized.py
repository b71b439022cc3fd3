"""Integer and quantised matrix products, and those whose weights are packed in blocks.

Canonical inputs: a, b, bias (None if absent), then scales and zero points. Attributes as ``matmul``, and
``scaling``: what happens to each output after the integer sum: "none", "dequantise" (one multiplication by
the combined scale) or "requantise" (one multiplication, one addition, one comparison to saturate).
``dynamic`` marks an activation that is quantised on the way in: per element of a two comparisons (minimum
and maximum) and a division, an addition and a comparison (the handful of operations per tensor for the
scale isn't counted).

``matmul_blockwise``: ``weight`` = (K, N) unpacked; each weight is expanded once per run: a subtraction and
a multiplication.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role, Shape, Tensor
from cnnprof.ops.conv_variants import REQUANTISE
from cnnprof.ops.linear import keep, matmul_formula, matmul_shapes, matmul_window, matmul_work
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["DYNAMIC_QUANTISE", "SPECS"]

DYNAMIC_QUANTISE = Work(cmp=3, div=1, add=1)
_SCALING = {"none": NO_WORK, "dequantise": Work(mul=1), "requantise": REQUANTISE}


def _work(call: Call) -> Work:
    work = matmul_work(call) + _SCALING[call.attr("scaling")] * call.out_elements()
    return work + DYNAMIC_QUANTISE * call.elements(0) if call.get("dynamic", False) else work


def _pick(call: Call, *order: int | None) -> tuple[Tensor | None, ...]:
    """The inputs in another order; None for a slot that the operator lacks."""
    inputs = call.inputs
    return tuple(inputs[i] if i is not None and i < len(inputs) else None for i in order)


def _from_integer(call: Call) -> Call:
    """A, B, a_zero_point, b_zero_point."""
    return call.with_attributes({"scaling": "none"}, _pick(call, 0, 1, None, 2, 3))


def _from_integer_to_float(call: Call) -> Call:
    """A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias."""
    return call.with_attributes({"scaling": "dequantise"}, _pick(call, 0, 1, 6, 2, 3, 4, 5))


def _from_dynamic(call: Call) -> Call:
    """A, B, b_scale, b_zero_point, bias."""
    return call.with_attributes({"scaling": "dequantise", "dynamic": True}, _pick(call, 0, 1, 4, 2, 3))


def _from_qlinear(call: Call) -> Call:
    """a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point."""
    return call.with_attributes({"scaling": "requantise"}, _pick(call, 0, 3, None, 1, 2, 4, 5, 6, 7))


def _from_qgemm(call: Call) -> Call:
    """A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point; without y_scale the
    output is float. C is added to the integer sum; alpha is part of the combined scale."""
    flags = keep(
        transpose_a=bool(call.get("transA", 0)),
        transpose_b=bool(call.get("transB", 0)),
        scaling="requantise" if call.has(7) else "dequantise",
    )
    return call.with_attributes(flags, _pick(call, 0, 3, 6, 1, 2, 4, 5, 7, 8))


def _from_qordered(call: Call) -> Call:
    """A, scale_A, B, scale_B, scale_Y, bias, C, scale_C: only the form without the residual C."""
    return call.with_attributes({"scaling": "requantise"}, _pick(call, 0, 2, 5, 1, 3, 4))


def _from_scaled_mm(call: Call) -> Call:
    """self, mat2, scale_a, scale_b, bias, scale_result."""
    return call.with_attributes({"scaling": "dequantise"}, _pick(call, 0, 1, 4, 2, 3, 5))


# -- blockwise -------------------------------------------------------------------------------------


def _blockwise_work(call: Call) -> Work:
    k, n = call.attr("weight")
    out = call.out_elements()
    expand = Work(add=k * n, mul=k * n)
    return Work(mac=out * k, add=out if call.has(2) else 0) + expand


def _blockwise_formula(call: Call) -> Formula:
    k, n = call.attr("weight")
    return product("B·C_in·C_out", call.out_elements() // max(1, n), k, n)


def _blockwise_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    lead = tuple(Same(axis) for axis in range(len(call.shape(0)) - 1))
    return (Axes((*lead, All())), *(None for _ in call.inputs[1:]))


def _blockwise_shapes(call: Call) -> tuple[Shape | None, ...]:
    return ((*call.shape(0)[:-1], call.attr("weight")[1]),)


def _sized(call: Call, order: tuple[int | None, ...]) -> Call:
    k, n = call.attr("K"), call.attr("N")
    if not call.get("transB", 1):
        k, n = n, k
    return call.with_attributes({"weight": (k, n)}, _pick(call, *order))


def _from_nbits(call: Call) -> Call:
    """A, B, scales, zero_points, g_idx, bias."""
    return _sized(call, (0, 1, 5, 2, 3, 4))


def _from_bnb4(call: Call) -> Call:
    """A, B, absmax; ``transB`` 0 means that the stored weight isn't transposed."""
    return _sized(call, (0, 1, None, 2))


def _from_fpq4(call: Call) -> Call:
    """A, B, B_shape."""
    shape = call.value(2)
    if shape is None or len(shape) != 2:
        raise UncountableError(f"{call.op_type}: the weight's shape is not known")
    return call.with_attributes({"weight": shape}, _pick(call, 0, 1, None, 2))


def _from_aten_packed(call: Call) -> Call:
    """_weight_int8pack_mm, _weight_int4pack_mm: self (M, K), packed weight, scales; N is the output's
    width."""
    return call.with_attributes({"weight": (call.shape(0)[-1], call.out_shape()[-1])}, _pick(call, 0, 1, None, 2))


# -- grouped (experts) -----------------------------------------------------------------------------


def _grouped_work(call: Call) -> Work:
    """_grouped_mm: rows are dealt to experts, so each row meets one matrix. With two 2-D operands the
    contracted axis is dealt out instead: one (M, N) product in all for every k."""
    a, b = call.shape(0), call.shape(1)
    out = call.out_elements() if len(a) + len(b) > 4 else a[0] * b[1]
    return Work(mac=out * a[-1], add=call.out_elements() if call.has(2) else 0)


def _from_grouped(call: Call) -> Call:
    """self, mat2, offs, bias."""
    return call.with_attributes({}, _pick(call, 0, 1, 3, 2))


def _grouped_formula(call: Call) -> Formula:
    a = call.shape(0)
    return product("B·C_in·C_out", math.prod(a[:-1]), a[-1], call.out_shape()[-1])


_WEIGHTS = {1: Role.PARAMETER, 2: Role.PARAMETER}
_ROLES = {**_WEIGHTS, **dict.fromkeys(range(3, 9), Role.CONSTANT)}

SPECS = (
    OpSpec(
        kind="matmul_integer",
        work=_work,
        formula=matmul_formula,
        window=matmul_window,
        shapes=matmul_shapes,
        roles=_ROLES,
        mac_operator=True,
        spellings=(
            Spelling("onnx:MatMulInteger", _from_integer),
            Spelling("com.microsoft:MatMulInteger16", _from_integer),
        ),
    ),
    OpSpec(
        kind="matmul_quantized",
        work=_work,
        formula=matmul_formula,
        window=matmul_window,
        shapes=matmul_shapes,
        roles=_ROLES,
        mac_operator=True,
        spellings=(
            Spelling("onnx:QLinearMatMul", _from_qlinear),
            Spelling("com.microsoft:QGemm", _from_qgemm),
            Spelling("com.microsoft:MatMulIntegerToFloat", _from_integer_to_float),
            Spelling("com.microsoft:DynamicQuantizeMatMul", _from_dynamic),
            Spelling("com.microsoft:QOrderedMatMul", _from_qordered, when=lambda call: not call.has(6)),
            Spelling("aten:_scaled_mm", _from_scaled_mm),
        ),
    ),
    OpSpec(
        kind="matmul_blockwise",
        work=_blockwise_work,
        formula=_blockwise_formula,
        window=_blockwise_window,
        shapes=_blockwise_shapes,
        roles={**_WEIGHTS, 3: Role.CONSTANT, 4: Role.CONSTANT, 5: Role.CONSTANT},
        mac_operator=True,
        spellings=(
            Spelling("com.microsoft:MatMulNBits", _from_nbits),
            Spelling("com.microsoft:MatMulBnb4", _from_bnb4),
            Spelling("com.microsoft:MatMulFpQ4", _from_fpq4),
            Spelling("aten:_weight_int8pack_mm", _from_aten_packed),
            Spelling("aten:_weight_int4pack_mm", _from_aten_packed),
        ),
    ),
    OpSpec(
        kind="matmul_grouped",
        work=_grouped_work,
        formula=_grouped_formula,
        roles=_WEIGHTS,
        mac_operator=True,
        spellings=(Spelling("aten:_grouped_mm", _from_grouped),),
    ),
)
