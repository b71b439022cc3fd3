"""Convolutions with something added: fused activation and residual, quantised, channels last.

Canonical inputs: data, weight, bias, residual (fused ones) or data, weight, bias, then scales and
zero points (quantised ones). The MACs are those of the plain convolution. Quantised ones add the
requantisation of every output: one multiplication (the combined scale), one addition (zero point) and one
comparison (saturation). Zero points of the operands are folded into the bias, so they cost nothing an output.
"""

from __future__ import annotations

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.conv import (
    WEIGHTS,
    conv_formula,
    conv_shapes,
    conv_window,
    conv_work,
    from_aten,
)
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import broadcast_axes
from cnnprof.ops.spec import Call, OpSpec, Spelling
from cnnprof.ops.window import Relation
from cnnprof.ops.windowed import onnx_window_attributes
from cnnprof.ops.work import Work

__all__ = ["REQUANTISE", "SPECS"]

REQUANTISE = Work(mul=1, add=1, cmp=1)


# -- fused: conv + residual + activation -----------------------------------------------------------------


def _fused_work(call: Call) -> Work:
    """Convolution, one addition an output for the residual, then the activation."""
    out = call.out_elements()
    residual = Work(add=out) if call.has(3) else Work()
    return conv_work(call) + residual + activation_unit(call.get("activation")) * out


def _fused_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    relations = list(conv_window(call, output))
    if call.has(3) and not call.input(3).is_weight:
        relations[3] = broadcast_axes(call.shape(3), call.out_shape())
    return tuple(relations)


def _from_fused(call: Call) -> Call:
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    return call.with_attributes(
        onnx_window_attributes(call, kernel)
        | {"groups": call.get("group", 1), "activation": call.get("activation", "")}
    )


def _nhwc_kernel(call: Call) -> Shape:
    """Weights are (M, C/g, kH, kW) or (M, kH, kW, C/g); the data's channels tell which."""
    if call.get("kernel_shape"):
        return tuple(call.get("kernel_shape"))
    weight, channels = call.shape(1), call.shape(0)[-1]
    first = weight[1] * call.get("group", 1) == channels
    return weight[2:] if first else weight[1:-1]


def _from_nhwc(call: Call) -> Call:
    return call.with_attributes(
        onnx_window_attributes(call, _nhwc_kernel(call), channels_last=True)
        | {"groups": call.get("group", 1), "activation": call.get("activation", "")}
    )


def _from_cudnn_relu(call: Call) -> Call:
    return from_aten(call).with_attributes({**from_aten(call).attributes, "activation": "relu"})


def _from_cudnn_add_relu(call: Call) -> Call:
    """self, weight, z, bias: the residual comes before the bias."""
    data, weight, residual, bias = (*call.inputs, None, None)[:4]
    return _from_cudnn_relu(call.with_attributes(call.attributes, (data, weight, bias, residual)))


# -- quantised ------------------------------------------------------------------------------------------


def _quantized_work(call: Call) -> Work:
    return conv_work(call) + REQUANTISE * call.out_elements()


def _from_integer(call: Call) -> Call:
    """x, w, x_zero_point, w_zero_point; no bias."""
    data, weight, *zero_points = call.inputs
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    return call.with_attributes(
        onnx_window_attributes(call, kernel) | {"groups": call.get("group", 1)},
        (data, weight, None, *zero_points),
    )


def _from_qlinear(call: Call) -> Call:
    """x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, B."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = (*call.inputs, None)[:9]
    inputs = (x, w, bias, x_scale, x_zero, w_scale, w_zero, y_scale, y_zero)
    moved = call.with_attributes(call.attributes, inputs)
    last = bool(call.get("channels_last", 0))
    kernel = tuple(call.get("kernel_shape") or moved.shape(1)[2:])
    return moved.with_attributes(
        onnx_window_attributes(moved, kernel, channels_last=last) | {"groups": call.get("group", 1)}
    )


_QUANTIZED_ROLES = {**WEIGHTS, **dict.fromkeys(range(3, 9), Role.CONSTANT)}

SPECS = (
    OpSpec(
        kind="conv_fused",
        work=_fused_work,
        formula=conv_formula,
        window=_fused_window,
        shapes=conv_shapes,
        roles=WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("com.microsoft:FusedConv", _from_fused),
            Spelling("com.microsoft:NhwcFusedConv", _from_nhwc),
            Spelling("com.microsoft:NhwcConv", _from_nhwc),
            Spelling("aten:cudnn_convolution_relu", _from_cudnn_relu),
            Spelling("aten:cudnn_convolution_add_relu", _from_cudnn_add_relu),
            Spelling("aten:miopen_convolution_relu", _from_cudnn_relu),
            Spelling("aten:miopen_convolution_add_relu", _from_cudnn_add_relu),
        ),
    ),
    OpSpec(
        kind="conv_integer",
        work=conv_work,
        formula=conv_formula,
        window=conv_window,
        shapes=conv_shapes,
        roles={1: Role.PARAMETER, 3: Role.CONSTANT, 4: Role.CONSTANT},
        mac_operator=True,
        spellings=(Spelling("onnx:ConvInteger", _from_integer),),
    ),
    OpSpec(
        kind="conv_quantized",
        work=_quantized_work,
        formula=conv_formula,
        window=conv_window,
        shapes=conv_shapes,
        roles=_QUANTIZED_ROLES,
        mac_operator=True,
        spellings=(
            Spelling("onnx:QLinearConv", _from_qlinear),
            Spelling("com.microsoft:QLinearConv", _from_qlinear),
        ),
    ),
)
