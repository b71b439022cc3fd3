"""Mixtures of experts, and block-quantised projections that share one normalised input (com.microsoft).

A mixture sends each of T tokens to ``k`` of E experts: T · k · (weights of one expert) MACs whichever they are, one
addition for every bias, the activation of every hidden unit, and per token the router's softmax over E (4 + 1 each),
the k best (E · ⌈log₂ k⌉ comparisons, E for k = 1), their weights rescaled to sum 1 where asked (k − 1 additions, k
divisions), and the weighted sum of k results (k mul, k − 1 add an element). Quantised weights are expanded once
a run (a subtraction and a multiplication each), of as many experts as T · k places can reach: min(E, T · k).

Canonical attributes of a mixture: ``tokens``, ``experts``, ``k``, ``weights`` (of one expert, elements), ``biases``
(elements of one expert), ``hidden`` (units between the layers), ``unit`` (mul, add, cmp, transcendental of
one hidden unit's activation), ``expanded`` where the weights are quantised, ``rescaled``, ``routed`` (the router's
weights are given).
Of a shared projection: ``widths`` of the outputs, ``inner``, ``biases`` (per row), ``normalised``, ``skip``, ``gate``.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.fused_activation import activation_unit
from cnnprof.ops.rules import product, same_shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["SPECS"]

_SOFTMAX = Work(cmp=1, add=2, div=1, transcendental=1)


# -- mixture of experts ----------------------------------------------------------------------------------


def _present(**flags: bool) -> dict[str, bool]:
    return {name: True for name, flag in flags.items() if flag}


def _activation(call: Call, gated: bool) -> tuple[int, int, int, int]:
    """(mul, add, cmp, transcendental) of one hidden unit, a gate's product included."""
    name = call.get("activation_type", "relu")
    name = name.decode() if isinstance(name, bytes) else name
    if name in ("swiglu", "geglu"):
        unit = activation_unit("silu" if name == "swiglu" else "gelu")
        gated = True
    else:
        unit = activation_unit(name)
    unit += Work(mul=1) if gated else NO_WORK
    if name == "swiglu":  # G·σ(α·G)·(L + β), G and L clamped
        unit += Work(mul=call.get("activation_alpha", 1.0) != 1.0, add=call.get("activation_beta", 0.0) != 0.0)
        unit += Work(cmp=2 if call.get("swiglu_limit") else 0)
    return int(unit.mul), int(unit.add), int(unit.cmp), int(unit.transcendental)


def _mixture(call: Call, layers: tuple[tuple[int, int], ...], packs: tuple[int, ...], router: int) -> Call:
    """``layers``: (weight, bias) inputs of fc1, fc2, fc3; ``packs``: weights in one stored element."""
    if call.get("use_sparse_mixer", 0):
        raise UncountableError(f"{call.op_type}: the sparse mixer's routing has no rule")
    width = call.shape(0)[-1]
    sizes, biases = [], 0
    for (weight, bias), pack in zip(layers, packs, strict=True):
        sizes.append(math.prod(call.shape(weight)[1:]) * pack if call.has(weight) else 0)
        biases += math.prod(call.shape(bias)[1:]) if call.has(bias) else 0
    experts = call.shape(layers[0][0])[0]
    quantised = max(packs) > 1 or call.op_type.endswith("QMoE")
    attributes: dict[str, Any] = {
        "tokens": math.prod(call.shape(0)[:-1]),
        "experts": experts,
        "k": call.get("k", 1),
        "weights": sum(sizes),
        "biases": biases,
        "hidden": sizes[1] // width,
        "unit": _activation(call, gated=sizes[2] > 0),
    }
    flags = _present(
        expanded=quantised, rescaled=bool(call.get("normalize_routing_weights", 0)), routed=call.has(router)
    )
    return call.with_attributes(attributes | flags)


def _from_moe(call: Call) -> Call:
    """input, router_probs, then weights and bias of fc1, fc2 and fc3."""
    return _mixture(call, ((2, 3), (4, 5), (6, 7)), (1, 1, 1), router=99)


