"""Convolutions, plain and transposed; 1-D to 3-D, channels first or last.

Canonical inputs: data, weight, bias (None if absent), then what the kind adds (see conv_variants.py).
Canonical attributes, one entry per spatial axis in tensor order: ``kernel``, ``stride``, ``dilation``,
``padding`` ((before, after) pairs), and ``groups``; ``output_padding`` for the transposed ones;
``channels_last`` only where the data is (N, *spatial, C).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide, Spread
from cnnprof.ops.windowed import onnx_window_attributes, pad_pairs, per_axis, text
from cnnprof.ops.work import Work

__all__ = [
    "SPECS",
    "WEIGHTS",
    "conv_formula",
    "conv_shapes",
    "conv_transpose_shapes",
    "conv_transpose_window",
    "conv_transpose_work",
    "conv_window",
    "conv_work",
    "from_aten",
    "from_onnx",
    "from_onnx_transposed",
    "is_transposed",
    "side",
    "spatial_axes",
    "window_rows",
]

WEIGHTS = {1: Role.PARAMETER, 2: Role.PARAMETER}


def spatial_axes(call: Call, rank: int) -> tuple[int, ...]:
    """The data's spatial axes; an unbatched (C, *spatial) tensor has its own one axis earlier."""
    if call.get("channels_last", False):
        return tuple(range(1, 1 + rank))
    lead = len(call.shape(0)) - rank
    return tuple(range(lead, lead + rank))


def window_rows(call: Call) -> list[tuple[int, int, int, tuple[int, int]]]:
    """(kernel, stride, dilation, (before, after)) of every spatial axis."""
    names = ("kernel", "stride", "dilation", "padding")
    return list(zip(*(call.attr(name) for name in names), strict=True))


# -- work: N·C_out·∏O·(C_in/g)·∏K, bias as one addition an output ------------------------------


def conv_work(call: Call) -> Work:
    """Dense convention: padded taps count."""
    out = call.out_elements()
    weight = call.shape(1)  # (C_out, C_in/g, *K), or (C_out, *K, C_in/g): the product is the same
    return Work(mac=out * math.prod(weight[1:]), add=out if call.has(2) else 0)


def conv_transpose_work(call: Call) -> Work:
    """Input side: every input element is multiplied with its C_out/g · ∏K weights, no more."""
    weight = call.shape(1)  # (C_in, C_out/g, *K)
    return Work(mac=call.elements(0) * math.prod(weight[1:]), add=call.out_elements() if call.has(2) else 0)


# -- formula: He & Sun 2015 -----------------------------------------------------------------------


def side(symbol: str, sizes: Shape) -> tuple[str, list[int]]:
    """``M²`` when square, ``M_1·M_2`` per axis when not, with the numbers in the same order."""
    powers = {1: "", 2: "²", 3: "³"}
    if len(set(sizes)) <= 1 and len(sizes) in powers:
        return f"{symbol}{powers[len(sizes)]}", list(sizes)
    return "·".join(f"{symbol}_{i + 1}" for i in range(len(sizes))), list(sizes)


def conv_formula(call: Call) -> Formula:
    """O(M²·K²·C_in·C_out/g); M is the output's side, for the transposed ones the input's."""
    transposed = "output_padding" in call.attributes
    kernel = tuple(call.attr("kernel"))
    axes = spatial_axes(call, len(kernel))
    shape = call.shape(0) if transposed else call.out_shape()
    return _formula_of(shape, axes, call.shape(1), kernel, call.attr("groups"), transposed)


@lru_cache(maxsize=1024)
def _formula_of(shape: Shape, axes: Shape, weight: Shape, kernel: Shape, groups: int, transposed: bool) -> Formula:
    inner = math.prod(weight[1:]) // max(1, math.prod(kernel))
    c_in, c_out = (weight[0], inner * groups) if transposed else (inner * groups, weight[0])
    batch = shape[0] if len(shape) == len(kernel) + 2 else 1
    symbols, sides = _sides_of(tuple([shape[axis] for axis in axes]), kernel, batch, groups)
    return Formula(symbols, f"{sides}·{c_in}·{c_out}" + (f"/{groups}" if groups != 1 else ""))


@lru_cache(maxsize=1024)
def _sides_of(sizes: Shape, kernel: Shape, batch: int, groups: int) -> tuple[str, str]:
    """The formula in symbols, and its numbers up to the channels: few differ in a network."""
    m_text, m_numbers = side("M", sizes)
    k_text, k_numbers = side("K", kernel)
    parts = [*(["N"] if batch != 1 else []), m_text, k_text, "C_in", "C_out"]
    symbols = "·".join(parts) + ("/g" if groups != 1 else "")
    numbers = [*([batch] if batch != 1 else []), *m_numbers, *k_numbers]
    return f"O({symbols})", "·".join(map(str, numbers))


