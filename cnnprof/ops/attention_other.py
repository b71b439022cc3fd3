"""Rotary embeddings, linear attention, and the gradient of scaled dot-product attention.

``rotary_embedding`` — each rotated element is 2 multiplications and one addition. Attribute ``rotated``:
elements.

``linear_attention`` — per token: each key/value head's d_k × d_v state takes one outer-product update
(d_k·d_v MACs) and each query head one product with the state (d_k·d_v). Gated rules also scale the state
(d_k·d_v multiplications, one exponential a decay); delta rules first read the state with the key (d_k·d_v
MACs) and correct the value (d_v subtractions, d_v multiplications by β).

``attention_backward`` — five products: the scores again (d_qk), dV and dP (d_v each), dQ and dK (d_qk
each). Per score the softmax again from its saved log-sum (scale, subtract, exponential) and its gradient
(subtract, multiply, scale); per output element one multiplication and one addition for the row sums.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.attention import heads_of, scores, sizes_4d
from cnnprof.ops.rules import product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


# -- rotary ---------------------------------------------------------------------------------------------


def _rotary_work(call: Call) -> Work:
    return Work(mul=2, add=1) * int(call.attr("rotated"))


def _rotary_formula(call: Call) -> Formula:
    return product("E", call.attr("rotated"))


def _rotary_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Pairs of one vector are mixed: all of the last axis."""
    rank = len(call.shape(0))
    data = Axes((*(Same(axis) for axis in range(rank - 1)), All()))
    return (data, *(None for _ in call.inputs[1:]))


def _rotary_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(0),)


def _rotated(call: Call, caches: int) -> Call:
    shape, part = call.shape(0), int(call.get("rotary_embedding_dim", 0))
    elements = math.prod(shape)
    if part:
        heads = int(call.get("num_heads", 0))
        if len(shape) == 3 and not heads:
            raise UncountableError(f"{call.op_type}: a partial rotation of 3-D data needs num_heads")
        head = shape[-1] // heads if len(shape) == 3 else shape[-1]
        elements = elements // max(1, head) * part
    inputs = (call.inputs[0], *call.inputs[caches : caches + 2])
    others = tuple(t for i, t in enumerate(call.inputs[1:], start=1) if not caches <= i < caches + 2)
    return call.with_attributes({"rotated": elements}, (*inputs, *others))


def _rotary_from_onnx(call: Call) -> Call:
    """X, cos_cache, sin_cache, position_ids."""
    return _rotated(call, 1)


def _rotary_from_ms(call: Call) -> Call:
    """input, position_ids, cos_cache, sin_cache."""
    return _rotated(call, 2)


# -- linear attention -----------------------------------------------------------------------------------


def _linear_work(call: Call) -> Work:
    a = call.attributes
    tokens, state = a["tokens"], a["d_k"] * a["d_v"]
    delta, gated = "delta" in a["rule"], "gated" in a["rule"]
    work = Work(mac=tokens * state * (a["kv_heads"] * (2 if delta else 1) + a["heads"]))
    if gated:
        work += Work(mul=tokens * a["kv_heads"] * state, transcendental=call.elements(4) if call.has(4) else 0)
    if delta:
        work += Work(add=1, mul=1) * (tokens * a["kv_heads"] * a["d_v"])
    return work + Work(mul=tokens * a["heads"] * a["d_v"])  # the scale


def _linear_formula(call: Call) -> Formula:
    a = call.attributes
    return product("B·L·H·d_k·d_v", a["tokens"], a["heads"], a["d_k"], a["d_v"])


def _linear_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Token t reads itself and everything before it."""
    relations: list[Relation | None] = [None] * len(call.inputs)
    length = call.shape(0)[1]
    past = Slide(1, length, 1, 1, length - 1) if output == 0 else All()
    for index in (0, 1, 2, 4, 5):
        if call.has(index) and not call.input(index).is_weight:
            time = Same(1) if index == 0 and output == 0 else past
            relations[index] = Axes((Same(0), time, All()))
    if call.has(3) and not call.input(3).is_weight:
        relations[3] = Axes((Same(0), All(), All(), All()))
    return tuple(relations)


def _linear_shapes(call: Call) -> tuple[Shape | None, ...]:
    a = call.attributes
    batch, length = call.shape(0)[:2]
    state = (batch, a["kv_heads"], a["d_k"], a["d_v"])
    return ((batch, length, a["heads"] * a["d_v"]), state)


def _from_linear(call: Call) -> Call:
    """query, key, value (B, T, H·d), past_state, decay, beta."""
    query, value = call.shape(0), call.shape(2)
    heads, kv_heads = heads_of(call, "q_num_heads"), heads_of(call, "kv_num_heads")
    rule: Any = call.get("update_rule", "gated_delta")
    return call.with_attributes(
        {
            "tokens": query[0] * query[1],
            "heads": heads,
            "kv_heads": kv_heads,
            "d_k": query[2] // heads,
            "d_v": value[2] // kv_heads,
            "rule": rule.decode() if isinstance(rule, bytes) else rule,
        }
    )


# -- gradient -------------------------------------------------------------------------------------------


def _backward_work(call: Call) -> Work:
    unit = Work(mac=3 * call.attr("d_qk") + 2 * call.attr("d_v"), mul=3, add=2, transcendental=1)
    return unit * scores(call) + Work(mul=1, add=1) * call.elements(0)


def _backward_formula(call: Call) -> Formula:
    numbers = [call.attr(name) for name in ("batch", "heads", "q_length", "kv_length", "d_qk", "d_v")]
    text = "·".join(map(str, numbers[:4]))
    return Formula("O(B·H·L_q·L_k·(3·d_qk + 2·d_v))", f"{text}·(3·{numbers[4]} + 2·{numbers[5]})")


def _backward_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(1), call.shape(2), call.shape(3), *(None for _ in call.outputs[3:]))


def _from_backward(call: Call) -> Call:
    """grad_out, query, key, value, ...: (B, H, L, D)."""
    return call.with_attributes(sizes_4d(call.shape(1), call.shape(2), call.shape(3)))


_BACKWARD = (
    *("flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention"),
    "fused_attention_overrideable",
)

SPECS = (
    OpSpec(
        kind="rotary_embedding",
        work=_rotary_work,
        formula=_rotary_formula,
        window=_rotary_window,
        shapes=_rotary_shapes,
        spellings=(
            Spelling("onnx:RotaryEmbedding", _rotary_from_onnx),
            Spelling("com.microsoft:RotaryEmbedding", _rotary_from_ms),
        ),
    ),
    OpSpec(
        kind="linear_attention",
        work=_linear_work,
        formula=_linear_formula,
        window=_linear_window,
        shapes=_linear_shapes,
        mac_operator=True,
        spellings=(
            Spelling("onnx:LinearAttention", _from_linear),
            Spelling("com.microsoft:LinearAttention", _from_linear),
        ),
    ),
    OpSpec(
        kind="attention_backward",
        work=_backward_work,
        formula=_backward_formula,
        shapes=_backward_shapes,
        spellings=tuple(Spelling(f"aten:_scaled_dot_product_{name}_backward", _from_backward) for name in _BACKWARD),
    ),
)