def _from_qmoe(call: Call) -> Call:
    """input, router_probs, then weights, scales and bias of fc1, fc2 and fc3; 8 / bits weights to a byte."""
    if call.get("quant_type", "int") not in ("int", b"int"):
        raise UncountableError(f"{call.op_type}: only integer weights have a rule")
    bits = call.get("expert_weight_bits", 4)
    packs = tuple(8 // (call.get(f"fc{i}_expert_weight_bits") or bits) for i in (1, 2, 3))
    return _mixture(call, ((2, 4), (5, 7), (8, 10)), packs, router=14)


def _mixture_work(call: Call) -> Work:
    tokens, experts, k = map(int, map(call.attr, ("tokens", "experts", "k")))
    mul, add, cmp, transcendental = call.attr("unit")
    places = tokens * k
    run: Work = Work(mac=places * call.attr("weights"), add=places * call.attr("biases"))
    run += Work(mul=mul, add=add, cmp=cmp, transcendental=transcendental) * (places * call.attr("hidden"))
    if call.get("expanded", False):
        run += Work(add=1, mul=1) * (min(experts, places) * call.attr("weights"))
    route: Work = _SOFTMAX * (0 if call.get("routed", False) else tokens * experts)
    route += Work(cmp=tokens * experts * max(1, (k - 1).bit_length()))
    if call.get("rescaled", False):
        route += Work(add=k - 1, div=k) * tokens
    combined: Work = Work(mul=k, add=k - 1) * call.elements(0)
    return run + route + combined


def _mixture_formula(call: Call) -> Formula:
    return product("T·k·W", call.attr("tokens"), call.attr("k"), call.attr("weights"))


def _rowwise_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Every token on its own: all of its features. Outputs after the projections are residual sums."""
    rank = len(call.shape(0))
    row = Axes((*(Same(axis) for axis in range(rank - 1)), All()))
    return tuple(
        row if t is not None and not t.is_weight and t.shape is not None and len(t.shape) == rank else None
        for t in call.inputs
    )


# -- projections of one input ----------------------------------------------------------------------------


def _shared(call: Call, widths: tuple[int, ...], biases: tuple[int, ...], gate: str | None) -> Call:
    attributes: dict[str, Any] = {
        "inner": call.attr("K"),
        "widths": widths,
        "biases": sum(width for width, bias in zip(widths, biases, strict=True) if call.has(bias)),
    }
    flags = _present(normalised=call.has(2), skip=call.has(1))
    return call.with_attributes(attributes | flags | ({} if gate is None else {"gate": gate}))


def _from_qkv(call: Call) -> Call:
    """A, skip, norm_scale, then weights, scales and bias of query, key and value."""
    n, kv = call.attr("Nq"), call.attr("Nkv")
    return _shared(call, (n, kv, kv), (5, 8, 11), None)


def _from_mlp(call: Call) -> Call:
    """A, skip, norm_scale, then weights, scales and bias of gate and value."""
    name = call.get("activation", "silu")
    return _shared(call, (call.attr("N"),) * 2, (5, 8), name.decode() if isinstance(name, bytes) else name)


def _shared_work(call: Call) -> Work:
    inner, widths, elements = int(call.attr("inner")), call.attr("widths"), call.elements(0)
    rows, columns = elements // max(1, inner), sum(call.attr("widths"))
    total: Work = Work(mac=rows * inner * columns, add=rows * call.attr("biases"))
    total += Work(add=1, mul=1) * (inner * columns)  # every weight expanded once
    if call.get("normalised", False):  # root mean square: 4 an element, a root a row
        total += Work(mul=3 * elements, add=elements, transcendental=rows)
    if call.get("skip", False):
        total += Work(add=elements)
    if "gate" in call.attributes:
        total += (activation_unit(call.attr("gate")) + Work(mul=1)) * (rows * widths[0])
    return total


def _shared_formula(call: Call) -> Formula:
    inner = call.attr("inner")
    return product("B·C_in·ΣC_out", call.elements(0) // max(1, inner), inner, sum(call.attr("widths")))


def _shared_shapes(call: Call) -> tuple[Shape | None, ...]:
    data = call.shape(0)
    widths = call.attr("widths")[: 1 if "gate" in call.attributes else 3]
    return (*((*data[:-1], width) for width in widths), data)[: max(1, len(call.outputs))]


_PARAMETER, _CONSTANT = Role.PARAMETER, Role.CONSTANT

SPECS = (
    OpSpec(
        kind="mixture_of_experts",
        work=_mixture_work,
        formula=_mixture_formula,
        window=_rowwise_window,
        shapes=same_shape,
        roles=dict.fromkeys(range(2, 8), _PARAMETER),
        mac_operator=True,
        spellings=(Spelling("com.microsoft:MoE", _from_moe),),
    ),
    OpSpec(
        kind="mixture_of_experts_quantized",
        work=_mixture_work,
        formula=_mixture_formula,
        window=_rowwise_window,
        shapes=same_shape,
        roles={i: _PARAMETER if i in (2, 4, 5, 7, 8, 10) else _CONSTANT for i in range(2, 14)},
        mac_operator=True,
        spellings=(Spelling("com.microsoft:QMoE", _from_qmoe),),
    ),
    OpSpec(
        kind="matmul_blockwise_shared",
        work=_shared_work,
        formula=_shared_formula,
        window=_rowwise_window,
        shapes=_shared_shapes,
        roles={i: _CONSTANT if i in (4, 7, 10) else _PARAMETER for i in range(2, 12)},
        mac_operator=True,
        spellings=(
            Spelling("com.microsoft:MatMulNBitsQkv", _from_qkv),
            Spelling("com.microsoft:MatMulNBitsMlp", _from_mlp),
        ),
    ),
)
