"""How kinds are spelled abroad, and the specs of kinds that need no rule of their own.

ATen's in-place variants have the same schema but a name that ends in ``_``; :func:`aten` spells both.
"""

from __future__ import annotations

from collections.abc import Iterable

from cnnprof.ir.tensor import Shape
from cnnprof.ops.rules import free, linear_formula, no_cost_formula, per_output, pointwise_window
from cnnprof.ops.spec import (
    Call,
    FormulaRule,
    Guard,
    Memory,
    Normalise,
    OpSpec,
    ShapeRule,
    Spelling,
    UncountableError,
    WindowRule,
    WorkRule,
)
from cnnprof.ops.work import Work

__all__ = [
    "aten",
    "axis_of",
    "broadcast_shape",
    "given",
    "microsoft",
    "moving",
    "onnx",
    "pointwise",
    "pointwise_shapes",
    "without_attributes",
]


def onnx(
    names: str, normalise: Normalise | None = None, when: Guard | None = None, domain: str = "onnx"
) -> tuple[Spelling, ...]:
    """Spellings of ``ai.onnx`` operators (or of another ``domain``), names separated by blanks."""
    return tuple(Spelling(f"{domain}:{name}", normalise, when) for name in names.split())


def microsoft(names: str, normalise: Normalise | None = None, when: Guard | None = None) -> tuple[Spelling, ...]:
    return onnx(names, normalise, when, "com.microsoft")


def aten(names: str, normalise: Normalise | None = None, when: Guard | None = None) -> tuple[Spelling, ...]:
    """Spellings of ATen operators and their in-place variants: "add", or one overload "add.Tensor"."""
    found: list[Spelling] = []
    for name in names.split():
        base, dot, overload = name.partition(".")
        found.append(Spelling(f"aten:{name}", normalise, when))
        if not base.endswith("_"):
            found.append(Spelling(f"aten:{base}_{dot}{overload}", normalise, when))
    return tuple(found)


def without_attributes(call: Call) -> Call:
    """Slopes, bounds and scalar operands change no cost; without them both front ends agree."""
    return call.with_attributes({})


def axis_of(value: int, rank: int) -> int:
    """A possibly negative axis as one in [0, rank). A scalar (rank 0) has the one axis 0, as in torch."""
    axis = value + max(rank, 1) if value < 0 else value
    if not 0 <= axis < max(rank, 1):
        raise UncountableError(f"axis {value} is outside a tensor of rank {rank}")
    return axis


def given(call: Call, name: str, index: int) -> tuple[int, ...] | None:
    """What older opsets give as attribute ``name`` and newer ones as input ``index``; None if not known."""
    value = call.get(name)
    if value is not None:
        return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)
    return call.value(index) if index >= 0 else None


def broadcast_shape(*shapes: Shape) -> Shape:
    """NumPy's broadcasting rule."""
    rank = max(map(len, shapes), default=0)
    result: list[int] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            raise UncountableError(f"shapes {shapes} don't broadcast")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def pointwise_shapes(call: Call) -> tuple[Shape | None, ...]:
    shapes = [call.shape(i) for i in range(len(call.inputs)) if call.has(i)]
    return (broadcast_shape(*shapes),) * max(1, len(call.outputs))


def pointwise(
    kind: str,
    work: Work | WorkRule,
    *spellings: Iterable[Spelling],
    shapes: ShapeRule | None = pointwise_shapes,
    arithmetic: bool = True,
) -> OpSpec:
    """An elementwise kind with broadcasting; ``work`` is for one element of the output, or a rule."""
    return OpSpec(
        kind=kind,
        work=per_output(work) if isinstance(work, Work) else work,
        formula=linear_formula,
        window=pointwise_window,
        shapes=shapes,
        arithmetic=arithmetic,
        spellings=tuple(spelling for group in spellings for spelling in group),
    )


def moving(
    kind: str,
    window: WindowRule | None,
    *spellings: Iterable[Spelling],
    shapes: ShapeRule | None = None,
    memory: Memory = Memory.FRESH,
    work: WorkRule | None = free,
    formula: FormulaRule = no_cost_formula,
) -> OpSpec:
    """A kind that only moves or describes data: no work, no parameters."""
    return OpSpec(
        kind=kind,
        work=work,
        formula=formula,
        window=window,
        shapes=shapes,
        memory=memory,
        arithmetic=False,
        spellings=tuple(spelling for group in spellings for spelling in group),
    )
