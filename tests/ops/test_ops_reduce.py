"""Work of reductions, running sums, sorting and search: counted on small tensors by hand."""

import pytest
from calls import act, canonical, const

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.work import Work

X = [act(2, 3, 4, 5)]
OVER = {"axes": (2, 3)}  # 120 elements, 6 results of 20
KEPT = [(2, 3, 1, 1)]

CASES = [
    ("reduce_sum", "onnx:ReduceSum", [*X, const(2, value=(2, -1))], KEPT, {}, Work(add=114)),
    ("reduce_sum", "aten:sum.dim_IntList", X, [(2, 3)], {"dim": [2, 3]}, Work(add=114)),
    ("reduce_sum", "onnx:ReduceSum", X, [(2, 3, 4, 5)], {"noop_with_empty_axes": 1}, Work()),
    ("reduce_mean", "onnx:ReduceMean", X, KEPT, OVER, Work(add=114, div=6)),
    ("reduce_max", "onnx:ReduceMax", X, KEPT, OVER, Work(cmp=114)),
    ("reduce_max", "aten:max", X, [()], {}, Work(cmp=119)),
    ("reduce_min", "aten:amin", X, [(2, 3)], {"dim": [2, 3]}, Work(cmp=114)),
    ("min_max", "aten:aminmax", X, [(), ()], {}, Work(cmp=238)),
    ("reduce_prod", "onnx:ReduceProd", X, KEPT, OVER, Work(mul=114)),
    ("reduce_l1", "onnx:ReduceL1", X, KEPT, OVER, Work(cmp=120, add=114)),
    ("reduce_l2", "onnx:ReduceL2", X, KEPT, OVER, Work(mul=120, add=114, transcendental=6)),
    # |x|^p: 120 absolute values and powers, 6 roots
    (
        "reduce_norm",
        "aten:linalg_vector_norm",
        X,
        [(2, 3)],
        {"ord": 3, "dim": [2, 3]},
        Work(cmp=120, add=114, transcendental=126),
    ),
    # 120 absolute values, 114 comparisons
    ("reduce_abs_extreme", "aten:linalg_vector_norm", X, [(2, 3)], {"ord": float("inf"), "dim": [2, 3]}, Work(cmp=234)),
    ("reduce_sum_square", "onnx:ReduceSumSquare", X, KEPT, OVER, Work(mul=120, add=114)),
    ("reduce_log_sum", "onnx:ReduceLogSum", X, KEPT, OVER, Work(add=114, transcendental=6)),
    # largest 114; subtract 120, 120 exponentials, add 114, 6 logarithms, add it back 6
    ("reduce_log_sum_exp", "onnx:ReduceLogSumExp", X, KEPT, OVER, Work(cmp=114, add=240, transcendental=126)),
    # mean 114 + 6; subtract 120, square 120; mean 114 + 6
    ("variance", "aten:var.correction", X, [(2, 3)], {"dim": [2, 3]}, Work(add=348, mul=120, div=12)),
    (
        "deviation",
        "aten:std.correction",
        X,
        [(2, 3)],
        {"dim": [2, 3]},
        Work(add=348, mul=120, div=12, transcendental=6),
    ),
    ("any", "aten:any.dim", X, [(2, 3, 4)], {"dim": 3}, Work(cmp=96)),
    ("count_nonzero", "aten:count_nonzero", X, [()], {}, Work(cmp=120, add=119)),
    ("argmax", "onnx:ArgMax", X, [(2, 1, 4, 5)], {"axis": 1}, Work(cmp=80)),
    ("argmin", "aten:argmin", X, [(2, 3, 4)], {"dim": -1}, Work(cmp=96)),
    ("trace", "aten:trace", [act(4, 6)], [()], {}, Work(add=3)),  # 4 numbers on the diagonal
    # 120 comparisons, 119 conjunctions
    ("all_equal", "aten:equal", [*X, *X], [()], {}, Work(cmp=239)),
    # 24 rows of 5
    ("cumsum", "onnx:CumSum", [*X, const(value=(-1,))], [(2, 3, 4, 5)], {}, Work(add=96)),
    # axis unknown, but 4 rows of 4 either way
    ("cumsum", "onnx:CumSum", [act(4, 4), act()], [(4, 4)], {}, Work(add=12)),
    ("cumprod", "aten:cumprod", X, [(2, 3, 4, 5)], {"dim": 1}, Work(mul=80)),  # 40 rows of 3
    ("cummax", "aten:cummax", X, [(2, 3, 4, 5)] * 2, {"dim": 1}, Work(cmp=80)),
    ("logcumsumexp", "aten:logcumsumexp", X, [(2, 3, 4, 5)], {"dim": 1}, Work(cmp=80, add=240, transcendental=160)),
    # rows of 5: 3 levels of merging
    ("sort", "aten:sort", X, [(2, 3, 4, 5)] * 2, {"dim": -1}, Work(cmp=360)),
    # the 2 largest of 5: a heap of one level; the largest alone: one comparison each
    ("topk", "onnx:TopK", [*X, const(1, value=(2,))], [(2, 3, 4, 2)] * 2, {}, Work(cmp=120)),
    ("topk", "aten:topk", X, [(2, 3, 4, 1)] * 2, {"k": 1, "dim": -1}, Work(cmp=120)),
    # all 120 in one row: 7 levels; rows of 5: 3
    ("median", "aten:median", X, [()], {}, Work(cmp=840)),
    ("median", "aten:median.dim", X, [(2, 3, 4), (2, 3, 4)], {"dim": 3}, Work(cmp=360)),
    ("unique", "onnx:Unique", [act(16)], [None], {}, Work(cmp=64)),  # 16 elements, 4 levels
    ("search", "aten:bucketize.Tensor", [act(10), act(7)], [(10,)], {}, Work(cmp=30)),  # 7 edges: 3 comparisons
    ("search", "aten:searchsorted.Tensor", [act(8), act(10)], [(10,)], {}, Work(cmp=40)),  # 8 edges, 9 places: 4
    # place x: subtract, multiply; count it: add
    ("histogram", "aten:histc", [act(50)], [(10,)], {"bins": 10}, Work(add=100, mul=50)),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_a_running_sum_along_an_unknown_axis_is_not_guessed():
    # (2, 3): 3 additions along the first axis, 4 along the second
    spec, call = canonical("onnx:CumSum", [act(2, 3), act()], [(2, 3)])
    with pytest.raises(UncountableError, match=r"axis is not known, and \(2, 3\)"):
        spec.work(call)
