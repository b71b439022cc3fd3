"""Deformable and causal convolutions.

``deform_conv`` — canonical inputs: data, weight, bias, offset, mask. Attributes as ``conv``, and
``offset_groups``. MACs as a convolution; the interpolation is FLOPs: each sampled tap (every input channel,
kernel position and output position) is 3 lerps of 3 FLOPs in 2-D (2^d − 1 lerps in d dimensions), one more
multiplication if there is a mask. Adding the offsets to the grid is address arithmetic: not counted.

``conv_causal`` — a depthwise 1-D convolution over (past state, input): K taps, K − 1 of them in the past.
Canonical inputs: data, weight, bias, past state. Attribute ``activation``.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.conv import WEIGHTS, conv_formula, conv_shapes, conv_work
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, DataDependent, Relation, Same, Slide
from cnnprof.ops.windowed import onnx_window_attributes
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


# -- deformable -------------------------------------------------------------------------------------------


def _deform_work(call: Call) -> Work:
    rank = len(call.attr("kernel"))
    positions = call.out_elements() // max(1, call.out_shape()[1]) * math.prod(call.attr("kernel"))
    taps = positions * call.shape(0)[1]
    lerps = 2**rank - 1
    mask = taps if call.has(4) else 0
    # A lerp is a + t·(b − a): two additions and a multiplication.
    return conv_work(call) + Work(add=2 * lerps * taps, mul=lerps * taps + mask)


def _deform_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Where it samples depends on the offsets; the offsets and the mask are read at the output's place."""
    spatial = tuple(Same(axis) for axis in range(2, len(call.out_shape())))
    place = Axes((Same(0), All(), *spatial))
    relations: list[Relation | None] = [DataDependent(), None, None]
    relations += [place if call.has(index) else None for index in range(3, len(call.inputs))]
    return tuple(relations)


def _from_deform(call: Call) -> Call:
    """X, W, offset, B, mask."""
    x, w, offset, bias, mask = (*call.inputs, None, None)[:5]
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    return call.with_attributes(
        onnx_window_attributes(call, kernel)
        | {"groups": call.get("group", 1), "offset_groups": call.get("offset_group", 1)},
        (x, w, bias, offset, mask),
    )


def _pair(call: Call, name: str, default: int) -> tuple[int, ...]:
    return (call.get(f"{name}_h", default), call.get(f"{name}_w", default))


def _from_torchvision(call: Call) -> Call:
    """input, weight, offset, mask, bias; the strides and pads one number an axis."""
    x, w, offset, mask, bias = (*call.inputs, None, None)[:5]
    if not call.get("use_mask", True):
        mask = None
    attributes: dict[str, Any] = {
        "kernel": call.shape(1)[2:],
        "stride": _pair(call, "stride", 1),
        "dilation": _pair(call, "dilation", call.get("dil_h", 1)),
        "padding": tuple((p, p) for p in _pair(call, "pad", 0)),
        "groups": call.get("groups", call.get("n_weight_grps", 1)),
        "offset_groups": call.get("offset_groups", call.get("n_offset_grps", 1)),
    }
    return call.with_attributes(attributes, (x, w, bias, offset, mask))


# -- causal --------------------------------------------------------------------------------------------------


def _causal_axes(call: Call) -> tuple[int, int]:
    """(channel axis, time axis) of the data."""
    return (2, 1) if call.get("channels_last", False) else (1, 2)


def _causal_work(call: Call) -> Work:
    out = call.out_elements()
    taps = call.shape(1)[-1]
    return Work(mac=out * taps, add=out if call.has(2) else 0) + activation_unit(call.get("activation")) * out


def _causal_formula(call: Call) -> Formula:
    batch, *_ = call.out_shape()
    channel, time = _causal_axes(call)
    out = call.out_shape()
    return product("N·M·K·C", batch, out[time], call.shape(1)[-1], out[channel])


def _causal_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    taps = call.shape(1)[-1]
    channel, time = _causal_axes(call)
    relations: list[Relation | None] = [None] * len(call.inputs)
    if output == 0:
        maps = [Same(0), Same(1), Same(2)]
        dilation = call.get("dilation", 1)
        slide = Slide(time, taps, 1, dilation, (taps - 1) * dilation)
        relations[0] = Axes(tuple(slide if axis == time else maps[axis] for axis in range(3)))
        if call.has(3) and not call.input(3).is_weight:
            # State position p stands at input position p − (K − 1)·dilation.
            past = Slide(2, taps, 1, dilation, 0)
            relations[3] = Axes((Same(0), Same(channel), past if time == 2 else All()))
    return tuple(relations)


def _causal_shapes(call: Call) -> tuple[Shape | None, ...]:
    data = call.shape(0)
    channel, _ = _causal_axes(call)
    state = (data[0], data[channel], call.shape(1)[-1] - 1)
    return (data, state)


def _from_causal(call: Call) -> Call:
    return call.with_attributes(
        {
            "activation": call.get("activation", "none"),
            "dilation": call.get("dilation", 1),
            **({"channels_last": True} if call.get("channels_last", 0) else {}),
        }
    )


def _plain_causal(call: Call) -> bool:
    """The contrib operator also comes N-dimensional or reading a slice of the channels: not countable."""
    return (
        call.get("ndim", 1) == 1
        and not call.get("input_channels", 0)
        and not call.get("state_window", 0)
        and not call.get("state_length", 0)
    )


SPECS = (
    OpSpec(
        kind="deform_conv",
        work=_deform_work,
        formula=conv_formula,
        window=_deform_window,
        shapes=conv_shapes,
        roles=WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("onnx:DeformConv", _from_deform),
            Spelling("torchvision:deform_conv2d", _from_torchvision),
        ),
    ),
    OpSpec(
        kind="conv_causal",
        work=_causal_work,
        formula=_causal_formula,
        window=_causal_window,
        shapes=_causal_shapes,
        roles={1: Role.PARAMETER, 2: Role.PARAMETER},
        mac_operator=True,
        spellings=(
            Spelling("onnx:CausalConvWithState", _from_causal),
            Spelling("com.microsoft:CausalConvWithState", _from_causal, when=_plain_causal),
        ),
    ),
)