# -- window ---------------------------------------------------------------------------------------


def _axes(call: Call, spatial: list[AxisMap]) -> Axes:
    return _placed_axes(spatial, call.get("channels_last", False), len(call.shape(0)))


def _placed_axes(spatial: Sequence[AxisMap], channels_last: bool, rank: int) -> Axes:
    # A unit sees every channel of its group; groups don't change which *positions* it sees.
    if channels_last:
        return Axes((Same(0), *spatial, All()))
    batched = rank == len(spatial) + 2
    return Axes((*([Same(0)] if batched else []), All(), *spatial))


@lru_cache(maxsize=1024)
def _slides(
    axes: Shape, rows: tuple[tuple[int, int, int, tuple[int, int]], ...], channels_last: bool, rank: int
) -> Axes:
    maps = [Slide(axis, k, s, d, pad[0]) for axis, (k, s, d, pad) in zip(axes, rows, strict=True)]
    return _placed_axes(maps, channels_last, rank)


def conv_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    rows = tuple(window_rows(call))
    axes = _slides(spatial_axes(call, len(rows)), rows, call.get("channels_last", False), len(call.shape(0)))
    return (axes, *[None] * (len(call.inputs) - 1))


def conv_transpose_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    rows = window_rows(call)
    axes = spatial_axes(call, len(rows))
    maps: list[AxisMap] = [Spread(axis, k, s, d, pad[0]) for axis, (k, s, d, pad) in zip(axes, rows, strict=True)]
    return (_axes(call, maps), *(None for _ in call.inputs[1:]))


# -- shapes -----------------------------------------------------------------------------------------


def _placed(call: Call, channels: int, spatial: list[int]) -> Shape:
    data = call.shape(0)
    if call.get("channels_last", False):
        return (data[0], *spatial, channels)
    return (*data[: len(data) - len(spatial) - 1], channels, *spatial)


def conv_shapes(call: Call) -> tuple[Shape | None, ...]:
    rows = window_rows(call)
    data = call.shape(0)
    spatial = [
        (data[axis] + sum(pad) - d * (k - 1) - 1) // s + 1
        for axis, (k, s, d, pad) in zip(spatial_axes(call, len(rows)), rows, strict=True)
    ]
    return (_placed(call, call.shape(1)[0], spatial),)


def conv_transpose_shapes(call: Call) -> tuple[Shape | None, ...]:
    rows = window_rows(call)
    data = call.shape(0)
    spatial = [
        s * (data[axis] - 1) + extra + d * (k - 1) + 1 - sum(pad)
        for axis, extra, (k, s, d, pad) in zip(
            spatial_axes(call, len(rows)), call.attr("output_padding"), rows, strict=True
        )
    ]
    return (_placed(call, call.shape(1)[1] * call.attr("groups"), spatial),)


# -- ONNX spellings --------------------------------------------------------------------------------------


def from_onnx(call: Call) -> Call:
    """Conv: data, weight, bias; the kernel's shape from the weight where ``kernel_shape`` is missing."""
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    attributes = onnx_window_attributes(call, kernel) | {"groups": call.get("group", 1)}
    return call.with_attributes(attributes)


def from_onnx_transposed(call: Call) -> Call:
    """ConvTranspose. ``output_shape`` and ``auto_pad`` SAME fix the padding; what they ask for beyond
    no padding at all becomes output padding, as ONNX's specification has it."""
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    rank = len(kernel)
    stride = tuple(call.get("strides") or (1,) * rank)
    dilation = tuple(call.get("dilations") or (1,) * rank)
    extra = tuple(call.get("output_padding") or (0,) * rank)
    auto = text(call.get("auto_pad", "NOTSET"))
    wanted = tuple(call.get("output_shape") or ())[-rank:]
    sizes = call.shape(0)[2:]
    if not wanted and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(size * s for size, s in zip(sizes, stride, strict=True))
    padding: tuple[tuple[int, int], ...]
    if wanted:
        pairs = []
        grown = []
        for size, want, k, s, d, add in zip(sizes, wanted, kernel, stride, dilation, extra, strict=True):
            total = s * (size - 1) + add + d * (k - 1) + 1 - want
            grown.append(add - min(0, total))
            small, large = max(0, total) // 2, max(0, total) - max(0, total) // 2
            pairs.append((small, large) if auto == "SAME_UPPER" else (large, small))
        padding, extra = tuple(pairs), tuple(grown)
    else:
        padding = ((0, 0),) * rank if auto == "VALID" else pad_pairs(call, rank)
    return call.with_attributes(
        {
            "kernel": kernel,
            "stride": stride,
            "dilation": dilation,
            "padding": padding,
            "output_padding": extra,
            "groups": call.get("group", 1),
        }
    )


