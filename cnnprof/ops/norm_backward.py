"""Gradients of normalisations, per element of the data.

With x̂ the normalised value (a subtraction and a multiplication from the saved statistics) and g the
gradient:

- shift's gradient: Σg (1 addition); scale's: Σg·x̂ (1 multiplication, 1 addition);
- data's, statistics of the batch: γ·rstd·(g − mean(g) − x̂·mean(g·x̂)): batch norm shares the two sums with
  shift and scale and adds 2 additions and 2 multiplications; at inference it is g·γ·rstd, 1 multiplication;
- layer, group and instance norm: γ·g first (1 multiplication if there is a scale), then two sums of their own
  (2 additions, 1 multiplication), then 2 additions and 2 multiplications;
- RMS norm: x̂ is 1 multiplication; γ·g, one sum (1 + 1), then 1 addition and 2 multiplications.

- weight norm: the dot product grad·v of a slice (1 + 1), then (g/‖v‖)·(grad − v·dot/‖v‖²): 2
multiplications, 1 addition.

Canonical inputs: gradient, data, scale. Canonical attributes: ``output_mask`` (data, scale, shift),
``training``.
"""

from __future__ import annotations

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _gradients_of_affine(mask: tuple[bool, bool, bool]) -> Work:
    return Work(mul=mask[1], add=mask[1] + mask[2])


def _batch_work(call: Call) -> Work:
    mask = call.attr("output_mask")
    training = call.get("training", False)
    unit = Work(mul=1) if mask[0] else Work()
    if mask[1] or (mask[0] and training):
        unit += Work(add=1, mul=1)  # x̂
    if mask[0] and training:
        unit += Work(add=2, mul=1) + _gradients_of_affine((True, True, True))
    else:
        unit += _gradients_of_affine(mask)
    return unit * call.elements(1)


def _layer_work(call: Call) -> Work:
    mask = call.attr("output_mask")
    unit = Work(add=1, mul=1) if mask[0] or mask[1] else Work()
    if mask[0]:
        unit += Work(mul=1 if call.has(2) else 0) + Work(add=4, mul=3)
    return (unit + _gradients_of_affine(mask)) * call.elements(1)


def _rms_work(call: Call) -> Work:
    mask = call.attr("output_mask")
    unit = Work(mul=1) if mask[0] or mask[1] else Work()
    if mask[0]:
        unit += Work(mul=1 if call.has(2) else 0) + Work(add=2, mul=3)
    return (unit + _gradients_of_affine(mask)) * call.elements(1)


def _weight_work(call: Call) -> Work:
    return Work(mul=3, add=2) * call.elements(1)


def _weight_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(1), call.shape(2))


def _formula(call: Call) -> Formula:
    return Formula("O(E)", str(call.elements(1)))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    mask = call.attr("output_mask")
    scale = call.shape(2) if call.has(2) else None
    return (call.shape(1) if mask[0] else None, scale if mask[1] else None, scale if mask[2] else None)


def _mask(call: Call) -> tuple[bool, bool, bool]:
    given = tuple(bool(m) for m in call.get("output_mask") or (True, True, True))
    padded = (*given, False, False, False)
    return (padded[0], padded[1], padded[2])


def _from_batch(call: Call) -> Call:
    """native: grad, input, weight, ...; cudnn's and miopen's say input first and always train."""
    gradient, data, scale, *rest = call.inputs
    swapped = "cudnn" in call.op_type or "miopen" in call.op_type
    if swapped:
        gradient, data = data, gradient
    training = swapped or bool(call.get("train", call.get("update", True)))
    attributes = {"output_mask": _mask(call)} | ({"training": True} if training else {})
    return call.with_attributes(attributes, (gradient, data, scale, *rest))


def _from_statistics(call: Call) -> Call:
    """grad_out, input, mean, rstd, weight, bias."""
    gradient, data, mean, rstd, scale, *rest = (*call.inputs, None)[:6]
    inputs = (gradient, data, scale, mean, rstd, *rest)
    return call.with_attributes({"output_mask": _mask(call)}, inputs)


def _from_rms(call: Call) -> Call:
    """grad_out, input, rstd, weight."""
    gradient, data, rstd, scale = (*call.inputs, None)[:4]
    return call.with_attributes({"output_mask": _mask(call)}, (gradient, data, scale, rstd))


_BATCH = (
    *("native_batch_norm_backward", "batch_norm_backward", "cudnn_batch_norm_backward"),
    "miopen_batch_norm_backward",
)
_ROLES = {2: Role.PARAMETER}

SPECS = (
    OpSpec(
        kind="batch_norm_backward",
        work=_batch_work,
        formula=_formula,
        shapes=_shapes,
        roles=_ROLES,
        spellings=tuple(Spelling(f"aten:{name}", _from_batch) for name in _BATCH),
    ),
    OpSpec(
        kind="layer_norm_backward",
        work=_layer_work,
        formula=_formula,
        shapes=_shapes,
        roles=_ROLES,
        spellings=(
            Spelling("aten:native_layer_norm_backward", _from_statistics),
            Spelling("aten:native_group_norm_backward", _from_statistics),
        ),
    ),
    OpSpec(
        kind="rms_norm_backward",
        work=_rms_work,
        formula=_formula,
        shapes=_shapes,
        roles=_ROLES,
        spellings=(Spelling("aten:_fused_rms_norm_backward", _from_rms),),
    ),
    OpSpec(
        kind="weight_norm_backward",
        work=_weight_work,
        formula=_formula,
        shapes=_weight_shapes,
        roles={1: Role.PARAMETER, 2: Role.PARAMETER},
        spellings=(Spelling("aten:_weight_norm_interface_backward"),),
    ),
)
