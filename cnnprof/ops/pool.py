"""Sliding-window pools: maximum, average, Lp; channels first or last, batched or not.

Canonical input: data. Canonical attributes: ``kernel``, ``stride``, ``dilation``, ``padding`` as for
convolutions, ``ceil_mode`` and ``channels_last`` only where true, ``p`` for Lp. The spatial axes are the
last ones (before the channels where those are last).

Work per output, K = ∏kernel, padded taps counted as the dense convention has it: maximum K − 1 comparisons;
average K − 1 additions and one division, with or without the padding in the divisor; L1 K absolute values
and K − 1 additions; L2 K multiplications, K − 1 additions and a root; other p K + 1 powers, K absolute
values and K − 1 additions.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Role, Shape, Tensor
from cnnprof.ops.conv import side, window_rows
from cnnprof.ops.conv_variants import REQUANTISE
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import Axes, AxisMap, DataDependent, Relation, Same, Slide
from cnnprof.ops.windowed import onnx_window_attributes, per_axis
from cnnprof.ops.work import Work

__all__ = ["SPECS", "from_aten_pool", "lp_norm", "pool_axes"]


def pool_axes(call: Call, rank: int) -> range:
    """The data's spatial axes."""
    end = len(call.shape(0)) - (1 if call.get("channels_last", False) else 0)
    return range(end - rank, end)


def lp_norm(p: int, taps: int, outputs: int) -> Work:
    """The p-norm of ``taps`` elements in all, taken in ``outputs`` groups."""
    sums = Work(add=taps - outputs)
    if p == 1:
        return sums + Work(cmp=taps)
    if p == 2:
        return sums + Work(mul=taps, transcendental=outputs)
    return sums + Work(cmp=taps, transcendental=taps + outputs)


# -- work -----------------------------------------------------------------------------------------------


def _taps(call: Call) -> int:
    kernel: Shape = call.attr("kernel")
    return call.out_elements() * math.prod(kernel)


def _max_work(call: Call) -> Work:
    return Work(cmp=_taps(call) - call.out_elements())


def _average_work(call: Call) -> Work:
    out = call.out_elements()
    return Work(add=_taps(call) - out, div=out)


def _lp_work(call: Call) -> Work:
    return lp_norm(call.attr("p"), _taps(call), call.out_elements())


def _quantized_average_work(call: Call) -> Work:
    return _average_work(call) + REQUANTISE * call.out_elements()


def _masked_max_work(call: Call) -> Work:
    """One more comparison a tap: is it masked?"""
    return _max_work(call) + Work(cmp=_taps(call))


def _formula(call: Call) -> Formula:
    kernel = tuple(call.attr("kernel"))
    out, axes = call.out_shape(), pool_axes(call, len(kernel))
    m_text, m_numbers = side("M", tuple(out[axis] for axis in axes))
    k_text, k_numbers = side("K", kernel)
    rest = math.prod(size for axis, size in enumerate(out) if axis not in axes)
    return Formula(f"O({m_text}·{k_text}·C)", "·".join(map(str, [*m_numbers, *k_numbers, rest])))


# -- window ---------------------------------------------------------------------------------------------


def _window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    rows = window_rows(call)
    axes = pool_axes(call, len(rows))
    maps: list[AxisMap] = [Same(axis) for axis in range(len(call.shape(0)))]
    for axis, (kernel, stride, dilation, pad) in zip(axes, rows, strict=True):
        maps[axis] = Slide(axis, kernel, stride, dilation, pad[0])
    return (Axes(tuple(maps)), *(None for _ in call.inputs[1:]))


