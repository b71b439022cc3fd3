"""onnxruntime's and torch's attention operators that hold projections, biases, caches or rotations.

Canonical attributes as ``attention`` (layout "BLE"), and where there are any ``projections`` ((rows, in, out)
each), ``bias_elements``, ``rotary_elements``, ``dequantised`` (elements); ``data`` and ``caches`` name the
inputs read as data, ``shapes`` the outputs'.

A projection is rows · in · out MACs; a bias one addition an element; a rotated
element 2 multiplications and one addition; a dequantised projection output one multiplication. Packed
(ragged) batches are counted at their padded size, as dense batches are. A sliding window (``local``: so many keys
up to the query's own) narrows what is seen; like any mask it saves no work in this count.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.attention import attention_formula, attention_work, flags, heads_of
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _work(call: Call) -> Work:
    projections = sum(math.prod(row) for row in call.get("projections", ()))
    rotated = call.get("rotary_elements", 0)
    extra = Work(
        mac=projections,
        add=call.get("bias_elements", 0) + rotated,
        mul=2 * rotated + call.get("dequantised", 0),
    )
    return attention_work(call) + extra


def _formula(call: Call) -> Formula:
    core = attention_formula(call)
    rows = call.get("projections", ())
    if not rows:
        return core
    numbers = " + ".join("·".join(map(str, row)) for row in rows)
    return Formula(f"{core.symbols[:-1]} + Σ B·L·C_in·C_out)", f"{core.numbers} + {numbers}")


def _window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Query rows where the output stands; all keys and values, or those so far; one input may be all
    three."""
    relations: list[Relation | None] = [None] * len(call.inputs)
    if output > 0:
        return tuple(relations)
    data = call.attr("data")
    for index in data:
        if not call.has(index):
            continue
        shape = call.shape(index)
        rest = tuple(All() for _ in shape[2:])
        time: AxisMap = All()
        if index == 0 and len(data) > 1 and not call.get("packed_qkv", False):
            time = Same(1)
        elif call.get("causal", False) and len(shape) == 3:
            seen = min(shape[1], call.get("local", shape[1]))
            time = Slide(1, seen, 1, 1, seen - 1)
        # A ragged batch (tokens, width) holds several sequences in one axis.
        relations[index] = Axes((Same(0), time, *rest) if len(shape) > 2 else (All(), All()))
    for index, batch in call.get("caches", ()):
        if call.has(index):
            rank = len(call.shape(index))
            relations[index] = Axes(tuple(Same(0) if axis == batch else All() for axis in range(rank)))
    return tuple(
        None if tensor is None or tensor.is_weight else relation
        for tensor, relation in zip(call.inputs, relations, strict=True)
    )


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    return tuple(call.attr("shapes")[: max(1, len(call.outputs))])


def _core(
    *, batch: int, heads: int, lengths: tuple[int, int], widths: tuple[int, int], kv_heads: int = 0
) -> dict[str, Any]:
    return {
        "batch": batch,
        "heads": heads,
        "kv_heads": kv_heads or heads,
        "q_length": lengths[0],
        "kv_length": lengths[1],
        "d_qk": widths[0],
        "d_v": widths[1],
        "layout": "BLE",
        "scaled": True,
    }


def _heads(call: Call) -> int:
    return heads_of(call, "num_head" if "num_head" in call.attributes else "num_heads")


# -- one input, packed weights: Attention, QAttention ---------------------------------------------------


