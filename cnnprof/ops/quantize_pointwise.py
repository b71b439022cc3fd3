"""onnxruntime's operators on quantised tensors: sums, products, activations, concatenation, means.

They are counted as what they mean: each operand dequantised, the operation on floats, the result quantised.
(A runtime may replace those on 8 bits by a table of 256 results.)

Canonical inputs: the data operands first, then scales and zero points. Canonical attributes: ``axes``
(softmax, mean), ``axis`` and ``operands`` (concatenation), ``keepdims`` where true.
"""

from __future__ import annotations

from collections.abc import Callable

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import broadcast_shape
from cnnprof.ops.quantize import DEQUANTISE, QUANTISE, constants, each, first_window
from cnnprof.ops.rules import linear_formula, pointwise_window, product, same_shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, WorkRule
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _formula(call: Call) -> Formula:
    return product("E", call.elements(0))


def _plain(call: Call) -> Call:
    return call.with_attributes({})


# -- QLinear --------------------------------------------------------------------------------------------


def _one(operation: Work) -> WorkRule:
    """One operand: dequantise, operate, quantise, all at the output's size."""
    return each(DEQUANTISE + operation + QUANTISE)


def _two_work(operation: Work) -> WorkRule:
    def rule(call: Call) -> Work:
        operands = call.elements(0) + call.elements(1)
        return DEQUANTISE * operands + (operation + QUANTISE) * call.out_elements()

    return rule


def _two_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (broadcast_shape(call.shape(0), call.shape(1)),)


def _two_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    data = call.with_attributes({}, call.inputs[:2])
    return (*pointwise_window(data, output), *(None for _ in call.inputs[2:]))


def _from_two(call: Call) -> Call:
    """A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point."""
    a, a_scale, a_zero, b, *rest = call.inputs
    return call.with_attributes({}, (a, b, a_scale, a_zero, *rest))


def _where_work(call: Call) -> Work:
    """condition, X, Y: both branches at their own size, chosen and quantised at the output's."""
    operands = call.elements(1) + call.elements(2)
    return DEQUANTISE * operands + QUANTISE * call.out_elements()


def _where_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (broadcast_shape(call.shape(0), call.shape(1), call.shape(2)),)


def _where_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    data = call.with_attributes({}, call.inputs[:3])
    return (*pointwise_window(data, output), *(None for _ in call.inputs[3:]))


def _from_where(call: Call) -> Call:
    """condition, X, x_scale, x_zero_point, Y, y_scale, y_zero_point, z_scale, z_zero_point."""
    condition, x, x_scale, x_zero, y, *rest = call.inputs
    return call.with_attributes({}, (condition, x, y, x_scale, x_zero, *rest))


def _softmax_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    axes, rank = call.attr("axes"), len(call.shape(0))
    maps = tuple(All() if axis in axes else Same(axis) for axis in range(rank))
    return (Axes(maps), *(None for _ in call.inputs[1:]))


def _from_softmax(call: Call) -> Call:
    """Before opset 13 everything from ``axis`` on is one row."""
    rank = len(call.shape(0))
    axis = int(call.get("axis", -1)) % max(1, rank)
    axes = tuple(range(axis, rank)) if int(call.get("opset", 13)) < 13 else (axis,)
    return call.with_attributes({"axes": axes})


# -- concatenation, mean --------------------------------------------------------------------------------


def _concat_work(call: Call) -> Work:
    return (DEQUANTISE + QUANTISE) * call.out_elements()


def _concat_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    axis, start = call.attr("axis"), 0
    relations: list[Relation | None] = []
    for index in range(call.attr("operands")):
        shape = call.shape(index)
        maps: list[AxisMap] = [Same(position) for position in range(len(shape))]
        maps[axis] = Slide(axis, pad=start)
        start += shape[axis]
        relations.append(None if call.input(index).is_weight else Axes(tuple(maps)))
    return (*relations, *(None for _ in call.inputs[len(relations) :]))


def _concat_shapes(call: Call) -> tuple[Shape | None, ...]:
    axis, first = call.attr("axis"), list(call.shape(0))
    first[axis] = sum(call.shape(index)[axis] for index in range(call.attr("operands")))
    return (tuple(first),)


