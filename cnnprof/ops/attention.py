"""Scaled dot-product attention.

Canonical inputs: query, key, value, mask (None if absent), then past key, past value and what else the kind
holds. Canonical attributes are the sizes: ``batch``, ``heads``, ``kv_heads``, ``q_length``, ``kv_length``
(past included), ``d_qk``, ``d_v``; ``layout`` of query, key and value ("BHLD", "BLHD" or "BLE": heads
packed in the last axis); ``past`` (length), and only where true ``causal``, ``scaled``, ``softcap``,
``masked``.

MACs: batch · heads · q_length · kv_length · (d_qk + d_v): every score counts, masked or not (grouped queries
share keys, not work). FLOPs per score: softmax 4 and one exponential, scale 1, mask 1, softcap 2 and one
tanh.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape, Tensor
from cnnprof.ops.rules import broadcast_axes
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Lookup, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SOFTMAX", "SPECS", "attention_formula", "attention_work", "flags", "heads_of", "pick", "scores", "sizes_4d"]

SOFTMAX = Work(cmp=1, add=2, div=1, transcendental=1)


# -- work -----------------------------------------------------------------------------------------------


def scores(call: Call) -> int:
    """Elements of the score matrices of all heads."""
    names = ("batch", "heads", "q_length", "kv_length")
    return math.prod(int(call.attr(name)) for name in names)


def attention_work(call: Call) -> Work:
    unit = SOFTMAX
    unit += Work(mul=1) if call.get("scaled", False) else Work()
    unit += Work(add=1) if call.get("masked", False) else Work()
    unit += Work(mul=2, transcendental=1) if call.get("softcap", False) else Work()
    unit += Work(mac=call.attr("d_qk") + call.attr("d_v"))
    return unit * scores(call)


def attention_formula(call: Call) -> Formula:
    numbers = [call.attr(name) for name in ("batch", "heads", "q_length", "kv_length", "d_qk", "d_v")]
    text = "·".join(map(str, numbers[:4]))
    return Formula("O(B·H·L_q·L_k·(d_qk + d_v))", f"{text}·({numbers[4]} + {numbers[5]})")


# -- window ---------------------------------------------------------------------------------------------


def _head_map(call: Call, axis: int) -> AxisMap:
    heads, kv_heads = call.attr("heads"), call.attr("kv_heads")
    if heads == kv_heads:
        return Same(axis)
    share = max(1, heads // max(1, kv_heads))
    return Lookup(axis, tuple((head // share,) for head in range(heads)))


def _keys(call: Call, axis: int, first: int, length: int) -> AxisMap:
    """The ``length`` keys from key ``first`` on; a causal row i sees those up to i + past."""
    if not call.get("causal", False):
        return All()
    last = call.get("past", 0) - first  # row 0's last key, counted in this tensor
    return Slide(axis, max(1, length), 1, 1, length - 1 - last)


def _window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Row i of the output reads row i of the query and all keys; output channel v reads value channel v."""
    relations: list[Relation | None] = [None] * len(call.inputs)
    if output > 0:
        return tuple(relations)
    layout, past = call.attr("layout"), call.get("past", 0)
    fresh = call.attr("kv_length") - past
    time = {"BHLD": len(call.out_shape()) - 2, "BLHD": 1, "BLE": 1}[layout]
    lead: tuple[AxisMap, ...]
    for index in (0, 1, 2):
        along = Same(time) if index == 0 else _keys(call, time, past, fresh)
        if layout == "BLE":
            relations[index] = Axes((Same(0), along, All()))
            continue
        last: AxisMap = Same(len(call.out_shape()) - 1) if index == 2 else All()
        if layout == "BLHD":
            head = Same(2) if index == 0 else _head_map(call, 2)
            relations[index] = Axes((Same(0), along, head, last))
            continue
        lead = tuple(Same(axis) for axis in range(max(0, time - 1)))
        head = Same(time - 1) if index == 0 else _head_map(call, time - 1)
        relations[index] = Axes((*lead, *((head,) if time > 0 else ()), along, last))
    for index in (4, 5):
        if call.has(index) and past:
            held = _keys(call, time, 0, past)
            # Past keys are (B, H, P, D) in every layout.
            heads = _head_map(call, 1) if layout == "BHLD" else All()
            relations[index] = Axes((Same(0), heads, held, All()))
    if call.has(3) and layout == "BHLD" and not call.input(3).is_weight:
        shape = call.shape(3)
        grid = (*call.out_shape()[:-1], call.attr("kv_length"))
        mapped = broadcast_axes(shape, grid).maps
        relations[3] = Axes((*mapped[:-1], All())) if mapped else None
    return tuple(
        None if tensor is None or tensor.is_weight else relation
        for tensor, relation in zip(call.inputs, relations, strict=True)
    )


# -- shapes ---------------------------------------------------------------------------------------------


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    """Y, present key, present value, scores."""
    a = call.attributes
    if a["layout"] == "BLE":
        out: Shape = (a["batch"], a["q_length"], a["heads"] * a["d_v"])
    else:
        out = (*call.shape(0)[:-1], a["d_v"])
    held = (a["batch"], a["kv_heads"], a["kv_length"])
    grid = (a["batch"], a["heads"], a["q_length"], a["kv_length"])
    rows = (out, (*held, a["d_qk"]), (*held, a["d_v"]), grid)
    return rows[: max(1, len(call.outputs))]


