"""Softmax and its kin: every position along an axis, normalised.

Work per element: softmax 4 (largest, subtract, sum, divide) and an exponential; log-softmax the same with the
division replaced by a subtraction, and one logarithm a row; hardmax finds the largest and compares with it.
Canonical attribute: ``axes``.
"""

from __future__ import annotations

import math

from cnnprof.ops.naming import aten, axis_of, onnx
from cnnprof.ops.rules import linear_formula, same_shape
from cnnprof.ops.spec import Call, OpSpec
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _softmax_from_onnx(call: Call) -> Call:
    """Before opset 13 Softmax flattened everything from ``axis`` (default 1) on into one row."""
    rank = len(call.shape(0))
    if 0 < call.opset < 13:
        first = axis_of(call.get("axis", 1), rank)
        return call.with_attributes({"axes": tuple(range(first, rank))})
    return call.with_attributes({"axes": (axis_of(call.get("axis", -1), rank),)})


def _softmax_from_aten(call: Call) -> Call:
    return call.with_attributes({"axes": (axis_of(call.get("dim", -1), len(call.shape(0))),)})


def _rows(call: Call) -> int:
    """How many rows are normalised."""
    shape, axes = call.shape(0), call.attr("axes")
    return math.prod(size for axis, size in enumerate(shape) if axis not in axes)


def _softmax_work(call: Call) -> Work:
    return Work(cmp=1, add=2, div=1, transcendental=1) * call.elements(0)


def _log_softmax_work(call: Call) -> Work:
    return Work(cmp=1, add=3, transcendental=1) * call.elements(0) + Work(transcendental=_rows(call))


def _hardmax_work(call: Call) -> Work:
    return Work(cmp=2) * call.elements(0)  # find the largest, then compare with it


def _softmax_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    axes = call.attr("axes") if "axes" in call.attributes else (len(call.shape(0)) - 1,)
    maps: tuple[AxisMap, ...] = tuple(All() if axis in axes else Same(axis) for axis in range(len(call.shape(0))))
    return (Axes(maps), *(None for _ in call.inputs[1:]))


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="softmax",
        work=_softmax_work,
        formula=linear_formula,
        window=_softmax_window,
        shapes=same_shape,
        spellings=(
            *onnx("Softmax", _softmax_from_onnx),
            *aten("_softmax softmax _safe_softmax", _softmax_from_aten),
        ),
    ),
    OpSpec(
        kind="log_softmax",
        work=_log_softmax_work,
        formula=linear_formula,
        window=_softmax_window,
        shapes=same_shape,
        spellings=(
            *onnx("LogSoftmax", _softmax_from_onnx),
            *aten("_log_softmax log_softmax", _softmax_from_aten),
        ),
    ),
    OpSpec(
        kind="hardmax",
        work=_hardmax_work,
        formula=linear_formula,
        window=_softmax_window,
        shapes=same_shape,
        spellings=onnx("Hardmax", _softmax_from_onnx),
    ),
)
