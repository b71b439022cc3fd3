"""Batch normalisation, at inference and in training.

Canonical inputs: data, scale, shift, running mean, running variance (None if absent). Canonical attribute:
``training`` where the batch's own statistics are taken.

Work: at inference scale and shift are folded to 2 an element; in training 7 an element with scale and shift
and one root a channel (see norm.py), and 2 multiplications and an addition a channel for each running
statistic.
"""

from __future__ import annotations

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.norm import channels_of, normalised, own_statistics
from cnnprof.ops.rules import first_same, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _batch_work(call: Call) -> Work:
    elements = call.elements(0)
    if not call.get("training", False):
        return Work(mul=elements, add=elements)
    channels = channels_of(call)
    running = call.has(3) + call.has(4)
    return normalised(call, elements, channels) + Work(mul=2, add=1) * (channels * running)


def _formula(call: Call) -> Formula:
    return product("E", call.elements(0))


def _batch_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    rank, training = len(call.shape(0)), call.get("training", False)
    if output == 0 and not training:
        return first_same(rank, len(call.inputs))
    # Statistics, one a channel; or what they are taken for.
    channel = Same(0) if output > 0 else Same(1)
    read = Axes(tuple(channel if axis == 1 else All() for axis in range(rank)))
    return (read, *[None] * (len(call.inputs) - 1))


def _batch_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(0), *((channels_of(call),) for _ in call.outputs[1:]))


def _batch_from_onnx(call: Call) -> Call:
    """Up to opset 13 training is said by asking for more than one output."""
    outputs = sum(tensor is not None for tensor in call.outputs)
    training = bool(call.get("training_mode", 0)) or (outputs > 1 and "training_mode" not in call.attributes)
    return call.with_attributes({"training": True} if training else {})


def _batch_from_aten(call: Call) -> Call:
    name = call.op_type.partition(":")[2]
    if name.startswith(("_native_batch_norm_legit_no_training", "_batch_norm_no_update")):
        training = False
    elif name.startswith("_batch_norm_with_update") or not call.has(3):
        training = True  # without running statistics the batch's own are taken
    else:
        training = bool(call.get("training", call.get("use_input_stats", False)))
    return call.with_attributes({"training": True} if training else {})


_RUNNING = {1: Role.PARAMETER, 2: Role.PARAMETER, 3: Role.BUFFER, 4: Role.BUFFER}
_BATCH = (
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_native_batch_norm_legit_functional", "cudnn_batch_norm", "miopen_batch_norm", "batch_norm"),
    *("_batch_norm_with_update", "_batch_norm_no_update"),
)

SPECS = (
    OpSpec(
        kind="batch_norm",
        work=_batch_work,
        formula=_formula,
        window=_batch_window,
        shapes=_batch_shapes,
        roles=_RUNNING,
        spellings=(
            Spelling("onnx:BatchNormalization", _batch_from_onnx),
            *(Spelling(f"aten:{name}", _batch_from_aten) for name in _BATCH),
            Spelling("torch:batch_norm", _batch_from_aten),
            Spelling("aten:instance_norm", _batch_from_aten, when=lambda call: not own_statistics(call)),
            Spelling("torch:instance_norm", _batch_from_aten, when=lambda call: not own_statistics(call)),
        ),
    ),
)
