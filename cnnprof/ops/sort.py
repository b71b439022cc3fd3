"""Sorting, selection and search.

Comparisons are those of the usual algorithm on a row of n: a merge sort n·⌈log₂ n⌉; the k largest with a
heap n·⌈log₂ k⌉ (n for k = 1); a binary search ⌈log₂(n + 1)⌉ for each value looked up. Every output
position can come from anywhere along the axis.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, microsoft, onnx
from cnnprof.ops.relations import first_only, same, unpredictable
from cnnprof.ops.rules import input_formula, linear_formula, same_shape
from cnnprof.ops.spec import Call, OpSpec, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]
Shapes = tuple[Shape | None, ...]


def _levels(n: int) -> int:
    """⌈log₂ n⌉, 0 for n ≤ 1."""
    return max(0, n - 1).bit_length()


def _axis(call: Call) -> Call:
    axis = axis_of(call.get("axis", call.get("dim", -1)), len(call.shape(0)))
    k = call.get("k")
    if k is None and call.op_type.startswith("onnx:TopK"):  # an input from opset 10 on
        value = call.value(1)
        k = value[0] if value else None
    return call.with_attributes({"axis": axis} | ({} if k is None else {"k": k}))


def _window(call: Call, _output: int) -> Relations:
    axis = call.attr("axis")
    maps: tuple[AxisMap, ...] = tuple(All() if a == axis else Same(a) for a in range(len(call.shape(0))))
    return first_only(call, Axes(maps))


def _length(call: Call) -> int:
    shape = call.shape(0)
    return shape[call.attr("axis")] if shape else 1


def _sort_work(call: Call) -> Work:
    return Work(cmp=call.elements(0) * _levels(_length(call)))


def _topk_work(call: Call) -> Work:
    k = call.get("k", call.out_shape()[call.attr("axis")] if call.shape(0) else 1)
    return Work(cmp=call.elements(0) * max(1, _levels(k)))


def _topk_shapes(call: Call) -> Shapes:
    shape, axis = call.shape(0), call.attr("axis")
    if "k" not in call.attributes:
        return (None, None)
    return ((*shape[:axis], call.attr("k"), *shape[axis + 1 :]),) * 2


def _middle_shapes(call: Call) -> Shapes:
    return (None,) * max(1, len(call.outputs))


def _unique_work(call: Call) -> Work:
    n = call.elements(0)
    return Work(cmp=n * _levels(n))


def _search_work(call: Call) -> Work:
    """bucketize(values, edges) and searchsorted(edges, values): edges are sorted along their last axis."""
    edges = call.shape(0) if "searchsorted" in call.op_type else call.shape(1)
    if not edges:
        raise UncountableError(f"{call.op_type}: the edges have no axis")
    return Work(cmp=call.out_elements() * edges[-1].bit_length())


def _search_window(call: Call, _output: int) -> Relations:
    index = 1 if "searchsorted" in call.op_type else 0
    rank = len(call.shape(index))
    return tuple(same(rank) if i == index else None for i in range(len(call.inputs)))


def _median_work(call: Call) -> Work:
    n = call.elements(0)
    axis = call.get("dim")
    row = n if axis is None else call.shape(0)[axis_of(axis, len(call.shape(0)))]
    return Work(cmp=n * _levels(row))


def _histogram_work(call: Call) -> Work:
    n = call.elements(0)
    return Work(add=2 * n, mul=n) if math.prod(call.shape(0)) else Work()


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="topk",
        work=_topk_work,
        formula=input_formula,
        window=_window,
        shapes=_topk_shapes,
        spellings=(*onnx("TopK", _axis), *aten("topk", _axis)),
    ),
    OpSpec(
        kind="sort",
        work=_sort_work,
        formula=input_formula,
        window=_window,
        shapes=same_shape,
        spellings=aten("sort argsort msort", _axis),
    ),
    OpSpec(
        kind="median",
        work=_median_work,
        formula=input_formula,
        window=unpredictable,
        shapes=_middle_shapes,
        spellings=aten("median nanmedian kthvalue mode quantile nanquantile"),
    ),
    OpSpec(
        kind="unique",
        work=_unique_work,
        formula=input_formula,
        window=unpredictable,
        spellings=(
            *onnx("Unique"),
            *microsoft("Unique"),
            *aten("_unique _unique2 unique_dim unique_consecutive unique_dim_consecutive"),
        ),
    ),
    OpSpec(
        kind="search",
        work=_search_work,
        formula=linear_formula,
        window=_search_window,
        spellings=aten("bucketize searchsorted"),
    ),
    OpSpec(
        kind="histogram",
        work=_histogram_work,
        formula=input_formula,
        window=unpredictable,
        spellings=aten("histc bincount"),
    ),
)
