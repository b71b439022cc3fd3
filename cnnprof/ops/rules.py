"""Small rules that many families share: zero work, one unit per output, broadcasting windows."""

from __future__ import annotations

from functools import lru_cache

from cnnprof.ir.tensor import Shape
from cnnprof.ops.spec import Call, Formula, WorkRule
from cnnprof.ops.window import All, Axes, AxisMap, Fixed, Relation, Same
from cnnprof.ops.work import NO_WORK, Work

__all__ = [
    "broadcast_axes",
    "dims",
    "everything",
    "first_same",
    "free",
    "input_formula",
    "linear_formula",
    "no_cost_formula",
    "per_output",
    "pointwise_window",
    "product",
    "same",
    "same_shape",
]


def free(_call: Call) -> Work:
    """Zero by definition: layout, shape and gather operators (their bytes still count)."""
    return NO_WORK


def per_output(unit: Work) -> WorkRule:
    """``unit`` of work for every element of output 0."""

    def rule(call: Call) -> Work:
        return unit * call.out_elements()

    return rule


def product(symbols: str, *numbers: int) -> Formula:
    """The formula O(symbols) with ``numbers`` multiplied out in the same order."""
    return Formula(f"O({symbols})", "·".join(str(n) for n in numbers) or "1")


def linear_formula(call: Call) -> Formula:
    """O(E), E = elements of output 0: what pointwise operators cost."""
    return Formula("O(E)", str(call.out_elements()))


def input_formula(call: Call) -> Formula:
    """O(E), E = elements of input 0: reductions, searches, scans."""
    return Formula("O(E_in)", str(call.elements(0)))


def no_cost_formula(_call: Call) -> Formula:
    return Formula("O(1)", "0")


def dims(count: int) -> range:
    """Indices of the spatial axes of a channels-first tensor with ``count`` of them."""
    return range(2, 2 + count)


@lru_cache(maxsize=64)
def same(rank: int) -> Axes:
    """Every position from the same position."""
    return Axes(tuple(Same(axis) for axis in range(rank)))


@lru_cache(maxsize=256)
def first_same(rank: int, inputs: int) -> tuple[Relation | None, ...]:
    """Every position of the first of ``inputs`` from the same position, and of no other."""
    return (same(rank), *[None] * (inputs - 1))


@lru_cache(maxsize=4096)
def broadcast_axes(shape: Shape, out: Shape) -> Axes:
    """How an operand of ``shape`` is read by an elementwise result of ``out`` (NumPy rules)."""
    if shape == out:
        return same(len(shape))
    offset = len(out) - len(shape)
    maps: list[AxisMap] = []
    for axis, size in enumerate(shape):
        target = axis + offset
        broadcast = size == 1 and (target < 0 or out[target] != 1)
        maps.append(Fixed(0) if broadcast or target < 0 else Same(target))
    return Axes(tuple(maps))


def pointwise_window(call: Call, output: int) -> tuple[Relation | None, ...]:
    """Elementwise with broadcasting: a data input is read where the output stands; weights aren't data."""
    out = call.out_shape(output)
    only = call.inputs[0] if len(call.inputs) == 1 else None
    if only is not None and only.shape == out and not only.is_weight:
        return first_same(len(out), 1)
    return tuple(
        None if tensor is None or tensor.is_weight or tensor.shape is None else broadcast_axes(tensor.shape, out)
        for tensor in call.inputs
    )


def everything(shape: Shape) -> Axes:
    """All of an input, from every output position."""
    return Axes(tuple(All() for _ in shape))


def same_shape(call: Call) -> tuple[Shape | None, ...]:
    """Shape rule: every output is as large as input 0."""
    return (call.shape(0),) * max(1, len(call.outputs))
