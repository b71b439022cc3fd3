"""Recurrent layers: LSTM, GRU and plain RNN, any number of layers and directions.

Inputs keep their foreign order (ONNX: X, W, R, B, sequence_lens, initial_h, initial_c, P; torch: input,
states, flat weights). Canonical attributes: ``steps`` (T · B), ``length`` (T), ``weight_elements`` (all
matrices of all layers and directions), ``bias_elements``, ``units`` (hidden units of all layers and
directions), ``pointwise`` (work of one unit in one step, as a dict), ``direction``, ``time`` and ``batch``
axes, ``states`` (inputs), ``shapes``.

MACs: every matrix element once a step and sample: T · B · Σ G·H·(I + H), projections included. Padded steps
count. The two bias vectors are one addition an element each. Per unit and step:

- LSTM 3 f + g + h activations, c = f∘c + i∘g, h = o∘h(c): 3 multiplications, 1 addition; peepholes 3 + 3;
- GRU 2 f + g activations, one reset, h = (1 − z)∘n + z∘h: 3 multiplications, 2 additions;
- RNN one activation. Clipping is one comparison a gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["GATES", "SPECS", "cell_work", "from_onnx", "recurrent_formula", "recurrent_shapes", "recurrent_window"]

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
_USES = {"lstm": (3, 1, 1), "gru": (2, 1), "rnn": (1,)}
_STATE = {"lstm": Work(mul=3, add=1), "gru": Work(mul=3, add=2), "rnn": Work()}


# -- work -----------------------------------------------------------------------------------------------


def cell_work(family: str, activations: Sequence[Any] = ()) -> Work:
    """One unit's elementwise work in one step, without biases."""
    work = _STATE[family]
    for name, uses in zip(tuple(activations) or _DEFAULTS[family], _USES[family], strict=False):
        work += activation_unit(name) * uses
    return work


def _work(call: Call) -> Work:
    steps = int(call.attr("steps"))
    unit = Work(**call.attr("pointwise"))
    matrices = Work(mac=call.attr("weight_elements"), add=call.attr("bias_elements"))
    return (matrices + unit * int(call.attr("units"))) * steps


