"""Losses, and the gradients of losses. Reductions are counted as in :mod:`cnnprof.ops.reduce`.

Per element of the prediction: squared error subtract and square; absolute error subtract and abs; Huber and
smooth L1 subtract, abs, compare, 2 mul, add; binary cross entropy 2 logarithms, 2 mul, 3 add; with logits 2
transcendentals, 2 mul, 4 add, a comparison; Kullback-Leibler a logarithm, a subtraction, a multiplication;
soft margin log(1 + exp(−t·x)): mul, add, 2 transcendentals; margins max(0, m − t·(x_y − x)): mul, 2 add, cmp.
The negative log likelihood picks one score a sample: it is negated, and multiplied by its class weight if
there is one. A reduced loss adds its elements; a mean divides once.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, onnx, pointwise
from cnnprof.ops.relations import all_data
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, OpSpec, WorkRule
from cnnprof.ops.window import Relation
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]

# ATen numbers reductions: 0 none, 1 mean, 2 sum.
_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}


def _canonical(call: Call) -> Call:
    reduction = call.get("reduction", "mean")
    return call.with_attributes({"reduction": _REDUCTIONS.get(reduction, reduction)})


def _reduced(call: Call, elements: int) -> Work:
    how = call.get("reduction", "mean")
    if how == "none" or not elements:
        return Work()
    return Work(add=elements - 1, div=1 if how == "mean" else 0)


def _per_element(unit: Work) -> WorkRule:
    def rule(call: Call) -> Work:
        elements = call.elements(0)
        return unit * elements + _reduced(call, elements)

    return rule


def _samples(call: Call) -> int:
    """Scores are (N, C, d₁, …) or (C,): one is picked for each sample."""
    shape = call.shape(0)
    return 1 if len(shape) == 1 else shape[0] * math.prod(shape[2:])


def _nll_work(call: Call) -> Work:
    samples = _samples(call)
    return Work(mul=1 if call.has(2) else 0, add=1) * samples + _reduced(call, samples)


def _cross_entropy_work(call: Call) -> Work:
    """log-softmax along the classes, then the negative log likelihood."""
    samples = _samples(call)
    softmax = Work(cmp=1, add=3, transcendental=1) * call.elements(0) + Work(transcendental=samples)
    return softmax + _nll_work(call)


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    shape = call.shape(0)
    unreduced = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    loss: Shape = unreduced if call.attr("reduction") == "none" else ()
    return (loss, shape)[: max(1, len(call.outputs))]


def _nll_shapes(call: Call) -> tuple[Shape | None, ...]:
    """ATen's second result is the sum of the samples' weights."""
    return (_shapes(call)[0], ())[: max(1, len(call.outputs))]


# kind, work of one element of the prediction, ATen names
_ROWS: tuple[tuple[str, Work, str], ...] = (
    ("squared_error", Work(add=1, mul=1), "mse_loss"),
    ("absolute_error", Work(add=1, cmp=1), "l1_loss"),
    ("huber_loss", Work(add=2, mul=2, cmp=2), "huber_loss smooth_l1_loss"),
    ("binary_cross_entropy", Work(add=3, mul=2, transcendental=2), "binary_cross_entropy"),
    (
        "binary_cross_entropy_logits",
        Work(add=4, mul=2, cmp=1, transcendental=2),
        "binary_cross_entropy_with_logits",
    ),
    ("divergence", Work(add=1, mul=1, transcendental=1), "kl_div"),
    ("soft_margin_loss", Work(add=1, mul=1, transcendental=2), "soft_margin_loss"),
    ("margin_loss", Work(add=2, mul=1, cmp=1), "multi_margin_loss multilabel_margin_loss_forward"),
)

# kind, work of one element of the gradient, ATen names
_BACKWARD: tuple[tuple[str, Work, str], ...] = (
    ("squared_error_backward", Work(add=1, mul=2), "mse_loss_backward"),
    ("absolute_error_backward", Work(add=1, cmp=1, mul=1), "l1_loss_backward"),
    ("huber_loss_backward", Work(add=1, mul=2, cmp=2), "huber_loss_backward smooth_l1_loss_backward"),
    (
        "binary_cross_entropy_backward",
        Work(add=2, mul=2, div=1, cmp=1),
        "binary_cross_entropy_backward",
    ),
    ("soft_margin_loss_backward", Work(add=1, mul=3, div=1, transcendental=1), "soft_margin_loss_backward"),
)


def _nll_backward_work(call: Call) -> Work:
    """One position a sample gets the gradient times its weight; all others stay zero."""
    return Work(mul=1, div=1) * _samples_of(call.out_shape())


def _samples_of(shape: Shape) -> int:
    return 1 if len(shape) <= 1 else shape[0] * math.prod(shape[2:])


SPECS: tuple[OpSpec, ...] = (
    *(
        OpSpec(
            kind=kind,
            work=_per_element(unit),
            formula=linear_formula,
            window=all_data,
            spellings=aten(names, _canonical),
        )
        for kind, unit, names in _ROWS
    ),
    *(pointwise(kind, unit, aten(names, _canonical)) for kind, unit, names in _BACKWARD),
    OpSpec(
        kind="negative_log_likelihood",
        work=_nll_work,
        formula=linear_formula,
        window=all_data,
        shapes=_nll_shapes,
        spellings=(
            *onnx("NegativeLogLikelihoodLoss", _canonical),
            *aten("nll_loss nll_loss_nd nll_loss_forward nll_loss2d nll_loss2d_forward", _canonical),
        ),
    ),
    OpSpec(
        kind="negative_log_likelihood_backward",
        work=_nll_backward_work,
        formula=linear_formula,
        spellings=aten("nll_loss_backward nll_loss2d_backward", _canonical),
    ),
    OpSpec(
        kind="cross_entropy",
        work=_cross_entropy_work,
        formula=linear_formula,
        window=all_data,
        shapes=_shapes,
        spellings=(*onnx("SoftmaxCrossEntropyLoss", _canonical), *aten("cross_entropy_loss", _canonical)),
    ),
)