# -- spellings ------------------------------------------------------------------------------------------


def pick(call: Call, *order: int | None) -> tuple[Tensor | None, ...]:
    """The inputs in another order; None for a slot that the operator lacks."""
    inputs = call.inputs
    return tuple(inputs[i] if i is not None and i < len(inputs) else None for i in order)


def flags(**values: Any) -> dict[str, Any]:
    """Only what is true."""
    return {name: value for name, value in values.items() if value}


def heads_of(call: Call, name: str) -> int:
    """A number of heads given as attribute."""
    heads = int(call.get(name, 0))
    if heads < 1:
        raise UncountableError(f"{call.op_type}: expected {name} of 1 or more, got {heads}")
    return heads


def sizes_4d(query: Shape, key: Shape, value: Shape, past: int = 0) -> dict[str, Any]:
    """Sizes of (..., heads, length, width) operands; without a head axis there's one head."""
    if min(len(query), len(key), len(value)) < 2:
        raise UncountableError(f"attention: expected at least 2 axes, got {query}, {key}, {value}")
    return {
        "batch": math.prod(query[:-3]),
        "heads": query[-3] if len(query) > 2 else 1,
        "kv_heads": key[-3] if len(key) > 2 else 1,
        "q_length": query[-2],
        "kv_length": key[-2] + past,
        "d_qk": query[-1],
        "d_v": value[-1],
        "layout": "BHLD",
    } | flags(past=past)


def _from_onnx(call: Call) -> Call:
    """Q, K, V, attn_mask, past_key, past_value: 4-D, or 3-D with the numbers of heads as attributes."""
    query, key, value = call.shape(0), call.shape(1), call.shape(2)
    past = call.shape(4)[2] if call.has(4) else 0
    if len(query) == 4:
        sizes = sizes_4d(query, key, value, past)
    else:
        heads, kv_heads = heads_of(call, "q_num_heads"), heads_of(call, "kv_num_heads")
        sizes = {
            "batch": query[0],
            "heads": heads,
            "kv_heads": kv_heads,
            "q_length": query[1],
            "kv_length": key[1] + past,
            "d_qk": query[2] // heads,
            "d_v": value[2] // kv_heads,
            "layout": "BLE",
        } | flags(past=past)
    return call.with_attributes(
        sizes
        | flags(
            causal=bool(call.get("is_causal", 0)),
            scaled=call.get("scale", None) != 1.0,
            softcap=bool(call.get("softcap", 0.0)),
            masked=call.has(3),
        )
    )


def _from_flex(call: Call) -> Call:
    sizes = sizes_4d(call.shape(0), call.shape(1), call.shape(2))
    return call.with_attributes(sizes | flags(scaled=call.get("scale", None) != 1.0))


def _without_modifiers(call: Call) -> bool:
    return call.get("score_mod") is None and call.get("prob_mod") is None


def _from_sdpa(call: Call) -> Call:
    """query, key, value, attn_mask: (..., L, E)."""
    sizes = sizes_4d(call.shape(0), call.shape(1), call.shape(2))
    return call.with_attributes(
        sizes
        | flags(causal=bool(call.get("is_causal", False)), scaled=call.get("scale", None) != 1.0, masked=call.has(3)),
        pick(call, 0, 1, 2, 3),
    )


def _from_blhd(call: Call) -> Call:
    """_flash_attention_forward and _efficient_attention_forward: (B, L, H, D); ragged batches aren't
    countable."""
    ragged = call.has(3) if "flash" in call.op_type else call.has(4)
    if ragged:
        raise UncountableError(f"{call.op_type}: sequence lengths depend on data")
    query, key, value = call.shape(0), call.shape(1), call.shape(2)
    sizes = {
        "batch": query[0],
        "heads": query[2],
        "kv_heads": key[2],
        "q_length": query[1],
        "kv_length": key[1],
        "d_qk": query[3],
        "d_v": value[3],
        "layout": "BLHD",
    }
    masked = call.has(3) and "efficient" in call.op_type
    causal = bool(call.get("is_causal", call.get("custom_mask_type", 0)))
    return call.with_attributes(
        sizes | flags(causal=causal, scaled=call.get("scale", None) != 1.0, masked=masked),
        pick(call, 0, 1, 2, 3),
    )


_SDPA = (
    *("scaled_dot_product_attention", "_scaled_dot_product_attention_math"),
    *("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
    *("_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps"),
)

SPECS = (
    OpSpec(
        kind="attention",
        work=attention_work,
        formula=attention_formula,
        window=_window,
        shapes=_shapes,
        roles=dict.fromkeys(range(3), Role.PARAMETER),
        mac_operator=True,
        spellings=(
            Spelling("onnx:Attention", _from_onnx),
            Spelling("ai.onnx.preview:FlexAttention", _from_flex, when=_without_modifiers),
            *(Spelling(f"aten:{name}", _from_sdpa) for name in _SDPA),
            Spelling("torch:scaled_dot_product_attention", _from_sdpa),
            Spelling("aten:_flash_attention_forward", _from_blhd),
            Spelling("aten:_efficient_attention_forward", _from_blhd),
        ),
    ),
)