def recurrent_formula(call: Call) -> Formula:
    steps, length = call.attr("steps"), max(1, call.attr("length"))
    return product("T·B·Σ G·H·(I + H)", length, steps // length, call.attr("weight_elements"))


# -- window ---------------------------------------------------------------------------------------------


def recurrent_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Step t reads the steps up to it, or from it on in reverse; both directions, and the last state, all
    of them."""
    length = max(1, call.attr("length"))
    seen: AxisMap = All()
    time, batch = call.attr("time"), call.attr("batch")
    if output == 0 and call.attr("direction") == "forward":
        seen = Slide(time, length, 1, 1, length - 1)
    elif output == 0 and call.attr("direction") == "reverse":
        seen = Slide(time, length, 1, 1, 0)
    axis = batch[0] if output == 0 else batch[1]
    sample: AxisMap = All() if axis is None else Same(axis)
    relations: list[Relation | None] = [None] * len(call.inputs)
    rank = len(call.shape(0))
    if rank == 3:
        first_time = call.get("time_first", True)
        relations[0] = Axes((seen, sample, All()) if first_time else (sample, seen, All()))
    else:
        relations[0] = Axes(tuple(All() for _ in range(rank)))
    for index in call.attr("states"):
        if call.has(index) and not call.input(index).is_weight:
            shape = call.shape(index)
            maps = (
                (All(), sample, All())
                if call.get("time_first", True) or call.get("torch", False)
                else (sample, All(), All())
            )
            relations[index] = Axes(maps if len(shape) == 3 else tuple(All() for _ in shape))
    return tuple(relations)


def recurrent_shapes(call: Call) -> tuple[Shape | None, ...]:
    return tuple(call.attr("shapes")[: max(1, len(call.outputs))])


# -- ONNX -----------------------------------------------------------------------------------------------


def from_onnx(call: Call, family: str, weights: tuple[int, ...] = (1, 2)) -> Call:
    """X (T, B, I) and W, R (directions, gates · H, ·); layout 1 puts the batch first."""
    x, recurrent = call.shape(0), call.shape(2)
    if len(x) != 3 or len(recurrent) != 3:
        raise UncountableError(f"{call.op_type}: expected X and R of 3 axes, got {x} and {recurrent}")
    layout = int(call.get("layout", 0))
    length, batch = (x[1], x[0]) if layout else (x[0], x[1])
    directions = recurrent[0]
    hidden = int(call.get("hidden_size") or min(recurrent[1:]))
    names = call.get("activations") or ()
    count = len(_DEFAULTS[family])
    unit = cell_work(family, names[:count])
    if directions == 2 and len(names) >= 2 * count and tuple(names[:count]) != tuple(names[count : 2 * count]):
        raise UncountableError(f"{call.op_type}: the directions have different activations")
    if call.get("clip"):
        unit += Work(cmp=GATES[family])
    if family == "lstm" and call.has(7):
        unit += Work(mul=3, add=3)
    direction = call.get("direction", "forward")
    state = (batch, directions, hidden) if layout else (directions, batch, hidden)
    whole = (batch, length, directions, hidden) if layout else (length, directions, batch, hidden)
    attributes = {
        "steps": length * batch,
        "length": length,
        "weight_elements": sum(call.elements(index) for index in weights),
        "bias_elements": call.elements(3) if call.has(3) else 0,
        "units": directions * hidden,
        "pointwise": unit.to_dict(),
        "direction": direction.decode() if isinstance(direction, bytes) else direction,
        "time": 1 if layout else 0,
        "batch": (0, 0) if layout else (2, 1),
        "states": (5, 6),
        "shapes": (whole, state, state),
    }
    return call.with_attributes(attributes | ({"time_first": False} if layout else {}))


def _lstm_from_onnx(call: Call) -> Call:
    return from_onnx(call, "lstm")


def _gru_from_onnx(call: Call) -> Call:
    return from_onnx(call, "gru")


def _rnn_from_onnx(call: Call) -> Call:
    return from_onnx(call, "rnn")


# -- torch ----------------------------------------------------------------------------------------------


def _from_torch(call: Call, family: str, activations: tuple[str, ...] = ()) -> Call:
    """input, states, flat weights; or packed: data (Σ lengths, I), batch_sizes, states, flat weights."""
    packed = call.op_type.endswith(".data") or "batch_first" not in call.attributes
    first = 2 if packed else 1
    states = tuple(range(first, first + (2 if family == "lstm" else 1)))
    present = [i for i in range(states[-1] + 1, len(call.inputs)) if call.has(i)]
    matrices = [i for i in present if len(call.shape(i)) == 2]
    biases = [i for i in present if len(call.shape(i)) == 1]
    shape, state = call.shape(0), call.shape(states[0])
    directions = 2 if call.get("bidirectional", False) else 1
    layers = int(call.get("num_layers", 1))
    # The gates' recurrent matrices have gates · H rows; with a projection the state is narrower than H.
    hidden = call.shape(matrices[0])[0] // GATES[family] if matrices else state[-1]
    first_batch = bool(call.get("batch_first", False)) and not packed
    if packed or len(shape) == 2:
        length, steps = shape[0], shape[0]
    else:
        length, steps = (shape[1], shape[0] * shape[1]) if first_batch else (shape[0], shape[0] * shape[1])
    attributes = {
        "steps": steps,
        "length": length,
        "weight_elements": sum(call.elements(i) for i in matrices),
        "bias_elements": sum(call.elements(i) for i in biases),
        "units": layers * directions * hidden,
        "pointwise": cell_work(family, activations).to_dict(),
        "direction": "bidirectional" if directions == 2 else "forward",
        "time": 1 if first_batch else 0,
        "batch": (None, None) if len(shape) == 2 else (0, 1) if first_batch else (1, 1),
        "states": states,
        "shapes": ((*shape[:-1], directions * state[-1]), *(call.shape(i) for i in states)),
        "torch": True,
    }
    return call.with_attributes(attributes | ({"time_first": False} if first_batch else {}))


def _lstm_from_torch(call: Call) -> Call:
    return _from_torch(call, "lstm")


def _gru_from_torch(call: Call) -> Call:
    return _from_torch(call, "gru")


def _tanh_from_torch(call: Call) -> Call:
    return _from_torch(call, "rnn", ("Tanh",))


def _relu_from_torch(call: Call) -> Call:
    return _from_torch(call, "rnn", ("Relu",))


def _torch_spellings(name: str, normalise: Any) -> tuple[Spelling, ...]:
    return (Spelling(f"aten:{name}", normalise), Spelling(f"torch:{name}", normalise))


_ROLES = {1: Role.PARAMETER, 2: Role.PARAMETER, 3: Role.PARAMETER, 7: Role.PARAMETER}


def _spec(kind: str, *spellings: Spelling) -> OpSpec:
    return OpSpec(
        kind=kind,
        work=_work,
        formula=recurrent_formula,
        window=recurrent_window,
        shapes=recurrent_shapes,
        roles=_ROLES,
        mac_operator=True,
        spellings=spellings,
    )


SPECS = (
    _spec("lstm", Spelling("onnx:LSTM", _lstm_from_onnx), *_torch_spellings("lstm", _lstm_from_torch)),
    _spec("gru", Spelling("onnx:GRU", _gru_from_onnx), *_torch_spellings("gru", _gru_from_torch)),
    _spec(
        "rnn",
        Spelling("onnx:RNN", _rnn_from_onnx),
        *_torch_spellings("rnn_tanh", _tanh_from_torch),
        *_torch_spellings("rnn_relu", _relu_from_torch),
    ),
)
