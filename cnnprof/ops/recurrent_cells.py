"""Single recurrent cells, their fused elementwise halves, and the dynamically quantised LSTM.

Cells (canonical inputs: input, states, w_ih, w_hh, b_ih, b_hh) are one step of the layers in recurrent.py.
The fused halves take gates already multiplied out: they join the two products (one addition a gate), add
the biases and do the cell's elementwise work; their MACs stand in the linear layers before them.

``lstm_quantized``: as LSTM; each step's input and state are quantised on the way in, and each of the two
integer products is scaled back: 2 multiplications a gate.
"""

from __future__ import annotations

from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.linear_quantized import DYNAMIC_QUANTISE
from cnnprof.ops.recurrent import (
    GATES,
    cell_work,
    from_onnx,
    recurrent_formula,
    recurrent_shapes,
    recurrent_window,
)
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


# -- cells ----------------------------------------------------------------------------------------------


def _cell_work(call: Call) -> Work:
    """One step for every row of the input."""
    family, rows = call.attr("family"), call.elements(0) // max(1, call.shape(0)[-1])
    first = call.attr("weights")
    matrices = [index for index in (first, first + 1) if call.has(index)]
    biases = [index for index in (first + 2, first + 3) if call.has(index)]
    units = call.shape(first)[0] // GATES[family]
    unit = cell_work(family, call.attr("activations"))
    step = Work(mac=sum(map(call.elements, matrices)), add=sum(map(call.elements, biases)))
    return (step + unit * units) * rows


def _cell_formula(call: Call) -> Formula:
    first = call.attr("weights")
    rows = call.elements(0) // max(1, call.shape(0)[-1])
    return product("B·G·H·(I + H)", rows, call.elements(first) + call.elements(first + 1))


def _cell_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    relations: list[Relation | None] = [None] * len(call.inputs)
    for index in range(call.attr("weights")):
        lead = tuple(Same(axis) for axis in range(len(call.shape(index)) - 1))
        relations[index] = Axes((*lead, All()))
    return tuple(relations)


def _cell_shapes(call: Call) -> tuple[Shape | None, ...]:
    return tuple(call.shape(1) for _ in range(call.attr("weights") - 1))


def _cell(call: Call, family: str, *activations: str) -> Call:
    weights = 3 if family == "lstm" else 2
    return call.with_attributes({"family": family, "weights": weights, "activations": activations})


def _lstm_cell(call: Call) -> Call:
    return _cell(call, "lstm")


def _gru_cell(call: Call) -> Call:
    return _cell(call, "gru")


def _tanh_cell(call: Call) -> Call:
    return _cell(call, "rnn", "Tanh")


def _relu_cell(call: Call) -> Call:
    return _cell(call, "rnn", "Relu")


# -- fused halves ---------------------------------------------------------------------------------------


def _fused_work(call: Call) -> Work:
    """input_gates, hidden_gates, state, input bias, hidden bias."""
    family = call.attr("family")
    gates = call.elements(0)
    biases = gates * (call.has(3) + call.has(4))
    return cell_work(family) * call.elements(2) + Work(add=gates + biases)


def _fused_formula(call: Call) -> Formula:
    return product("B·G·H", call.elements(0))


def _fused_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    row = Axes((Same(0), All()))
    return (row, row, Axes((Same(0), Same(1))), *(None for _ in call.inputs[3:]))


def _fused_lstm(call: Call) -> Call:
    return call.with_attributes({"family": "lstm"})


def _fused_gru(call: Call) -> Call:
    return call.with_attributes({"family": "gru"})


# -- quantised ------------------------------------------------------------------------------------------


def _quantized_work(call: Call) -> Work:
    steps, units = int(call.attr("steps")), int(call.attr("units"))
    unit = Work(**call.attr("pointwise")) + Work(mul=2 * GATES["lstm"])
    matrices = Work(mac=call.attr("weight_elements"), add=call.attr("bias_elements"))
    directions = call.shape(2)[0]
    incoming = DYNAMIC_QUANTISE * (call.shape(0)[-1] * directions + units)
    return (matrices + unit * units + incoming) * steps


def _from_quantized(call: Call) -> Call:
    """As LSTM, with W and R stored (directions, ·, gates · H), then their scales and zero points."""
    attributes: dict[str, Any] = dict(from_onnx(call, "lstm").attributes)
    return call.with_attributes(attributes)


_CELL_ROLES = dict.fromkeys(range(2, 7), Role.PARAMETER)
_LSTM_ROLES = {1: Role.PARAMETER, 2: Role.PARAMETER, 3: Role.PARAMETER, 7: Role.PARAMETER}

SPECS = (
    OpSpec(
        kind="recurrent_cell",
        work=_cell_work,
        formula=_cell_formula,
        window=_cell_window,
        shapes=_cell_shapes,
        roles=_CELL_ROLES,
        mac_operator=True,
        spellings=(
            *(Spelling(f"{room}:lstm_cell", _lstm_cell) for room in ("aten", "torch")),
            *(Spelling(f"{room}:gru_cell", _gru_cell) for room in ("aten", "torch")),
            *(Spelling(f"{room}:rnn_tanh_cell", _tanh_cell) for room in ("aten", "torch")),
            *(Spelling(f"{room}:rnn_relu_cell", _relu_cell) for room in ("aten", "torch")),
        ),
    ),
    OpSpec(
        kind="recurrent_cell_pointwise",
        work=_fused_work,
        formula=_fused_formula,
        window=_fused_window,
        spellings=(
            Spelling("aten:_thnn_fused_lstm_cell", _fused_lstm),
            Spelling("aten:_thnn_fused_gru_cell", _fused_gru),
        ),
    ),
    OpSpec(
        kind="lstm_quantized",
        work=_quantized_work,
        formula=recurrent_formula,
        window=recurrent_window,
        shapes=recurrent_shapes,
        roles={**_LSTM_ROLES, **dict.fromkeys(range(8, 12), Role.CONSTANT)},
        mac_operator=True,
        spellings=(Spelling("com.microsoft:DynamicQuantizeLSTM", _from_quantized),),
    ),
)
