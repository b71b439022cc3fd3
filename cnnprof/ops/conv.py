"""Convolutions: plain, transposed, fused and quantised, deformable; 1-D to 3-D.

Canonical inputs: data, weight, bias (None if absent), then what the kind adds.
Canonical attributes, one entry per spatial axis in tensor order:
``kernel``, ``stride``, ``dilation``, ``padding`` ((before, after) pairs), and ``groups``.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same, Slide, Spread
from cnnprof.ops.work import Work

__all__ = ["SPECS"]


# -- work: N·C_out·∏O·(C_in/g)·∏K, bias as one addition an output ------------------------------


def _conv_work(call: Call) -> Work:
    out = call.out_elements()
    weight = call.shape(1)  # (C_out, C_in/g, *K)
    return Work(mac=out * math.prod(weight[1:]), add=out if call.has(2) else 0)


def _conv_transpose_work(call: Call) -> Work:
    """Input side: every input element is multiplied with its C_out/g · ∏K weights, no more."""
    weight = call.shape(1)  # (C_in, C_out/g, *K)
    return Work(mac=call.elements(0) * math.prod(weight[1:]), add=call.out_elements() if call.has(2) else 0)


# -- formula: He & Sun 2015 -----------------------------------------------------------------------


def _side(symbol: str, sizes: Shape) -> tuple[str, list[int]]:
    """``M²`` when square, ``M_1·M_2`` per axis when not, with the numbers in the same order."""
    powers = {1: "", 2: "²", 3: "³"}
    if len(set(sizes)) <= 1 and len(sizes) in powers:
        return f"{symbol}{powers[len(sizes)]}", list(sizes)
    return "·".join(f"{symbol}_{i + 1}" for i in range(len(sizes))), list(sizes)


def _conv_formula(call: Call) -> Formula:
    transposed = "output_padding" in call.attributes
    weight = call.shape(1)
    side = call.shape(0)[2:] if transposed else call.out_shape()[2:]
    m_text, m_numbers = _side("M", side)
    k_text, k_numbers = _side("K", weight[2:])
    groups = call.attr("groups")
    c_in, c_out = (weight[0], weight[1] * groups) if transposed else (weight[1] * groups, weight[0])
    batch = call.shape(0)[0]
    parts = [*(["N"] if batch != 1 else []), m_text, k_text, "C_in", "C_out"]
    symbols = "·".join(parts) + ("/g" if groups != 1 else "")
    numbers = [*([batch] if batch != 1 else []), *m_numbers, *k_numbers, c_in, c_out]
    text = "·".join(map(str, numbers)) + (f"/{groups}" if groups != 1 else "")
    return Formula(f"O({symbols})", text)


# -- window ---------------------------------------------------------------------------------------


def _channel_map(call: Call) -> AxisMap:
    # A unit sees every channel of its group; groups don't change which *positions* it sees.
    return All()


def _conv_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    maps: list[AxisMap] = [Same(0), _channel_map(call)]
    rows = zip(
        call.attr("kernel"), call.attr("stride"), call.attr("dilation"), call.attr("padding"), strict=True
    )
    maps += [
        Slide(axis, kernel, stride, dilation, pad[0])
        for axis, (kernel, stride, dilation, pad) in enumerate(rows, start=2)
    ]
    return (Axes(tuple(maps)), *(None for _ in call.inputs[1:]))


def _conv_transpose_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    maps: list[AxisMap] = [Same(0), _channel_map(call)]
    rows = zip(
        call.attr("kernel"), call.attr("stride"), call.attr("dilation"), call.attr("padding"), strict=True
    )
    maps += [
        Spread(axis, kernel, stride, dilation, pad[0])
        for axis, (kernel, stride, dilation, pad) in enumerate(rows, start=2)
    ]
    return (Axes(tuple(maps)), *(None for _ in call.inputs[1:]))


# -- shapes -----------------------------------------------------------------------------------------


def _conv_shapes(call: Call) -> tuple[Shape | None, ...]:
    data, weight = call.shape(0), call.shape(1)
    rows = zip(
        data[2:],
        call.attr("kernel"),
        call.attr("stride"),
        call.attr("dilation"),
        call.attr("padding"),
        strict=True,
    )
    spatial = tuple(
        (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation, pad in rows
    )
    return ((data[0], weight[0], *spatial),)


# -- spellings ---------------------------------------------------------------------------------------


def same_padding(size: int, kernel: int, stride: int, dilation: int, *, lower: bool) -> tuple[int, int]:
    """SAME padding at a given input size: output ceil(size/stride), the odd one at the end
    (SAME_UPPER) or at the start (SAME_LOWER)."""
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def onnx_window_attributes(call: Call, kernel: Shape) -> dict[str, Any]:
    """``strides``, ``dilations``, ``pads``, ``auto_pad`` of an ONNX Conv or pool in canonical form."""
    rank = len(kernel)
    stride = tuple(call.get("strides") or (1,) * rank)
    dilation = tuple(call.get("dilations") or (1,) * rank)
    auto = call.get("auto_pad", "NOTSET")
    padding: tuple[tuple[int, int], ...]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = call.shape(0)[2:]
        padding = tuple(
            same_padding(*row, lower=auto == "SAME_LOWER")
            for row in zip(sizes, kernel, stride, dilation, strict=True)
        )
    elif auto == "VALID":
        padding = ((0, 0),) * rank
    else:
        pads = tuple(call.get("pads") or (0,) * (2 * rank))
        if len(pads) != 2 * rank:
            raise UncountableError(f"{call.op_type}: expected {2 * rank} pads, got {len(pads)}")
        padding = tuple(zip(pads[:rank], pads[rank:], strict=True))
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def _from_onnx(call: Call) -> Call:
    kernel = tuple(call.get("kernel_shape") or call.shape(1)[2:])
    attributes = onnx_window_attributes(call, kernel) | {"groups": call.get("group", 1)}
    return call.with_attributes(attributes)


def _per_axis(value: Any, rank: int) -> Shape:
    """ATen passes one number for all axes, or a list."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * rank if len(values) == 1 else values


def _from_aten(call: Call) -> Call:
    kernel = call.shape(1)[2:]
    rank = len(kernel)
    return call.with_attributes(
        {
            "kernel": kernel,
            "stride": _per_axis(call.get("stride", 1), rank),
            "dilation": _per_axis(call.get("dilation", 1), rank),
            "padding": tuple((p, p) for p in _per_axis(call.get("padding", 0), rank)),
            "groups": call.get("groups", 1),
        }
    )


def _is_transposed(call: Call) -> bool:
    return bool(call.get("transposed", False))


_WEIGHTS = {1: Role.PARAMETER, 2: Role.PARAMETER}

SPECS = (
    OpSpec(
        kind="conv",
        work=_conv_work,
        formula=_conv_formula,
        window=_conv_window,
        shapes=_conv_shapes,
        roles=_WEIGHTS,
        mac_operator=True,
        spellings=(
            Spelling("onnx:Conv", _from_onnx),
            Spelling("aten:convolution", _from_aten, when=lambda call: not _is_transposed(call)),
        ),
    ),
)
