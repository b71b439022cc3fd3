"""Reductions along axes, running sums, and what statistics are made of them.

Work, with I input elements and O results: sum I − O additions; mean the same and O divisions (so a global
average costs its input's elements); min, max, any, all, argmin, argmax I − O comparisons; prod I − O
multiplications; L1 adds I for the absolute values; L2 squares (I multiplications), adds, and takes O roots;
log-sum-exp is the stable form (subtract the largest, I exponentials, add, O logarithms, add it back);
variance is mean, subtract, square, mean: 2·I − O more additions, I multiplications, O more divisions.
A running sum along an axis of length n costs n − 1 additions a row; which axis that is may be an input: where
it isn't known the work is, if all axes are equally long.

Canonical attributes: ``axes`` (sorted, non-negative) and ``keepdims``; left out where they aren't known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, given, onnx
from cnnprof.ops.relations import first_only, same
from cnnprof.ops.rules import everything, input_formula
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError, WorkRule
from cnnprof.ops.window import All, Axes, AxisMap, Lookup, Relation, Same
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]

# -- work: a rule of (input elements, results) ---------------------------------------------------------

Counter = Callable[[int, int], Work]


def _sum(i: int, o: int) -> Work:
    return Work(add=i - o)


def _mean(i: int, o: int) -> Work:
    return Work(add=i - o, div=o)


def _extreme(i: int, o: int) -> Work:
    return Work(cmp=i - o)


def _prod(i: int, o: int) -> Work:
    return Work(mul=i - o)


def _l1(i: int, o: int) -> Work:
    return Work(cmp=i, add=i - o)


def _l2(i: int, o: int) -> Work:
    return Work(mul=i, add=i - o, transcendental=o)


def _sum_square(i: int, o: int) -> Work:
    return Work(mul=i, add=i - o)


def _log_sum(i: int, o: int) -> Work:
    return Work(add=i - o, transcendental=o)


def _log_sum_exp(i: int, o: int) -> Work:
    return Work(cmp=i - o, add=2 * i, transcendental=i + o)  # subtract I, add I − O, add back O


def _variance(i: int, o: int) -> Work:
    return Work(add=(i - o) + i + (i - o), mul=i, div=2 * o)


def _deviation(i: int, o: int) -> Work:
    return _variance(i, o) + Work(transcendental=o)


def _norm(i: int, o: int) -> Work:
    """A p-norm with p other than 0, 1, 2, ∞: a power each, and a root."""
    return Work(cmp=i, add=i - o, transcendental=i + o)


def _kept(call: Call) -> int:
    """How many results: elements of the axes that stay."""
    if "axes" not in call.attributes:
        return call.out_elements()
    axes = call.attr("axes")
    return math.prod(size for axis, size in enumerate(call.shape(0)) if axis not in axes)


def _work(counter: Counter) -> WorkRule:
    def rule(call: Call) -> Work:
        # Reducing an empty tensor makes results out of nothing: no operation runs.
        elements = call.elements(0)
        return counter(elements, _kept(call)) if elements else NO_WORK

    return rule


# -- attributes ---------------------------------------------------------------------------------------------


def _attributes(call: Call, axes: Any, keepdims: bool) -> Call:
    rank = len(call.shape(0))
    chosen = range(rank) if axes is None else sorted({axis_of(axis, rank) for axis in axes})
    return call.with_attributes({"axes": tuple(chosen), "keepdims": keepdims})


def _from_onnx(call: Call) -> Call:
    """Axes are an attribute up to opset 17 (ReduceSum 12), then an optional input."""
    axes = given(call, "axes", 1)
    keepdims = bool(call.get("keepdims", 1))
    if axes is None and call.has(1):
        return call.with_attributes({"keepdims": keepdims})
    if not axes and call.get("noop_with_empty_axes", 0):
        return call.with_attributes({"axes": (), "keepdims": keepdims})
    return _attributes(call, axes or None, keepdims)


def _arg_from_onnx(call: Call) -> Call:
    return _attributes(call, (call.get("axis", 0),), bool(call.get("keepdims", 1)))


def _from_aten(call: Call) -> Call:
    dims = call.get("dim", call.get("dims", call.get("axis")))
    if dims is not None and not isinstance(dims, (list, tuple)):
        dims = (dims,)
    return _attributes(call, dims or None, bool(call.get("keepdim", False)))


# -- windows and shapes -------------------------------------------------------------------------------------


def _window(call: Call, _output: int) -> Relations:
    shape = call.shape(0)
    if "axes" not in call.attributes:
        return first_only(call, everything(shape))
    axes, keep = call.attr("axes"), call.get("keepdims", False)
    targets = iter(range(len(shape)))
    maps: list[AxisMap] = []
    for axis in range(len(shape)):
        if axis in axes:
            maps.append(All())
            if keep:
                next(targets)
        else:
            maps.append(Same(next(targets)))
    return first_only(call, Axes(tuple(maps)))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    if "axes" not in call.attributes:
        return (None,)
    axes, keep = call.attr("axes"), call.get("keepdims", False)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(call.shape(0)) if keep or axis not in axes)
    return (shape,) * max(1, len(call.outputs))


def _reduction(kind: str, counter: Counter, *spellings: tuple[Spelling, ...]) -> OpSpec:
    return OpSpec(
        kind=kind,
        work=_work(counter),
        formula=input_formula,
        window=_window,
        shapes=_shapes,
        spellings=tuple(spelling for group in spellings for spelling in group),
    )


# -- running sums -------------------------------------------------------------------------------------------


def _scan_axis(call: Call) -> Call:
    if call.op_type.startswith("aten:"):
        dim: int | None = call.get("dim", 0)
    else:
        value = call.value(1)
        dim = value[0] if value else None
    rank = len(call.shape(0))
    dim = 0 if dim is None and rank <= 1 else dim
    flags = {name: True for name in ("exclusive", "reverse") if call.get(name, 0)}
    return call.with_attributes(flags | ({} if dim is None else {"axis": axis_of(dim, rank)}))


def _steps(call: Call) -> int:
    shape, elements = call.shape(0), call.elements(0)
    if not shape or not elements:
        return 0
    lengths = set(shape) if "axis" not in call.attributes else {shape[call.attr("axis")]}
    if len(lengths) > 1:
        raise UncountableError(f"{call.op_type}: the axis is not known, and {shape} is not equally long along all")
    return elements - elements // lengths.pop()


def _scan_work(unit: Work) -> WorkRule:
    return lambda call: unit * _steps(call)


def _scan_window(call: Call, _output: int) -> Relations:
    """Position o reads 0…o (from o on in reverse; without o itself when exclusive)."""
    shape = call.shape(0)
    if "axis" not in call.attributes:
        return first_only(call, everything(shape))
    if not shape:
        return first_only(call, same(0))
    axis, size = call.attr("axis"), shape[call.attr("axis")]
    skip = 1 if call.get("exclusive") else 0
    reverse = call.get("reverse", False)
    table = tuple(tuple(range(o + skip, size)) if reverse else tuple(range(o + 1 - skip)) for o in range(size))
    maps: tuple[AxisMap, ...] = tuple(Lookup(axis, table) if a == axis else Same(a) for a in range(len(shape)))
    return first_only(call, Axes(maps))


def _scan(kind: str, unit: Work, *spellings: tuple[Spelling, ...]) -> OpSpec:
    return OpSpec(
        kind=kind,
        work=_scan_work(unit),
        formula=input_formula,
        window=_scan_window,
        shapes=lambda call: (call.shape(0),) * max(1, len(call.outputs)),
        spellings=tuple(spelling for group in spellings for spelling in group),
    )


# -- norms: the order decides the arithmetic ---------------------------------------------------------------


def _order(call: Call) -> float:
    value = call.get("ord", call.get("p", 2))
    return 2.0 if value is None else float(value)


def _norms(test: Callable[[float], bool]) -> tuple[Spelling, ...]:
    return aten("linalg_vector_norm norm frobenius_norm", _from_aten, lambda call: test(_order(call)))


SPECS: tuple[OpSpec, ...] = (
    _reduction("reduce_sum", _sum, onnx("ReduceSum", _from_onnx), aten("sum nansum", _from_aten)),
    _reduction("reduce_mean", _mean, onnx("ReduceMean", _from_onnx), aten("mean nanmean", _from_aten)),
    _reduction(
        "reduce_max",
        _extreme,
        onnx("ReduceMax", _from_onnx),
        aten("amax max", _from_aten),
    ),
    _reduction("reduce_min", _extreme, onnx("ReduceMin", _from_onnx), aten("amin min", _from_aten)),
    _reduction("min_max", lambda i, o: Work(cmp=2 * (i - o)), aten("aminmax _aminmax", _from_aten)),
    _reduction("reduce_prod", _prod, onnx("ReduceProd", _from_onnx), aten("prod", _from_aten)),
    _reduction("reduce_l1", _l1, onnx("ReduceL1", _from_onnx), _norms(lambda p: p == 1)),
    _reduction("reduce_l2", _l2, onnx("ReduceL2", _from_onnx), _norms(lambda p: p == 2)),
    _reduction(
        "reduce_norm",
        _norm,
        _norms(lambda p: p not in (0, 1, 2) and not math.isinf(p)),
    ),
    _reduction(
        "reduce_abs_extreme",  # the norms of order 0 (count) and ±∞
        lambda i, o: Work(cmp=2 * i - o),
        _norms(lambda p: p == 0 or math.isinf(p)),
    ),
    _reduction("reduce_sum_square", _sum_square, onnx("ReduceSumSquare", _from_onnx)),
    _reduction("reduce_log_sum", _log_sum, onnx("ReduceLogSum", _from_onnx)),
    _reduction(
        "reduce_log_sum_exp",
        _log_sum_exp,
        onnx("ReduceLogSumExp", _from_onnx),
        aten("logsumexp special_logsumexp", _from_aten),
    ),
    _reduction("variance", _variance, aten("var var_mean", _from_aten)),
    _reduction("deviation", _deviation, aten("std std_mean", _from_aten)),
    _reduction("any", _extreme, aten("any all _is_all_true _is_any_true", _from_aten)),
    _reduction("count_nonzero", lambda i, o: Work(cmp=i, add=i - o), aten("count_nonzero", _from_aten)),
    _reduction("argmax", _extreme, onnx("ArgMax", _arg_from_onnx), aten("argmax", _from_aten)),
    _reduction("argmin", _extreme, onnx("ArgMin", _arg_from_onnx), aten("argmin", _from_aten)),
    OpSpec(  # n numbers on the diagonal
        kind="trace",
        work=lambda call: Work(add=max(0, min(call.shape(0)) - 1)),
        formula=lambda call: Formula("O(n)", str(min(call.shape(0)))),
        window=_window,
        spellings=aten("trace", _from_aten),
    ),
    _reduction("all_equal", lambda i, o: Work(cmp=2 * i - o), (Spelling("aten:equal", _from_aten),)),
    _scan("cumsum", Work(add=1), onnx("CumSum", _scan_axis), aten("cumsum", _scan_axis)),
    _scan("cumprod", Work(mul=1), onnx("CumProd", _scan_axis), aten("cumprod", _scan_axis)),
    _scan("cummax", Work(cmp=1), aten("cummax cummin _cummax_helper _cummin_helper", _scan_axis)),
    _scan("logcumsumexp", Work(cmp=1, add=3, transcendental=2), aten("logcumsumexp", _scan_axis)),
)
