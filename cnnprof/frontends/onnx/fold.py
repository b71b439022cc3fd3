"""Evaluates the small integer subgraphs that steer shapes, in plain Python.

``evaluate`` answers for one node whose inputs' values (or, for Shape and Size, shapes) are known. The usual
operators stand here and in :mod:`~cnnprof.frontends.onnx.rearrange`; the rare ones go to onnx's reference
evaluator (:mod:`~cnnprof.frontends.onnx.reference`). Nothing above ``MAX_ELEMENTS`` is computed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.rearrange import REARRANGE
from cnnprof.frontends.onnx.records import Node
from cnnprof.frontends.onnx.values import MAX_ELEMENTS, Value, wrap

__all__ = ["evaluate", "foldable"]

Inputs = Sequence[Value | None]


def foldable(node: Node) -> bool:
    """True if :func:`evaluate` knows the operator."""
    return node.domain == "" and (node.op_type in _TABLE or node.op_type in ("Shape", "Size"))


def evaluate(node: Node, inputs: Sequence[Info | None]) -> list[Value] | None:
    """The values of the node's outputs, or None where they aren't known (or too many)."""
    kind = node.op_type
    if kind in ("Shape", "Size"):
        return _of_shape(node, inputs)
    rule = _TABLE.get(kind)
    if rule is None or node.domain:
        return None
    values: list[Value | None] = []
    for info in inputs:
        if info is not None and info.value is None:
            return None
        values.append(None if info is None else info.value)
    try:
        found = rule(node, values)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None  # the node is malformed; shape inference says what it can
    if found is None:
        return None
    return list(found) if isinstance(found, tuple) else [found]


def _of_shape(node: Node, inputs: Sequence[Info | None]) -> list[Value] | None:
    shape = inputs[0].shape if inputs and inputs[0] is not None else None
    if shape is None:
        return None
    if node.op_type == "Size":
        return [Value(7, (), (math.prod(shape),))]
    start, end = node.plain("start", 0), node.plain("end")
    part = shape[start:] if end is None else shape[start:end]
    return [Value(7, (len(part),), tuple(part))]


# -- elementwise --------------------------------------------------------------------------------------


def _broadcast(values: Sequence[Value]) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    """The common shape, and every operand's elements spread over it."""
    rank = max(len(v.shape) for v in values)
    shape: list[int] = []
    for axis in range(-rank, 0):
        sizes = {v.shape[axis] for v in values if len(v.shape) >= -axis} - {1}
        if len(sizes) > 1:
            raise ValueError("shapes don't broadcast")
        shape.append(sizes.pop() if sizes else 1)
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError("too many elements")
    return tuple(shape), [spread(v, tuple(shape)) for v in values]


def spread(value: Value, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """``value`` broadcast to ``shape``, flat."""
    if value.shape == shape:
        return value.data
    if len(value.data) == 1:
        return value.data * math.prod(shape)
    own = (1,) * (len(shape) - len(value.shape)) + value.shape
    index = [0]
    step = len(value.data)
    for size, have in zip(shape, own, strict=True):
        step = step // have if have else 0
        index = [i + (k * step if have != 1 else 0) for i in index for k in range(size)]
    return tuple(value.data[i] for i in index)


def _given(values: Inputs) -> list[Value]:
    found = [v for v in values if v is not None]
    if not found:
        raise ValueError("no input")
    return found


def _binary(apply: Callable[[Any, Any], Any], elem: int = 0) -> Callable[[Node, Inputs], Value]:
    def rule(_node: Node, values: Inputs) -> Value:
        operands = _given(values)
        if apply is not _power and len({value.elem for value in operands}) != 1:
            raise ValueError("types don't fit")
        kind = elem or operands[0].elem
        shape, spreads = _broadcast(operands)
        result: Sequence[Any] = spreads[0]
        for other in spreads[1:]:
            result = [wrap(kind, apply(a, b)) for a, b in zip(result, other, strict=True)]
        return Value(kind, shape, tuple(result))

    return rule


def _unary(apply: Callable[[Any], Any], elem: int = 0) -> Callable[[Node, Inputs], Value]:
    def rule(_node: Node, values: Inputs) -> Value:
        (value,) = _given(values)
        kind = elem or value.elem
        return Value(kind, value.shape, tuple(wrap(kind, apply(v)) for v in value.data))

    return rule


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, float):
        return a / b if b else math.copysign(math.inf, a) if a else math.nan
    quotient = abs(a) // abs(b)  # integers divide towards zero
    return quotient if (a < 0) == (b < 0) else -quotient


def _power(a: Any, b: Any) -> Any:
    if abs(b) > 64:
        raise OverflowError("exponent")
    return a**b


def _mod(node: Node, values: Inputs) -> Value:
    fmod = bool(node.plain("fmod", 0))
    return _binary(lambda a, b: math.fmod(a, b) if fmod else a % b)(node, values)


def _where(_node: Node, values: Inputs) -> Value:
    operands = _given(values)
    if operands[1].elem != operands[2].elem:
        raise ValueError("types don't fit")
    shape, (condition, yes, no) = _broadcast(operands)
    return Value(operands[1].elem, shape, tuple(y if c else n for c, y, n in zip(condition, yes, no, strict=True)))


def _cast(node: Node, values: Inputs) -> Value:
    operands = _given(values)
    elem = operands[1].elem if node.op_type == "CastLike" else node.plain("to", 0)
    if elem not in _CASTS:
        raise ValueError("not a type that steers shapes")
    return Value(elem, operands[0].shape, tuple(wrap(elem, v) for v in operands[0].data))


def _half_even(value: Any) -> Any:
    return float(round(value)) if math.isfinite(value) else value


_CASTS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13})
_BOOL = 9
Rule = Callable[[Node, Inputs], Any]
_TABLE: dict[str, Rule] = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Div": _binary(_divide),
    "Pow": _binary(_power),
    "Min": _binary(min),
    "Max": _binary(max),
    "Sum": _binary(operator.add),
    "Mod": _mod,
    "Equal": _binary(operator.eq, _BOOL),
    "Less": _binary(operator.lt, _BOOL),
    "LessOrEqual": _binary(operator.le, _BOOL),
    "Greater": _binary(operator.gt, _BOOL),
    "GreaterOrEqual": _binary(operator.ge, _BOOL),
    "And": _binary(lambda a, b: bool(a) and bool(b), _BOOL),
    "Or": _binary(lambda a, b: bool(a) or bool(b), _BOOL),
    "Xor": _binary(lambda a, b: bool(a) != bool(b), _BOOL),
    "Not": _unary(operator.not_, _BOOL),
    "Neg": _unary(operator.neg),
    "Abs": _unary(abs),
    "Floor": _unary(lambda v: float(math.floor(v)) if math.isfinite(v) else v),
    "Ceil": _unary(lambda v: float(math.ceil(v)) if math.isfinite(v) else v),
    "Round": _unary(_half_even),
    "Sqrt": _unary(math.sqrt),
    "Relu": _unary(lambda v: max(v, 0)),
    "Reciprocal": _unary(lambda v: _divide(1.0, v)),
    "Identity": _unary(lambda v: v),
    "Where": _where,
    "Cast": _cast,
    "CastLike": _cast,
    **REARRANGE,
}
