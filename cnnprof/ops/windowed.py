"""How a sliding window is spelled abroad: kernel, stride, dilation and padding of convolutions and pools."""

from __future__ import annotations

from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.spec import Call, UncountableError

__all__ = ["onnx_window_attributes", "pad_pairs", "per_axis", "same_padding", "text"]


def same_padding(size: int, kernel: int, stride: int, dilation: int, *, lower: bool) -> tuple[int, int]:
    """SAME padding at a given input size: output ceil(size/stride), the odd one at the end
    (SAME_UPPER) or at the start (SAME_LOWER)."""
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def pad_pairs(call: Call, rank: int) -> tuple[tuple[int, int], ...]:
    pads = tuple(call.get("pads") or (0,) * (2 * rank))
    if len(pads) != 2 * rank:
        raise UncountableError(f"{call.op_type}: expected {2 * rank} pads, got {len(pads)}")
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def onnx_window_attributes(call: Call, kernel: Shape, *, channels_last: bool = False) -> dict[str, Any]:
    """``strides``, ``dilations``, ``pads``, ``auto_pad`` of an ONNX Conv or pool in canonical form."""
    rank = len(kernel)
    stride = tuple(call.get("strides") or (1,) * rank)
    dilation = tuple(call.get("dilations") or (1,) * rank)
    if len(stride) != rank or len(dilation) != rank:
        raise UncountableError(f"{call.op_type}: expected {rank} strides and dilations, one per axis")
    if min((1, *stride)) < 1:
        raise UncountableError(f"{call.op_type}: expected strides of 1 or more, got {stride}")
    auto = text(call.get("auto_pad", "NOTSET"))
    padding: tuple[tuple[int, int], ...]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        data = call.shape(0)
        sizes = data[1:-1] if channels_last else data[2:]
        padding = tuple(
            same_padding(*row, lower=auto == "SAME_LOWER") for row in zip(sizes, kernel, stride, dilation, strict=True)
        )
    elif auto == "VALID":
        padding = ((0, 0),) * rank
    else:
        padding = pad_pairs(call, rank)
    found = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    return found | ({"channels_last": True} if channels_last else {})


def per_axis(value: Any, rank: int) -> Shape:
    """ATen passes one number for all axes, or a list."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * rank if len(values) == 1 else values
