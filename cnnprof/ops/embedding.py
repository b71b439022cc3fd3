"""Embedding tables: lookups cost no arithmetic, bags add up what they look up.

Canonical inputs: weight (rows, D), indices, then offsets and per-sample weights (bags). Canonical attribute
of bags: ``mode`` ("sum", "mean", "max"). For n indices in b bags of width D: (n − b)·D additions
(comparisons for the maximum), b·D divisions for the mean, n·D multiplications with per-sample weights.
Gradients add n·D numbers.
"""

from __future__ import annotations

from cnnprof.ir.dtype import DType
from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.rules import free, no_cost_formula, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import Axes, DataDependent, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "is_table"]

_MODES = ("sum", "mean", "max")


def _window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    """Position by position of the indices; which row it is isn't a matter of position."""
    places = Axes(tuple(Same(axis) for axis in range(len(call.shape(1)))))
    return (None, places, *(None for _ in call.inputs[2:]))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    return ((*call.shape(1), *call.shape(0)[1:]),)


def is_table(call: Call) -> bool:
    """True for an ONNX Gather of rows of a constant matrix that isn't made of indices."""
    table = call.inputs[0] if call.inputs else None
    if table is None or not table.is_weight or table.dtype in (DType.INT64, DType.INT32, DType.BOOL):
        return False
    return table.shape is not None and len(table.shape) == 2 and call.get("axis", 0) in (0, -2)


def _plain(call: Call) -> Call:
    return call.with_attributes({})


def _bag_work(call: Call) -> Work:
    bags, width = call.out_shape()
    looked_up = call.elements(1) * width
    joined = max(0, looked_up - bags * width)
    if call.attr("mode") == "max":
        return Work(cmp=joined)
    mean = bags * width if call.attr("mode") == "mean" else 0
    return Work(add=joined, div=mean, mul=looked_up if call.has(3) else 0)


def _bag_formula(call: Call) -> Formula:
    return product("n·D", call.elements(1), call.shape(0)[-1])


def _bag_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return tuple(DataDependent() if index == 1 else None for index in range(len(call.inputs)))


def _from_bag(call: Call) -> Call:
    """weight, indices, offsets, per_sample_weights; mode 0 sum, 1 mean, 2 max."""
    return call.with_attributes({"mode": _MODES[int(call.get("mode", 0))]})


def _backward_work(call: Call) -> Work:
    return Work(add=call.elements(1) * call.shape(0)[-1])


def _backward_formula(call: Call) -> Formula:
    return product("n·D", call.elements(1), call.shape(0)[-1])


_BAGS = ("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
_BACKWARD = (
    *("embedding_dense_backward", "embedding_backward", "_embedding_bag_backward"),
    "_embedding_bag_dense_backward",
)

SPECS = (
    OpSpec(
        kind="embedding",
        work=free,
        formula=no_cost_formula,
        window=_window,
        shapes=_shapes,
        roles={0: Role.PARAMETER},
        arithmetic=False,
        spellings=(
            Spelling("aten:embedding", _plain),
            Spelling("onnx:Gather", _plain, is_table),
            Spelling("com.microsoft:TorchEmbedding", _plain),
        ),
    ),
    OpSpec(
        kind="embedding_bag",
        work=_bag_work,
        formula=_bag_formula,
        window=_bag_window,
        roles={0: Role.PARAMETER},
        spellings=tuple(Spelling(f"aten:{name}", _from_bag) for name in _BAGS),
    ),
    OpSpec(
        kind="embedding_backward",
        work=_backward_work,
        formula=_backward_formula,
        spellings=tuple(Spelling(f"aten:{name}", _plain) for name in _BACKWARD),
    ),
)
