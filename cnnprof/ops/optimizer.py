"""Optimizer steps: ONNX's training operators, ATen's fused optimizers and its elementwise list operators.

Per parameter element. Momentum: g + λ·x, v = α·v + β·g, x − r·v: 3 add, 4 mul (Nesterov one more of each).
Adagrad: g + λ·x, h + g², x − r·g/(√h + ε): 4 add, 3 mul, a division, a root. Adam: g + λ·x, two moving
averages, x − r·m/(√v + ε): 5 add, 7 mul, a division, a root. ATen's fused steps leave out λ·x (an addition and a
multiplication) without weight decay, and the average (the same and one mul more) without momentum; AMSGrad
compares one moment more. A ``_foreach_`` call does its unit for every element of its first list.
"""

from __future__ import annotations

import math

from cnnprof.ops.naming import aten, onnx
from cnnprof.ops.relations import unpredictable
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, Formula, OpSpec, UncountableError, WorkRule
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

_DOMAIN = "ai.onnx.preview.training"
MOMENTUM = Work(add=3, mul=4)
NESTEROV = Work(add=1, mul=1)
ADAGRAD = Work(add=4, mul=3, div=1, transcendental=1)
ADAM = Work(add=5, mul=7, div=1, transcendental=1)


# -- ONNX: (R, T, X₁…Xₙ, G₁…Gₙ, states…) -----------------------------------------------------------------


def _onnx_elements(call: Call, lists: int) -> int:
    """Elements of the n parameters; after R and T stand ``lists`` lists of n tensors."""
    count, rest = divmod(len(call.inputs) - 2, lists)
    if rest or count < 1:
        raise UncountableError(f"{call.op_type}: {len(call.inputs)} inputs are not {lists} lists")
    return sum(call.elements(2 + i) for i in range(count))


def _onnx_step(unit: Work, lists: int) -> WorkRule:
    def rule(call: Call) -> Work:
        extra = NESTEROV if call.get("mode") == "nesterov" else Work()
        return (unit + extra) * _onnx_elements(call, lists)

    return rule


# -- ATen: lists of tensors, flattened ----------------------------------------------------------------------


def _list_elements(call: Call, lists: int) -> int:
    """Elements of the first of ``lists`` equally long lists (what follows them is scalar)."""
    shapes = [t.shape for t in call.outputs if t is not None and t.shape is not None]
    if shapes:
        return sum(math.prod(shape) for shape in shapes)
    count = max(1, len(call.inputs) // lists)
    return sum(call.elements(i) for i in range(count) if call.has(i))


def _lists_of(call: Call) -> int:
    """How many lists of tensors an overload takes."""
    name, _, overload = call.op_type.removeprefix("aten:").partition(".")
    if "addcmul" in name or "addcdiv" in name:
        return 3
    return 2 if overload in ("List", "Tensor_List") or "copy" in name else 1


def _foreach(unit: Work) -> WorkRule:
    return lambda call: unit * _list_elements(call, _lists_of(call))


def _fused_elements(call: Call, lists: int) -> int:
    """Elements of the parameters: the first of ``lists`` equally long lists. What is written, and so an output,
    are all lists."""
    return sum(call.elements(i) for i in range(len(call.inputs) // lists))


def _decay(call: Call) -> Work:
    return Work(add=1, mul=1) if call.get("weight_decay", 0) else Work()


def _sgd_work(call: Call) -> Work:
    """Parameters, gradients, and with momentum its buffers."""
    if not call.get("momentum", 0):
        return (Work(add=1, mul=1) + _decay(call)) * _fused_elements(call, 2)
    step = Work(add=2, mul=3) + (NESTEROV if call.get("nesterov", False) else Work())
    return (step + _decay(call)) * _fused_elements(call, 3)


def _adam_work(call: Call) -> Work:
    """Parameters, gradients, two moments, (AMSGrad's largest second moments,) steps."""
    greatest = bool(call.get("amsgrad", False))
    step = Work(add=4, mul=6, cmp=1 if greatest else 0, div=1, transcendental=1)
    return (step + _decay(call)) * _fused_elements(call, 6 if greatest else 5)


def _adagrad_work(call: Call) -> Work:
    """Parameters, gradients, sums of squares, steps."""
    return (Work(add=3, mul=2, div=1, transcendental=1) + _decay(call)) * _fused_elements(call, 4)


# kind, work of one element, ATen names
_FOREACH: tuple[tuple[str, Work, str], ...] = (
    ("foreach_add", Work(add=1), "_foreach_add _foreach_sub _foreach_neg"),
    ("foreach_mul", Work(mul=1), "_foreach_mul"),
    ("foreach_div", Work(div=1), "_foreach_div _foreach_reciprocal"),
    ("foreach_addcmul", Work(add=1, mul=2), "_foreach_addcmul"),
    ("foreach_addcdiv", Work(add=1, mul=1, div=1), "_foreach_addcdiv"),
    ("foreach_lerp", Work(add=2, mul=1), "_foreach_lerp"),
    (
        "foreach_function",
        Work(transcendental=1),
        "_foreach_sqrt _foreach_rsqrt _foreach_pow _foreach_exp _foreach_log",
    ),
    (
        "foreach_compare",
        Work(cmp=1),
        "_foreach_abs _foreach_sign _foreach_maximum _foreach_minimum _foreach_clamp_min _foreach_clamp_max",
    ),
    ("foreach_copy", Work(), "_foreach_copy _foreach_zero"),
)


def _norm_work(call: Call) -> Work:
    """The 2-norm of every tensor of the list."""
    shapes = [call.shape(i) for i in range(len(call.inputs)) if call.has(i)]
    elements = sum(math.prod(shape) for shape in shapes)
    return Work(mul=elements, add=elements - len(shapes), transcendental=len(shapes))


def _formula(call: Call) -> Formula:
    return Formula("O(E)", str(sum(math.prod(t.shape) for t in call.outputs if t is not None and t.shape)))


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="momentum",
        work=_onnx_step(MOMENTUM, 3),
        formula=linear_formula,
        window=unpredictable,
        spellings=onnx("Momentum", domain=_DOMAIN),
    ),
    OpSpec(
        kind="adagrad",
        work=_onnx_step(ADAGRAD, 3),
        formula=linear_formula,
        window=unpredictable,
        spellings=onnx("Adagrad", domain=_DOMAIN),
    ),
    OpSpec(
        kind="adam",
        work=_onnx_step(ADAM, 4),
        formula=linear_formula,
        window=unpredictable,
        spellings=onnx("Adam", domain=_DOMAIN),
    ),
    OpSpec(kind="gradient", work=None, window=unpredictable, spellings=onnx("Gradient", domain=_DOMAIN)),
    *(
        OpSpec(kind=kind, work=_foreach(unit), formula=_formula, spellings=aten(names))
        for kind, unit, names in _FOREACH
    ),
    OpSpec(kind="foreach_norm", work=_norm_work, formula=_formula, spellings=aten("_foreach_norm")),
    OpSpec(kind="fused_sgd", work=_sgd_work, formula=_formula, spellings=aten("_fused_sgd")),
    OpSpec(kind="fused_adam", work=_adam_work, formula=_formula, spellings=aten("_fused_adam _fused_adamw")),
    OpSpec(kind="fused_adagrad", work=_adagrad_work, formula=_formula, spellings=aten("_fused_adagrad")),
)