def _from_concat(call: Call) -> Call:
    """Y_scale, Y_zero_point, then (tensor, scale, zero point) of each operand."""
    head, rest = call.inputs[:2], call.inputs[2:]
    tensors = rest[::3]
    others = tuple(tensor for index, tensor in enumerate(rest) if index % 3)
    axis = int(call.attr("axis"))
    moved = call.with_attributes({}, (*tensors, *others, *head))
    rank = len(moved.shape(0))
    return moved.with_attributes({"axis": axis % max(1, rank), "operands": len(tensors)})


def _mean_work(call: Call) -> Work:
    elements, out = call.elements(0), call.out_elements()
    return DEQUANTISE * elements + Work(add=elements - out, div=out) + QUANTISE * out


def _mean_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    axes, rank = call.attr("axes"), len(call.shape(0))
    kept = [axis for axis in range(rank) if axis not in axes]
    maps: list[AxisMap] = []
    for axis in range(rank):
        target = axis if call.get("keepdims", False) else (kept.index(axis) if axis in kept else 0)
        maps.append(All() if axis in axes else Same(target))
    return (Axes(tuple(maps)), *(None for _ in call.inputs[1:]))


def _mean_shapes(call: Call) -> tuple[Shape | None, ...]:
    axes, shape = call.attr("axes"), call.shape(0)
    if call.get("keepdims", False):
        return (tuple(1 if axis in axes else size for axis, size in enumerate(shape)),)
    return (tuple(size for axis, size in enumerate(shape) if axis not in axes),)


def _from_mean(call: Call) -> Call:
    rank = len(call.shape(0))
    axes = call.get("axes") or range(rank)
    keep = {"keepdims": True} if call.get("keepdims", 1) else {}
    return call.with_attributes({"axes": tuple(sorted(axis % max(1, rank) for axis in axes))} | keep)


def _pointwise(kind: str, operation: Work, *names: str, two: bool = False) -> OpSpec:
    work: Callable[[Work], WorkRule] = _two_work if two else _one
    return OpSpec(
        kind=kind,
        work=work(operation),
        formula=linear_formula,
        window=_two_window if two else first_window,
        shapes=_two_shapes if two else same_shape,
        roles=constants(2 if two else 1),
        spellings=tuple(Spelling(f"com.microsoft:{name}", _from_two if two else _plain) for name in names),
    )


SPECS = (
    _pointwise("add_quantized", Work(add=1), "QLinearAdd", two=True),
    _pointwise("mul_quantized", Work(mul=1), "QLinearMul", two=True),
    _pointwise("sigmoid_quantized", Work(transcendental=1), "QLinearSigmoid"),
    _pointwise("leaky_relu_quantized", Work(cmp=1, mul=1), "QLinearLeakyRelu"),
    OpSpec(
        kind="softmax_quantized",
        work=_one(Work(cmp=1, add=2, div=1, transcendental=1)),
        formula=linear_formula,
        window=_softmax_window,
        shapes=same_shape,
        roles=constants(1, 5),
        spellings=(Spelling("com.microsoft:QLinearSoftmax", _from_softmax),),
    ),
    OpSpec(
        kind="where_quantized",
        work=_where_work,
        formula=linear_formula,
        window=_where_window,
        shapes=_where_shapes,
        roles=constants(3),
        spellings=(Spelling("com.microsoft:QLinearWhere", _from_where),),
    ),
    OpSpec(
        kind="concat_quantized",
        work=_concat_work,
        formula=linear_formula,
        window=_concat_window,
        shapes=_concat_shapes,
        spellings=(Spelling("com.microsoft:QLinearConcat", _from_concat),),
    ),
    OpSpec(
        kind="reduce_mean_quantized",
        work=_mean_work,
        formula=_formula,
        window=_mean_window,
        shapes=_mean_shapes,
        roles=constants(1, 5),
        spellings=(Spelling("com.microsoft:QLinearReduceMean", _from_mean),),
    ),
)