def _unknown_places(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return (DataDependent(), *(None for _ in call.inputs[1:]))


# -- shapes ---------------------------------------------------------------------------------------------


def _length(size: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int], *, ceil: bool) -> int:
    room = size + sum(pad) - dilation * (kernel - 1) - 1
    length = (-(-room // stride) if ceil else room // stride) + 1
    # A window that would start in the padding at the end is dropped.
    return length - 1 if ceil and (length - 1) * stride >= size + pad[0] else length


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    rows = window_rows(call)
    shape = list(call.shape(0))
    for axis, row in zip(pool_axes(call, len(rows)), rows, strict=True):
        shape[axis] = _length(shape[axis], *row, ceil=call.get("ceil_mode", False))
    return (tuple(shape),) * max(1, len(call.outputs))


# -- spellings ------------------------------------------------------------------------------------------


def _onnx(call: Call, inputs: tuple[Tensor | None, ...], *, channels_last: bool = False) -> Call:
    kernel = tuple(call.attr("kernel_shape"))
    attributes = onnx_window_attributes(call, kernel, channels_last=channels_last)
    if call.get("ceil_mode", 0) and call.get("auto_pad", "NOTSET") in ("NOTSET", b"NOTSET"):
        attributes["ceil_mode"] = True
    if "LpPool" in call.op_type:
        attributes["p"] = int(call.get("p", 2))
    return call.with_attributes(attributes, inputs)


def _from_onnx(call: Call) -> Call:
    return _onnx(call, call.inputs)


def _from_nhwc(call: Call) -> Call:
    return _onnx(call, call.inputs, channels_last=True)


def _from_qlinear(call: Call) -> Call:
    """X, x_scale, x_zero_point, y_scale, y_zero_point."""
    return _onnx(call, call.inputs, channels_last=bool(call.get("channels_last", 0)))


def _rank(call: Call) -> int:
    digits = [c for c in call.op_type.rpartition(":")[2] if c.isdigit()]
    return int(digits[0]) if digits else len(call.attr("kernel_size"))


def from_aten_pool(call: Call) -> Call:
    """kernel_size, stride (empty: the kernel's), padding, dilation, ceil_mode."""
    rank = _rank(call)
    kernel = per_axis(call.attr("kernel_size"), rank)
    stride = call.get("stride")
    attributes = {
        "kernel": kernel,
        "stride": kernel if stride is None or stride in ([], ()) else per_axis(stride, rank),
        "dilation": per_axis(call.get("dilation") or 1, rank),
        "padding": tuple((p, p) for p in per_axis(call.get("padding") or 0, rank)),
    }
    return call.with_attributes(attributes | ({"ceil_mode": True} if call.get("ceil_mode", False) else {}))


def _from_fractional(call: Call) -> Call:
    kernel = per_axis(call.attr("kernel_size"), _rank(call))
    return call.with_attributes({"kernel": kernel})


_MAX = (
    *("max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices"),
    *("max_pool3d_with_indices", "mkldnn_max_pool2d", "mkldnn_max_pool3d"),
    *("quantized_max_pool1d", "quantized_max_pool2d", "quantized_max_pool3d"),
)
_AVERAGE = ("avg_pool1d", "avg_pool2d", "avg_pool3d")

SPECS = (
    OpSpec(
        kind="max_pool",
        work=_max_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        spellings=(
            Spelling("onnx:MaxPool", _from_onnx),
            Spelling("com.microsoft:NhwcMaxPool", _from_nhwc),
            *(Spelling(f"aten:{name}", from_aten_pool) for name in _MAX),
        ),
    ),
    OpSpec(
        kind="max_pool_masked",
        work=_masked_max_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        spellings=(Spelling("com.microsoft:MaxpoolWithMask", _from_onnx),),
    ),
    OpSpec(
        kind="average_pool",
        work=_average_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        spellings=(
            Spelling("onnx:AveragePool", _from_onnx),
            *(Spelling(f"aten:{name}", from_aten_pool) for name in _AVERAGE),
        ),
    ),
    OpSpec(
        kind="average_pool_quantized",
        work=_quantized_average_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        roles=dict.fromkeys(range(1, 5), Role.CONSTANT),
        spellings=(Spelling("com.microsoft:QLinearAveragePool", _from_qlinear),),
    ),
    OpSpec(
        kind="lp_pool",
        work=_lp_work,
        formula=_formula,
        window=_window,
        shapes=_shapes,
        spellings=(Spelling("onnx:LpPool", _from_onnx),),
    ),
    OpSpec(
        kind="fractional_max_pool",
        work=_max_work,
        formula=_formula,
        window=_unknown_places,
        spellings=(
            Spelling("aten:fractional_max_pool2d", _from_fractional),
            Spelling("aten:fractional_max_pool3d", _from_fractional),
        ),
    ),
)
