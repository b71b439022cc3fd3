"""Pools whose windows follow from the sizes: global, adaptive, over regions of interest; and unpooling.

Global pools reduce all spatial axes; canonical attributes ``channels_last`` where true, ``p`` for Lp.
Adaptive pools: output o along an axis of length I and O outputs averages [⌊o·I/O⌋, ⌈(o+1)·I/O⌉); the
windows overlap where O doesn't divide I, and every tap of every window counts. Canonical attribute
``output_size``. Region pools: ``samples`` per axis and bin; each bilinear sample is 3 lerps (6 additions, 3
multiplications), then the bin's mean or maximum. Where the number of samples follows from the boxes the
work can't be counted. Unpooling moves values to remembered places: no arithmetic.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.conv_variants import REQUANTISE
from cnnprof.ops.pool import lp_norm
from cnnprof.ops.rules import free, no_cost_formula, product
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, DataDependent, Lookup, Relation, Same
from cnnprof.ops.windowed import per_axis
from cnnprof.ops.work import Work

__all__ = ["SPECS", "adaptive_taps"]


# -- global ---------------------------------------------------------------------------------------------


def _global_average_work(call: Call) -> Work:
    out = call.out_elements()
    return Work(add=call.elements(0) - out, div=out)


def _global_max_work(call: Call) -> Work:
    return Work(cmp=call.elements(0) - call.out_elements())


def _global_lp_work(call: Call) -> Work:
    return lp_norm(call.attr("p"), call.elements(0), call.out_elements())


def _global_quantized_work(call: Call) -> Work:
    return _global_average_work(call) + REQUANTISE * call.out_elements()


def _input_formula(call: Call) -> Formula:
    return product("E", call.elements(0))


def _global_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    rank = len(call.shape(0))
    kept = (0, rank - 1) if call.get("channels_last", False) else (0, 1)
    maps = tuple(Same(axis) if axis in kept else All() for axis in range(rank))
    return (Axes(maps), *(None for _ in call.inputs[1:]))


def _global_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape = call.shape(0)
    if call.get("channels_last", False):
        return ((shape[0], *(1 for _ in shape[1:-1]), shape[-1]),)
    return ((*shape[:2], *(1 for _ in shape[2:])),)


def _from_global(call: Call) -> Call:
    if call.op_type.endswith("GlobalLpPool"):
        return call.with_attributes({"p": int(call.get("p", 2))})
    return call.with_attributes({"channels_last": True} if call.get("channels_last", 0) else {})


# -- adaptive -------------------------------------------------------------------------------------------


def _segments(size: int, outputs: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(range(o * size // outputs, -(-(o + 1) * size // outputs))) for o in range(outputs))


def adaptive_taps(shape: Shape, size: Shape) -> int:
    """Elements of all windows together, for data of ``shape`` pooled to ``size`` along its last axes."""
    lead = shape[: len(shape) - len(size)]
    spatial = zip(shape[len(lead) :], size, strict=True)
    return math.prod(lead) * math.prod(sum(map(len, _segments(i, o))) for i, o in spatial)


def _taps(call: Call) -> int:
    return adaptive_taps(call.shape(0), call.attr("output_size"))


def _adaptive_average_work(call: Call) -> Work:
    out = call.out_elements()
    return Work(add=_taps(call) - out, div=out)


def _adaptive_max_work(call: Call) -> Work:
    return Work(cmp=_taps(call) - call.out_elements())


def _adaptive_formula(call: Call) -> Formula:
    return product("Σ window", _taps(call))


def _adaptive_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    shape, size = call.shape(0), call.attr("output_size")
    lead = len(shape) - len(size)
    maps: list[AxisMap] = [Same(axis) for axis in range(lead)]
    for axis, (i, o) in enumerate(zip(shape[lead:], size, strict=True), start=lead):
        maps.append(Same(axis) if i == o else All() if o == 1 else Lookup(axis, _segments(i, o)))
    return (Axes(tuple(maps)),)


def _adaptive_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape, size = call.shape(0), call.attr("output_size")
    return ((*shape[: len(shape) - len(size)], *size),) * max(1, len(call.outputs))


def _from_adaptive(call: Call) -> Call:
    """An axis whose output_size is None (only above the dispatcher) keeps its size."""
    rank = int(call.op_type.rpartition("pool")[2][0])
    wanted = per_axis(call.attr("output_size"), rank)
    sizes = call.shape(0)[-rank:]
    return call.with_attributes(
        {"output_size": tuple(i if o is None else o for i, o in zip(sizes, wanted, strict=True))}
    )


# -- regions of interest --------------------------------------------------------------------------------


def _roi_align_work(call: Call) -> Work:
    samples = call.attr("samples")
    if samples <= 0:
        raise UncountableError(f"{call.op_type}: sampling_ratio 0 takes samples as the boxes are large")
    out = call.out_elements()
    taps = out * samples**2
    interpolation = Work(add=6 * taps, mul=3 * taps)
    if call.get("mode", "avg") == "max":
        return interpolation + Work(cmp=taps - out)
    return interpolation + Work(add=taps - out, div=out)


def _roi_pool_work(call: Call) -> Work:
    raise UncountableError(f"{call.op_type}: how many elements a bin holds depends on the boxes")


def _roi_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return tuple(DataDependent() if index == 0 else None for index in range(len(call.inputs)))


def _from_roi_align(call: Call) -> Call:
    mode = call.get("mode", "avg")
    return call.with_attributes(
        {
            "samples": call.get("sampling_ratio", 0),
            "mode": mode.decode() if isinstance(mode, bytes) else mode,
        }
    )


def _roi_formula(call: Call) -> Formula:
    return product("R·C·bins·samples²", call.out_elements() * call.attr("samples") ** 2)


# -- unpooling ------------------------------------------------------------------------------------------


def _unpool_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return (DataDependent(), *(None for _ in call.inputs[1:]))


_AVERAGES = (
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d"),
    *("_adaptive_avg_pool3d", "mkldnn_adaptive_avg_pool2d"),
)

SPECS = (
    OpSpec(
        kind="global_average_pool",
        work=_global_average_work,
        formula=_input_formula,
        window=_global_window,
        shapes=_global_shapes,
        spellings=(Spelling("onnx:GlobalAveragePool", _from_global),),
    ),
    OpSpec(
        kind="global_max_pool",
        work=_global_max_work,
        formula=_input_formula,
        window=_global_window,
        shapes=_global_shapes,
        spellings=(Spelling("onnx:GlobalMaxPool", _from_global),),
    ),
    OpSpec(
        kind="global_lp_pool",
        work=_global_lp_work,
        formula=_input_formula,
        window=_global_window,
        shapes=_global_shapes,
        spellings=(Spelling("onnx:GlobalLpPool", _from_global),),
    ),
    OpSpec(
        kind="global_average_pool_quantized",
        work=_global_quantized_work,
        formula=_input_formula,
        window=_global_window,
        shapes=_global_shapes,
        roles=dict.fromkeys(range(1, 5), Role.CONSTANT),
        spellings=(Spelling("com.microsoft:QLinearGlobalAveragePool", _from_global),),
    ),
    OpSpec(
        kind="adaptive_average_pool",
        work=_adaptive_average_work,
        formula=_adaptive_formula,
        window=_adaptive_window,
        shapes=_adaptive_shapes,
        spellings=tuple(Spelling(f"aten:{name}", _from_adaptive) for name in _AVERAGES),
    ),
    OpSpec(
        kind="adaptive_max_pool",
        work=_adaptive_max_work,
        formula=_adaptive_formula,
        window=_adaptive_window,
        shapes=_adaptive_shapes,
        spellings=tuple(Spelling(f"aten:adaptive_max_pool{d}d", _from_adaptive) for d in (1, 2, 3)),
    ),
    OpSpec(
        kind="roi_align",
        work=_roi_align_work,
        formula=_roi_formula,
        window=_roi_window,
        spellings=(
            Spelling("onnx:RoiAlign", _from_roi_align),
            Spelling("torchvision:roi_align", _from_roi_align),
            Spelling("torchvision:ps_roi_align", _from_roi_align),
        ),
    ),
    OpSpec(
        kind="roi_pool",
        work=_roi_pool_work,
        window=_roi_window,
        spellings=(Spelling("onnx:MaxRoiPool"), Spelling("torchvision:roi_pool")),
    ),
    OpSpec(
        kind="max_unpool",
        work=free,
        formula=no_cost_formula,
        window=_unpool_window,
        arithmetic=False,
        spellings=(
            Spelling("onnx:MaxUnpool"),
            Spelling("aten:max_unpool2d"),
            Spelling("aten:max_unpool3d"),
        ),
    ),
)
