"""Normalisations with statistics of mean and variance, or of the root mean square.

Canonical inputs: data, scale, shift (None if absent), then running mean and variance (batch norm) or skip
and bias (the fused skip variants). Canonical attributes: ``axes``, what one group of statistics spans
(layer norm); ``groups`` (group norm); ``channels_last`` where true; ``training`` where batch norm takes the
batch's statistics; ``activation`` where fused.

Work per element: mean and variance 4 (sum, subtract, square, sum), times the reciprocal deviation 1, scale 1,
shift 1 = 7 with both, and one transcendental (the root) a group. Batch norm at inference is folded to 2.
RMS norm is 4: square, sum, times the reciprocal root, scale. Batch norm in training also moves its two
running statistics: 2 multiplications and an addition a channel each. A skip connection or bias is one
addition an element.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import broadcast_axes, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Lookup, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "channels_of", "layer_axes", "normalised", "own_statistics"]


# -- work -----------------------------------------------------------------------------------------------


def normalised(call: Call, elements: int, groups: int) -> Work:
    """Mean and variance in ``groups`` groups, then scale and shift where they are present."""
    unit = Work(add=3, mul=2)
    unit += Work(mul=1) if call.has(1) else Work()
    unit += Work(add=1) if call.has(2) else Work()
    return unit * elements + Work(transcendental=groups)


def _extras(call: Call, elements: int) -> Work:
    """The fused skip connection and bias (inputs 3 and 4), and the activation."""
    return Work(add=elements * (call.has(3) + call.has(4))) + activation_unit(call.get("activation")) * elements


def channels_of(call: Call) -> int:
    shape = call.shape(0)
    if len(shape) < 2:
        return 1
    return shape[-1] if call.get("channels_last", False) else shape[1]


def _span(call: Call) -> int:
    shape = call.shape(0)
    return math.prod(shape[axis] for axis in call.attr("axes"))


def _layer_work(call: Call) -> Work:
    elements = call.elements(0)
    return normalised(call, elements, elements // max(1, _span(call))) + _extras(call, elements)


def _rms_work(call: Call) -> Work:
    elements = call.elements(0)
    unit = Work(mul=2 + call.has(1), add=1 + call.has(2))
    root = Work(transcendental=elements // max(1, _span(call)))
    return unit * elements + root + _extras(call, elements)


def _group_work(call: Call) -> Work:
    elements = call.elements(0)
    return normalised(call, elements, call.shape(0)[0] * call.attr("groups")) + _extras(call, elements)


def _formula(call: Call) -> Formula:
    return product("E", call.elements(0))


# -- window ---------------------------------------------------------------------------------------------


def _weights(call: Call) -> list[Relation | None]:
    """Nothing but the data is read as data, unless a skip connection is."""
    relations: list[Relation | None] = [None] * len(call.inputs)
    for index in (3, 4):
        if call.has(index) and not call.input(index).is_weight:
            relations[index] = broadcast_axes(call.shape(index), call.shape(0))
    return relations


def _layer_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    axes, rank = call.attr("axes"), len(call.shape(0))
    relations = _weights(call)
    total = output == 3  # the fused variants' sum of input, skip and bias
    maps = (All() if axis in axes and not total else Same(axis) for axis in range(rank))
    relations[0] = Axes(tuple(maps))
    if not total and call.has(3) and not call.input(3).is_weight:
        lead = rank - len(call.shape(3))
        relations[3] = Axes(
            tuple(All() if axis + lead in axes else Same(axis + lead) for axis in range(len(call.shape(3))))
        )
    return tuple(relations)


def _group_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """A unit sees its group's channels, everywhere. Output 1 is the fused sum, or the groups' statistics."""
    shape = call.shape(0)
    channel = len(shape) - 1 if call.get("channels_last", False) else 1
    size, groups = channels_of(call), call.attr("groups")
    width = max(1, size // groups)
    spans = tuple(tuple(range(g * width, (g + 1) * width)) for g in range(groups))
    maps: list[AxisMap] = [All()] * len(shape)
    maps[0] = Same(0)
    if output > 0 and call.has(3):
        maps = [Same(axis) for axis in range(len(shape))]
    elif output > 0:
        maps[channel] = Lookup(1, spans)
    else:
        maps[channel] = Lookup(channel, tuple(spans[c // width] for c in range(size)))
    relations = _weights(call)
    relations[0] = Axes(tuple(maps))
    if output == 0 and relations[3:] and relations[3] is not None:
        relations[3] = Axes(tuple(maps)) if len(call.shape(3)) == len(shape) else relations[3]
    return tuple(relations)


# -- shapes ---------------------------------------------------------------------------------------------


def _same_shape(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(0), *(None for _ in call.outputs[1:]))


def _layer_shapes(call: Call) -> tuple[Shape | None, ...]:
    """Output, then statistics with their axes kept as 1; a fourth output is the fused sum."""
    shape, axes = call.shape(0), call.attr("axes")
    statistics = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple((shape, statistics, statistics, shape)[: max(1, len(call.outputs))])


def _group_shapes(call: Call) -> tuple[Shape | None, ...]:
    """Output, then the fused sum, or mean and reciprocal deviation of every group."""
    shape = call.shape(0)
    more: Shape = shape if call.has(3) else (shape[0], call.attr("groups"))
    return (shape, *(more for _ in call.outputs[1:]))


# -- spellings ------------------------------------------------------------------------------------------


def layer_axes(rank: int, first: int) -> tuple[int, ...]:
    """All axes from ``first`` (negative from the end) on."""
    start = first + rank if first < 0 else first
    if not 0 <= start <= rank:
        raise UncountableError(f"axis {first} is outside a tensor of rank {rank}")
    return tuple(range(start, rank))


def _from_onnx_axis(call: Call) -> Call:
    return call.with_attributes({"axes": layer_axes(len(call.shape(0)), call.get("axis", -1))})


def _from_normalized_shape(call: Call) -> Call:
    spanned = len(tuple(call.attr("normalized_shape")))
    return call.with_attributes({"axes": layer_axes(len(call.shape(0)), -spanned)})


def _skip(call: Call, *order: int | None) -> Call:
    inputs = tuple(call.inputs[i] if i is not None and i < len(call.inputs) else None for i in order)
    return call.with_attributes({"axes": (len(call.shape(0)) - 1,)}, inputs)


def _from_skip_layer(call: Call) -> Call:
    """input, skip, gamma, beta, bias."""
    return _skip(call, 0, 2, 3, 1, 4)


def _from_skip_rms(call: Call) -> Call:
    """input, skip, gamma, bias."""
    return _skip(call, 0, 2, None, 1, 3)


def _instance(call: Call) -> Call:
    """Statistics over the spatial axes: input, scale, bias."""
    axes = tuple(range(2, len(call.shape(0))))
    return call.with_attributes({"axes": axes}, call.inputs[:3])


def own_statistics(call: Call) -> bool:
    return bool(call.get("use_input_stats", True))


def _group(call: Call, groups: Any, *, last: bool = False, activation: str = "") -> Call:
    attributes: dict[str, Any] = {"groups": int(groups)}
    if last:
        attributes["channels_last"] = True
    if activation:
        attributes["activation"] = activation
    return call.with_attributes(attributes)


def _group_from_onnx(call: Call) -> Call:
    return _group(call, call.attr("num_groups"))


def _group_from_aten(call: Call) -> Call:
    """native_group_norm says ``group``, group_norm ``num_groups``."""
    groups = call.get("group", call.get("num_groups"))
    if groups is None:
        raise UncountableError(f"{call.op_type}: the number of groups is missing")
    return _group(call, groups)


def _group_from_ms(call: Call) -> Call:
    """GroupNorm: X, gamma, beta; SkipGroupNorm: X, gamma, beta, skip, bias. Activation 1 is SiLU."""
    silu = "silu" if call.get("activation", 0) == 1 else ""
    return _group(call, call.attr("groups"), last=bool(call.get("channels_last", 1)), activation=silu)


_AFFINE = {1: Role.PARAMETER, 2: Role.PARAMETER}
_SKIP = {**_AFFINE, 4: Role.PARAMETER}
SPECS = (
    OpSpec(
        kind="instance_norm",
        work=_layer_work,
        formula=_formula,
        window=_layer_window,
        shapes=_same_shape,
        roles=_AFFINE,
        spellings=(
            Spelling("onnx:InstanceNormalization", _instance),
            Spelling("aten:instance_norm", _instance, when=own_statistics),
            Spelling("torch:instance_norm", _instance, when=own_statistics),
        ),
    ),
    OpSpec(
        kind="layer_norm",
        work=_layer_work,
        formula=_formula,
        window=_layer_window,
        shapes=_layer_shapes,
        roles=_SKIP,
        spellings=(
            Spelling("onnx:LayerNormalization", _from_onnx_axis),
            Spelling("com.microsoft:LayerNormalization", _from_onnx_axis),
            Spelling("com.microsoft:SkipLayerNormalization", _from_skip_layer),
            *(Spelling(f"aten:{name}", _from_normalized_shape) for name in ("native_layer_norm", "layer_norm")),
            Spelling("torch:layer_norm", _from_normalized_shape),
        ),
    ),
    OpSpec(
        kind="rms_norm",
        work=_rms_work,
        formula=_formula,
        window=_layer_window,
        shapes=_layer_shapes,
        roles=_SKIP,
        spellings=(
            Spelling("onnx:RMSNormalization", _from_onnx_axis),
            Spelling("onnx:SimplifiedLayerNormalization", _from_onnx_axis),
            Spelling("com.microsoft:SimplifiedLayerNormalization", _from_onnx_axis),
            Spelling("com.microsoft:SkipSimplifiedLayerNormalization", _from_skip_rms),
            *(Spelling(f"aten:{name}", _from_normalized_shape) for name in ("_fused_rms_norm", "rms_norm")),
            Spelling("torch:rms_norm", _from_normalized_shape),
        ),
    ),
    OpSpec(
        kind="group_norm",
        work=_group_work,
        formula=_formula,
        window=_group_window,
        shapes=_group_shapes,
        roles=_SKIP,
        spellings=(
            Spelling("onnx:GroupNormalization", _group_from_onnx),
            Spelling("com.microsoft:GroupNorm", _group_from_ms),
            Spelling("com.microsoft:SkipGroupNorm", _group_from_ms),
            *(Spelling(f"aten:{name}", _group_from_aten) for name in ("native_group_norm", "group_norm")),
            Spelling("torch:group_norm", _group_from_aten),
        ),
    ),
)
