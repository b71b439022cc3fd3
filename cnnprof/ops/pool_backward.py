"""Gradients of pools.

Canonical inputs: gradient of the output, data, and what else the framework saved. A maximum sends each
gradient to one place: one addition there. An average divides each gradient once and adds it to every tap of
its window.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.pool import from_aten_pool
from cnnprof.ops.pool_global import adaptive_taps
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


def _max_work(call: Call) -> Work:
    return Work(add=call.elements(0))


def _average_work(call: Call) -> Work:
    gradients = call.elements(0)
    return Work(add=gradients * math.prod(call.attr("kernel")), div=gradients)


def _adaptive_work(call: Call) -> Work:
    """Gradient (..., *O), data (..., *I): every tap of every window receives one addition."""
    rank = call.attr("rank")
    return Work(add=adaptive_taps(call.shape(1), call.shape(0)[-rank:]), div=call.elements(0))


def _roi_work(call: Call) -> Work:
    samples: int = call.attr("samples")
    if samples <= 0:
        raise UncountableError(f"{call.op_type}: sampling_ratio 0 takes samples as the boxes are large")
    gradients = call.elements(0)
    return Work(mul=4, add=4) * (gradients * samples**2) + Work(div=gradients)


def _roi_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.attr("data_shape"),)


def _from_roi(call: Call) -> Call:
    names = ("batch_size", "channels", "height", "width")
    shape = tuple(int(call.attr(name)) for name in names)
    return call.with_attributes({"samples": call.get("sampling_ratio", 0), "data_shape": shape})


def _formula(call: Call) -> Formula:
    return Formula("O(E)", str(call.elements(0)))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.shape(1),)


def _from_adaptive(call: Call) -> Call:
    return call.with_attributes({"rank": int(call.op_type.rpartition("pool")[2][0])})


def _plain(call: Call) -> Call:
    return call.with_attributes({})


_MAX = (
    *("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward", "max_pool2d_backward"),
    *("adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward"),
    *("fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
)

SPECS = (
    OpSpec(
        kind="max_pool_backward",
        work=_max_work,
        formula=_formula,
        shapes=_shapes,
        spellings=tuple(Spelling(f"aten:{name}", _plain) for name in _MAX),
    ),
    OpSpec(
        kind="average_pool_backward",
        work=_average_work,
        formula=_formula,
        shapes=_shapes,
        spellings=tuple(Spelling(f"aten:avg_pool{d}d_backward", from_aten_pool) for d in (2, 3)),
    ),
    OpSpec(
        kind="adaptive_average_pool_backward",
        work=_adaptive_work,
        formula=_formula,
        shapes=_shapes,
        spellings=tuple(Spelling(f"aten:_adaptive_avg_pool{d}d_backward", _from_adaptive) for d in (2, 3)),
    ),
    OpSpec(
        kind="roi_align_backward",
        work=_roi_work,
        formula=_formula,
        shapes=_roi_shapes,
        spellings=(
            Spelling("torchvision:_roi_align_backward", _from_roi),
            Spelling("torchvision:_ps_roi_align_backward", _from_roi),
        ),
    ),
)
