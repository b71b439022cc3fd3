"""Bilinear layers, rank-one updates, and the gradients of a dense layer.

``bilinear`` — canonical inputs: x1 (..., D_1), x2 (..., D_2), weight (C_out, D_1, D_2), bias.
``rank_one_update`` — canonical inputs: two vectors, the matrix they are added to; one multiplication and one
addition an output, one more multiplication each for alpha and beta other than 1. Nothing is summed: no MACs.
``linear_backward`` — canonical inputs: data, gradient of the output, weight; attribute ``output_mask``.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role
from cnnprof.ops.linear import keep
from cnnprof.ops.rules import broadcast_axes, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


# -- bilinear -------------------------------------------------------------------------------------------


def _bilinear_work(call: Call) -> Work:
    """x1·W first (B·out·d1·d2), then by x2 (B·out·d2), as torch contracts it; bias one addition."""
    out = call.out_elements()
    _, d1, d2 = call.shape(2)
    return Work(mac=out * d2 * (d1 + 1), add=out if call.has(3) else 0)


def _bilinear_formula(call: Call) -> Formula:
    c_out, d1, d2 = call.shape(2)
    return product("B·C_out·D_1·D_2", call.out_elements() // max(1, c_out), c_out, d1, d2)


def _bilinear_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    lead = tuple(Same(axis) for axis in range(len(call.out_shape()) - 1))
    data = Axes((*lead, All()))
    return (data, data, *(None for _ in call.inputs[2:]))


def _is_bilinear(call: Call) -> bool:
    layout = tuple(tuple(call.get(f"expand{i}") or ()) for i in (1, 2, 3))
    return layout == ((1, 3), (0,), (1, 2)) and tuple(call.get("sumdim") or ()) == (2, 3)


def _from_trilinear(call: Call) -> Call:
    first, weight, second = call.inputs
    return call.with_attributes({}, (first, second, weight))


# -- rank one -------------------------------------------------------------------------------------------


def _rank_one_work(call: Call) -> Work:
    out = call.out_elements()
    scaled = (call.get("alpha", 1) != 1) + (call.get("beta", 1) not in (0, 1))
    return Work(mul=out * (1 + scaled), add=out if call.get("beta", 1) != 0 else 0)


def _rank_one_formula(call: Call) -> Formula:
    return product("M·N", call.elements(0), call.elements(1))


def _rank_one_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return (Axes((Same(0),)), Axes((Same(1),)), broadcast_axes(call.shape(2), call.out_shape()))


def _from_addr(call: Call) -> Call:
    """addr: self, vec1, vec2."""
    matrix, first, second = call.inputs[:3]
    return call.with_attributes(keep(**call.attributes), (first, second, matrix))


# -- backward -------------------------------------------------------------------------------------------


def _linear_backward_work(call: Call) -> Work:
    """linear_backward(self, grad_output, weight): each of the two products does the forward's MACs."""
    data, weight, bias = call.attr("output_mask")
    gradient = call.shape(1)
    macs = math.prod(gradient) * call.shape(2)[-1]
    return Work(
        mac=macs * (bool(data) + bool(weight)),
        add=max(0, math.prod(gradient) - gradient[-1]) if bias else 0,
    )


SPECS = (
    OpSpec(
        kind="bilinear",
        work=_bilinear_work,
        formula=_bilinear_formula,
        window=_bilinear_window,
        roles={2: Role.PARAMETER, 3: Role.PARAMETER},
        mac_operator=True,
        spellings=(
            Spelling("aten:bilinear"),
            Spelling("torch:bilinear"),
            Spelling("aten:_trilinear", _from_trilinear, when=_is_bilinear),
        ),
    ),
    OpSpec(
        kind="rank_one_update",
        work=_rank_one_work,
        formula=_rank_one_formula,
        window=_rank_one_window,
        spellings=(Spelling("aten:addr", _from_addr), Spelling("aten:addr_", _from_addr)),
    ),
    OpSpec(
        kind="linear_backward",
        work=_linear_backward_work,
        roles={2: Role.PARAMETER},
        spellings=(Spelling("aten:linear_backward"), Spelling("aten:mkldnn_linear_backward")),
    ),
)