def _self_attention(call: Call, *, mask: int, past: int, bias: int, quantised: bool = False) -> Call:
    """input (B, L, D), weights (D, q + k + v), bias."""
    batch, length, width = call.shape(0)
    heads, total = _heads(call), call.shape(1)[1]
    hidden = tuple(call.get("qkv_hidden_sizes") or (total // 3,) * 3)
    held = call.shape(past)[3] if call.has(past) else 0
    sizes = _core(
        batch=batch,
        heads=heads,
        lengths=(length, length + held),
        widths=(hidden[0] // heads, hidden[2] // heads),
    )
    shapes = ((batch, length, hidden[2]), (2, batch, heads, length + held, hidden[0] // heads))
    rows = batch * length
    extra = flags(
        bias_elements=rows * total if call.has(2) else 0,
        dequantised=rows * total if quantised else 0,
        masked=call.has(mask) or call.has(bias),
        rotary_elements=rows * (hidden[0] + hidden[1]) if call.get("do_rotary", 0) else 0,
        causal=bool(call.get("unidirectional", 0)),
    )
    own = {"projections": ((rows, width, total),), "data": (0,), "shapes": shapes, "caches": ((past, 1),)}
    return call.with_attributes(sizes | extra | own)


def _from_ms_attention(call: Call) -> Call:
    """input, weights, bias, mask_index, past, attention_bias."""
    return _self_attention(call, mask=3, past=4, bias=5)


def _from_qattention(call: Call) -> Call:
    """input, weight, bias, input_scale, weight_scale, mask_index, zero points, past."""
    return _self_attention(call, mask=5, past=8, bias=9, quantised=True)


def _from_packed(call: Call) -> Call:
    """input (tokens, D), weights, bias, token_offset (B, S), cumulative lengths, attention_bias."""
    tokens, width = call.shape(0)
    batch, length = call.shape(3)
    heads, total = _heads(call), call.shape(1)[1]
    hidden = tuple(call.get("qkv_hidden_sizes") or (total // 3,) * 3)
    sizes = _core(batch=batch, heads=heads, lengths=(length, length), widths=(hidden[0] // heads, hidden[2] // heads))
    own = {"projections": ((tokens, width, total),), "data": (0,), "shapes": ((tokens, hidden[2]),)}
    extra = flags(bias_elements=tokens * total if call.has(2) else 0, masked=call.has(5))
    return call.with_attributes(sizes | extra | own)


# -- projected inputs: MultiHeadAttention, GroupQueryAttention ------------------------------------------


def _multi_head(call: Call, *, bias: int, masks: tuple[int, ...], past: int) -> Call:
    """query (B, L, D) with key and value (B, L, D) or (B, H, L, d); packed (B, L, H, 3, d); packed key and
    value (B, L, H, 2, d)."""
    query, heads = call.shape(0), _heads(call)
    batch, length = query[0], query[1]
    if len(query) == 5:
        d_qk = d_v = query[4]
        kv_length = length
    else:
        d_qk, key = query[2] // heads, call.shape(1)
        kv_length = key[2] if len(key) == 4 else key[1]
        value = call.shape(2) if call.has(2) else key  # packed: (B, L, H, 2, d)
        d_v = value[2] // heads if len(value) == 3 else value[-1]
    held = call.shape(past)[2] if call.has(past) else 0
    total = kv_length + held
    sizes = _core(batch=batch, heads=heads, lengths=(length, total), widths=(d_qk, d_v))
    rows = heads * batch
    biased = rows * (length * d_qk + kv_length * (d_qk + d_v)) if call.has(bias) else 0
    present = (batch, heads, total)
    shapes = ((batch, length, heads * d_v), (*present, d_qk), (*present, d_v), (batch, heads, length, total))
    extra = flags(
        bias_elements=biased,
        masked=any(call.has(index) for index in masks),
        packed_qkv=len(query) == 5,
        causal=bool(call.get("unidirectional", 0)),
    )
    return call.with_attributes(
        sizes | extra | {"data": (0, 1, 2), "shapes": shapes, "caches": ((past, 0), (past + 1, 0))}
    )


def _from_multi_head(call: Call) -> Call:
    """query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value."""
    return _multi_head(call, bias=3, masks=(4, 5), past=6)


def _from_decoder_masked(call: Call) -> Call:
    """query, key, value, mask_index, attention_bias, past_key, past_value, ..., bias."""
    return _multi_head(call, bias=10, masks=(3, 4), past=5)


def _from_group_query(call: Call) -> Call:
    """query (B, L, H·d), key and value (B, L, KV·d), or all packed in the query; past_key (B, KV, P, d)."""
    batch, length, width = call.shape(0)
    heads, kv_heads = _heads(call), heads_of(call, "kv_num_heads")
    packed = not call.has(1)
    d = width // (heads + 2 * kv_heads) if packed else width // heads
    known = call.value(6)
    total = known[0] if known else length + (call.shape(3)[2] if call.has(3) else 0)
    sizes = _core(batch=batch, heads=heads, kv_heads=kv_heads, lengths=(length, total), widths=(d, d))
    present = (batch, kv_heads, total, d)
    rotated = batch * length * (heads + kv_heads) * d if call.get("do_rotary", 0) else 0
    extra = flags(
        rotary_elements=rotated,
        causal=True,
        masked=call.has(10),
        packed_qkv=packed,
        softcap=bool(call.get("softcap", 0.0)),
    )
    own: dict[str, Any] = {
        "data": (0, 1, 2),
        "shapes": ((batch, length, heads * d), present, present),
        "caches": ((3, 0), (4, 0)),
    }
    if call.get("local_window_size", -1) > 0:
        own["local"] = call.get("local_window_size")
    return call.with_attributes(sizes | extra | own)


# -- torch's multi-head attention -----------------------------------------------------------------------


def _from_native(call: Call) -> Call:
    """query, key, value (B, L, E), qkv_weight, qkv_bias, proj_weight, proj_bias, mask."""
    batch, length, width = call.shape(0)
    kv_length, heads = call.shape(1)[1], _heads(call)
    sizes = _core(batch=batch, heads=heads, lengths=(length, kv_length), widths=(width // heads, width // heads))
    rows, kv_rows = batch * length, batch * kv_length
    projections = ((rows, width, width), (kv_rows, width, 2 * width), (rows, width, width))
    extra = flags(bias_elements=(2 * rows + 2 * kv_rows) * width, masked=call.has(7))
    own = {"projections": projections, "data": (0, 1, 2), "shapes": ((batch, length, width),)}
    return call.with_attributes(sizes | extra | own)


_PROJECTED = {1: Role.PARAMETER, 2: Role.PARAMETER}

SPECS = (
    OpSpec(
        kind="self_attention_fused",
        work=_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        roles=_PROJECTED,
        mac_operator=True,
        spellings=(
            Spelling("com.microsoft:Attention", _from_ms_attention),
            Spelling("com.microsoft:DecoderMaskedSelfAttention", _from_ms_attention),
            Spelling("com.microsoft:QAttention", _from_qattention),
            Spelling("com.microsoft:PackedAttention", _from_packed),
        ),
    ),
    OpSpec(
        kind="multi_head_attention",
        work=_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        roles={3: Role.PARAMETER, 10: Role.PARAMETER},
        mac_operator=True,
        spellings=(
            Spelling("com.microsoft:MultiHeadAttention", _from_multi_head),
            Spelling("com.microsoft:DecoderMaskedMultiHeadAttention", _from_decoder_masked),
            Spelling("com.microsoft:GroupQueryAttention", _from_group_query),
        ),
    ),
    OpSpec(
        kind="multi_head_attention_native",
        work=_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        roles=dict.fromkeys(range(3, 7), Role.PARAMETER),
        mac_operator=True,
        spellings=(Spelling("aten:_native_multi_head_attention", _from_native),),
    ),
    # How many keys a query meets is in the data (block tables, windows around chosen tokens): known, not
    # countable.
    OpSpec(
        kind="attention_sparse",
        work=None,
        mac_operator=True,
        spellings=tuple(
            Spelling(f"com.microsoft:{name}")
            for name in (
                *("LongformerAttention", "SparseAttention", "PagedAttention", "PackedMultiHeadAttention"),
                *("DecoderAttention", "QOrderedAttention", "DynamicSparseAttention", "SparsePagedAttention"),
            )
        ),
    ),
)
