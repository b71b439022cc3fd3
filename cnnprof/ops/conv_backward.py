"""Gradients of convolutions.

Canonical inputs: gradient of the output, data, weight. Attributes as ``conv`` plus ``output_mask``: which of
(data gradient, weight gradient, bias gradient) were asked for. Each of the first two does exactly the
multiplications of the forward pass: every product x·w of the forward is once g·w and once g·x, for any
stride, dilation and group count. (Counters that treat the weight gradient as a dense convolution over-count
grouped ones by the number of groups.) The bias gradient is a sum over everything but the channels.

``deform_conv_backward`` — canonical inputs: gradient, data, weight, offset, mask, bias. The two products,
and per sampled tap: the sample again (3 lerps), its gradient spread to 4 corners (4 multiplications, 4
additions), and the gradient of each coordinate (a lerp of two differences, times the gradient, summed: 5
additions and 2 multiplications, twice); with a mask one multiplication to apply it and one multiply-add for
its own gradient.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.conv import from_aten
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _forward_macs(call: Call) -> int:
    reader = 1 if "output_padding" in call.attributes else 0
    return call.elements(reader) * math.prod(call.shape(2)[1:])


def _work(call: Call) -> Work:
    data, weight, bias = call.attr("output_mask")
    macs = _forward_macs(call) * (bool(data) + bool(weight))
    gradient = call.shape(0)
    adds = math.prod(gradient) - gradient[1] if bias else 0
    return Work(mac=macs, add=max(0, adds))


def _formula(call: Call) -> Formula:
    data, weight, _ = call.attr("output_mask")
    passes = bool(data) + bool(weight)
    return Formula("O(2·M²·K²·C_in·C_out/g)", f"{passes}·{_forward_macs(call)}")


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    data, weight, bias = call.attr("output_mask")
    return (
        call.shape(1) if data else None,
        call.shape(2) if weight else None,
        (call.shape(0)[1],) if bias else None,
    )


def _from_aten(call: Call) -> Call:
    """grad_output, input, weight."""
    gradient, data, weight, *rest = call.inputs
    moved = call.with_attributes(call.attributes, (data, weight, gradient))
    attributes = dict(from_aten(moved).attributes)
    attributes["output_mask"] = tuple(bool(m) for m in call.get("output_mask") or (True, True, False))
    return call.with_attributes(attributes, (gradient, data, weight, *rest))


def _deform_work(call: Call) -> Work:
    gradient, weight = call.shape(0), call.shape(2)
    macs = math.prod(gradient) * math.prod(weight[1:])
    places = math.prod(gradient) // max(1, gradient[1])
    taps = places * math.prod(weight[2:]) * call.shape(1)[1]
    unit = Work(add=6 + 4 + 10, mul=3 + 4 + 4)
    if call.get("use_mask", False):
        unit += Work(add=1, mul=2)
    return Work(mac=2 * macs, add=math.prod(gradient) - gradient[1]) + unit * taps


def _deform_formula(call: Call) -> Formula:
    return Formula("O(2·M²·K²·C_in·C_out/g)", f"2·{math.prod(call.shape(0)) * math.prod(call.shape(2)[1:])}")


def _deform_shapes(call: Call) -> tuple[Shape | None, ...]:
    return tuple(call.shape(index) if call.has(index) else None for index in (1, 2, 3, 4, 5))


def _from_deform(call: Call) -> Call:
    """grad, input, weight, offset, mask, bias."""
    return call.with_attributes({"use_mask": True} if call.get("use_mask", False) else {})


SPECS = (
    OpSpec(
        kind="conv_backward",
        work=_work,
        formula=_formula,
        shapes=_shapes,
        roles={2: Role.PARAMETER},
        spellings=(
            Spelling("aten:convolution_backward", _from_aten),
            Spelling("aten:convolution_backward_overrideable", _from_aten),
            Spelling("aten:_slow_conv2d_backward", _from_aten),
        ),
    ),
    OpSpec(
        kind="deform_conv_backward",
        work=_deform_work,
        formula=_deform_formula,
        shapes=_deform_shapes,
        roles={2: Role.PARAMETER},
        spellings=(Spelling("torchvision:_deform_conv2d_backward", _from_deform),),
    ),
)
