"""Tensors that share memory, where one of them was written.

Kind ``refresh``: nothing runs; it is the edge that SSA form needs when PyTorch code writes into a view
(``mask[:, :8] = 1``) and then reads another tensor of the same memory. Canonical inputs: the tensor as it was, the
tensor that was written. Attribute ``mode``: "same" or "reshape" (all is new), "slice" (the written one is a part
of it, at ``start`` and ``step`` per axis), "inside" (it is such a part of the written one), "overlap" (neither,
simply).
"""

from __future__ import annotations

from cnnprof.ir.tensor import Shape
from cnnprof.ops.relations import reshaped, same
from cnnprof.ops.rules import free, no_cost_formula
from cnnprof.ops.spec import Call, Memory, OpSpec, Spelling
from cnnprof.ops.window import Axes, DataDependent, Relation, Slide, Spread

__all__ = ["SPECS"]


def _window(call: Call, output: int) -> tuple[Relation | None, ...]:
    mode, out = call.attr("mode"), call.out_shape(output)
    if mode == "overlap":
        return same(len(out)), DataDependent()
    if mode in ("same", "reshape"):
        return None, reshaped(call.shape(1), out)
    rows = list(enumerate(zip(call.attr("start"), call.attr("step"), strict=True)))
    if mode == "inside":
        return None, Axes(tuple(Slide(axis, stride=step, pad=-start) for axis, (start, step) in rows))
    # Outside the written part the tensor is what it was.
    return same(len(out)), Axes(tuple(Spread(axis, 1, step, 1, -start) for axis, (start, step) in rows))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(0),)


SPECS = (
    OpSpec(
        kind="refresh",
        work=free,
        formula=no_cost_formula,
        window=_window,
        shapes=_shapes,
        memory=Memory.VIEW,
        arithmetic=False,
        spellings=(Spelling("torch:refresh"),),
    ),
)