def _from_dynamic_pads(call: Call) -> Call:
    """X, W, Pads, B: the pads are an input, used where their values are known."""
    pads = call.value(2)
    if call.has(2) and pads is None:
        raise UncountableError(f"{call.op_type}: the pads are not known")
    data, weight, given, bias = (*call.inputs, None, None)[:4]
    attributes = {**call.attributes, "pads": pads or call.get("pads")}
    return from_onnx_transposed(call.with_attributes(attributes, (data, weight, bias, given)))


# -- ATen spellings ------------------------------------------------------------------------------------------


def from_aten(call: Call) -> Call:
    """convolution and its back ends' spellings; ``padding="same"`` puts the odd one at the end."""
    extra = call.get("output_padding", 0) if is_transposed(call) else None
    given = (call.get("stride", 1), call.get("padding", 0), call.get("dilation", 1), call.get("groups", 1), extra)
    named = [tuple(value) if isinstance(value, list) else value for value in given]
    return call.with_attributes(_aten_attributes(call.shape(1)[2:], *named))


@lru_cache(maxsize=1024)
def _aten_attributes(
    kernel: Shape, stride: Any, given: Any, dilation: Any, groups: int, output_padding: Any
) -> Mapping[str, Any]:
    rank = len(kernel)
    dilation = per_axis(dilation, rank)
    if isinstance(given, str):
        totals = [d * (k - 1) if given == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple((total // 2, total - total // 2) for total in totals)
    else:
        padding = tuple((p, p) for p in per_axis(given, rank))
    attributes = {
        "kernel": kernel,
        "stride": per_axis(stride, rank),
        "dilation": dilation,
        "padding": padding,
        "groups": groups,
    }
    if output_padding is not None:
        attributes["output_padding"] = per_axis(output_padding, rank)
    return MappingProxyType(attributes)  # many ops share it


def is_transposed(call: Call) -> bool:
    stated = call.get("transposed")
    return "transpose" in call.op_type.rpartition(":")[2] if stated is None else bool(stated)


def _is_plain(call: Call) -> bool:
    return not is_transposed(call)


_BOTH = ("convolution", "_convolution", "convolution_overrideable")
_PLAIN = (
    *("conv1d", "conv2d", "conv3d", "_convolution_mode", "cudnn_convolution", "mkldnn_convolution"),
    *("thnn_conv2d", "_slow_conv2d_forward", "slow_conv3d", "slow_conv3d_forward", "_conv_depthwise2d"),
    *("conv_depthwise3d", "slow_conv_dilated2d", "slow_conv_dilated3d", "miopen_convolution"),
    *("miopen_depthwise_convolution", "_mps_convolution", "_nnpack_spatial_convolution"),
)
_TRANSPOSED = (
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cudnn_convolution_transpose"),
    *("slow_conv_transpose2d", "slow_conv_transpose3d", "miopen_convolution_transpose"),
    "_mps_convolution_transpose",
)
_TORCH = ("conv1d", "conv2d", "conv3d")
_TORCH_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")

SPECS = (
    OpSpec(
        kind="conv",
        work=conv_work,
        formula=conv_formula,
        window=conv_window,
        shapes=conv_shapes,
        roles=WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("onnx:Conv", from_onnx),
            *(Spelling(f"aten:{name}", from_aten, when=_is_plain) for name in _BOTH),
            *(Spelling(f"aten:{name}", from_aten) for name in _PLAIN),
            *(Spelling(f"torch:{name}", from_aten) for name in _TORCH),
        ),
    ),
    OpSpec(
        kind="conv_transpose",
        work=conv_transpose_work,
        formula=conv_formula,
        window=conv_transpose_window,
        shapes=conv_transpose_shapes,
        roles=WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("onnx:ConvTranspose", from_onnx_transposed),
            Spelling("com.microsoft:ConvTransposeWithDynamicPads", _from_dynamic_pads),
            *(Spelling(f"aten:{name}", from_aten, when=is_transposed) for name in _BOTH),
            *(Spelling(f"aten:{name}", from_aten) for name in _TRANSPOSED),
            *(Spelling(f"torch:{name}", from_aten) for name in _TORCH_TRANSPOSED),
        ),
    ),
)
