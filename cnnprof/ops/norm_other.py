"""Normalisations without learnt scale: local response, Lp, mean-variance; and two that carry more than a
norm.

Work: local response normalisation per element: square 1, size − 1 additions, times α 1, plus bias 1, a power
(transcendental) and a division. Lp normalisation: the norm of each vector and one division an element.
Mean-variance: mean and variance 4 and one division an element, one root a group. Embedding layer norm: the
sum of two or three embeddings, then layer norm. Weight norm: the L2 norm of each slice, one division a
slice, one multiplication an element.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.norm import layer_axes
from cnnprof.ops.pool import lp_norm
from cnnprof.ops.rules import product, same_shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _formula(call: Call) -> Formula:
    return product("E", call.elements(0))


def _span(call: Call) -> int:
    shape = call.shape(0)
    return math.prod(shape[axis] for axis in call.attr("axes"))


def _axes_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    axes = call.attr("axes")
    return (Axes(tuple(All() if a in axes else Same(a) for a in range(len(call.shape(0))))),)


# -- local response -------------------------------------------------------------------------------------


def _lrn_work(call: Call) -> Work:
    unit = Work(mul=2, add=call.attr("size"), transcendental=1, div=1)  # size − 1 sums and the bias
    return unit * call.elements(0)


def _lrn_formula(call: Call) -> Formula:
    return product("E·n", call.elements(0), call.attr("size"))


def _lrn_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    size = call.attr("size")
    maps: list[AxisMap] = [Same(axis) for axis in range(len(call.shape(0)))]
    maps[1] = Slide(1, size, 1, 1, (size - 1) // 2)
    return (Axes(tuple(maps)),)


def _from_lrn(call: Call) -> Call:
    return call.with_attributes({"size": call.attr("size")})


# -- Lp, mean and variance ------------------------------------------------------------------------------


def _lp_work(call: Call) -> Work:
    elements = call.elements(0)
    return lp_norm(call.attr("p"), elements, elements // max(1, _span(call))) + Work(div=elements)


def _from_lp(call: Call) -> Call:
    rank = len(call.shape(0))
    axis = call.get("axis", -1)
    return call.with_attributes({"p": call.get("p", 2), "axes": layer_axes(rank, axis)[:1]})


def _mvn_work(call: Call) -> Work:
    elements = call.elements(0)
    return Work(add=3, mul=1, div=1) * elements + Work(transcendental=elements // max(1, _span(call)))


def _from_mvn(call: Call) -> Call:
    rank = len(call.shape(0))
    axes = call.get("axes") or (0, 2, 3)
    return call.with_attributes({"axes": tuple(sorted(axis % rank for axis in axes if axis < rank))})


# -- embeddings, then layer norm ------------------------------------------------------------------------


def _embed_work(call: Call) -> Work:
    """input_ids, segment_ids, word, position and segment embedding, gamma, beta."""
    elements = call.out_elements()
    sums = 2 if call.has(4) else 1
    unit = Work(add=3 + call.has(6), mul=2 + call.has(5))
    return unit * elements + Work(add=sums * elements, transcendental=elements // max(1, call.out_shape()[-1]))


def _embed_formula(call: Call) -> Formula:
    return product("E", call.out_elements())


def _embed_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Token by token; output 1 is the length that the mask (input 7) leaves of each row."""
    if output == 1:
        row = Axes((Same(0), All()))
        return tuple(row if index == 7 and tensor is not None else None for index, tensor in enumerate(call.inputs))
    ids = Axes((Same(0), Same(1)))
    return tuple(
        ids if index < 2 and tensor is not None and not tensor.is_weight else None
        for index, tensor in enumerate(call.inputs)
    )


def _embed_shapes(call: Call) -> tuple[Shape | None, ...]:
    batch, length = call.shape(0)
    out = (batch, length, call.shape(2)[-1])
    return tuple((out, (batch,), out)[: max(1, len(call.outputs))])


def _from_embed(call: Call) -> Call:
    return call.with_attributes({})


# -- weight norm ----------------------------------------------------------------------------------------


def _weight_norm_work(call: Call) -> Work:
    elements, slices = call.elements(0), call.elements(1)
    return lp_norm(2, elements, slices) + Work(div=slices, mul=elements)


def _weight_norm_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return tuple(None for _ in call.inputs)


_EMBED_ROLES = dict.fromkeys(range(2, 7), Role.PARAMETER)

SPECS = (
    OpSpec(
        kind="local_response_norm",
        work=_lrn_work,
        formula=_lrn_formula,
        window=_lrn_window,
        shapes=same_shape,
        spellings=(Spelling("onnx:LRN", _from_lrn),),
    ),
    OpSpec(
        kind="lp_normalization",
        work=_lp_work,
        formula=_formula,
        window=_axes_window,
        shapes=same_shape,
        spellings=(Spelling("onnx:LpNormalization", _from_lp),),
    ),
    OpSpec(
        kind="mean_variance_norm",
        work=_mvn_work,
        formula=_formula,
        window=_axes_window,
        shapes=same_shape,
        spellings=(Spelling("onnx:MeanVarianceNormalization", _from_mvn),),
    ),
    OpSpec(
        kind="embed_layer_norm",
        work=_embed_work,
        formula=_embed_formula,
        window=_embed_window,
        shapes=_embed_shapes,
        roles=_EMBED_ROLES,
        spellings=(
            Spelling("com.microsoft:EmbedLayerNormalization", _from_embed),
            Spelling("com.microsoft:QEmbedLayerNormalization", _from_embed),
        ),
    ),
    OpSpec(
        kind="weight_norm",
        work=_weight_norm_work,
        formula=_formula,
        window=_weight_norm_window,
        roles={0: Role.PARAMETER, 1: Role.PARAMETER},
        spellings=(Spelling("aten:_weight_norm_interface"),),
    ),
)
