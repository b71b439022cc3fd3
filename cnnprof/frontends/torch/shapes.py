"""Results of the commonest calls on meta tensors, without torch's own meta kernels.

Those are Python for most operators and cost several times what recording does. Each rule here gives what torch
gives, strides included, or declines (None), and then torch is asked: on anything unusual, and on whatever is wrong, so
that the error is torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["RULES", "attention", "linear"]

_aten = torch.ops.aten
Rule = Callable[..., Any]
_LINEAR_MEMORY = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _floating(*tensors: torch.Tensor) -> bool:
    """True if all are meta, strided, and of one common floating dtype."""
    first = tensors[0].dtype
    return first in _LINEAR_MEMORY and all(t.is_meta and t.dtype is first for t in tensors)


def _like(x: torch.Tensor) -> torch.Tensor:
    """``empty_like`` of a dense tensor, whose own meta kernel is Python."""
    return x.new_empty_strided(x.shape, x.stride())


def _unary(x: torch.Tensor, *_args: Any, **_kwargs: Any) -> Any:
    return _like(x) if _floating(x) and x.is_contiguous() else None


def _unary_in_place(x: torch.Tensor, *_args: Any, **_kwargs: Any) -> Any:
    return x if _floating(x) else None


def _binary(x: Any, y: Any, **_kwargs: Any) -> Any:
    if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor):
        return None
    same = x.shape == y.shape and _floating(x, y) and x.is_contiguous() and y.is_contiguous()
    return _like(x) if same else None


def _binary_in_place(x: Any, y: Any, **_kwargs: Any) -> Any:
    if not isinstance(y, torch.Tensor):
        return None
    return x if x.shape == y.shape and _floating(x, y) else None


_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _is_channels_last(tensor: torch.Tensor, rank: int) -> bool:
    """torch's own test, by strides alone: slices of a channels-last tensor are, and so are 1x1 kernels
    that were stored so, though they are contiguous too."""
    if not tensor.is_meta or tensor.dim() != rank + 2:
        return False
    strides, least = tensor.stride(), 0
    for axis in (1, *range(rank + 1, 1, -1), 0):
        size, stride = tensor.shape[axis], strides[axis]
        if size == 0 or stride < max(least, 1) or (axis == 0 and least == strides[1]):
            return False
        least = stride * max(size, 1)
    return True


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Any:
    rank = x.dim() - 2
    if rank in _CHANNELS_LAST and (_is_channels_last(x, rank) or _is_channels_last(weight, rank)):
        # torch's meta kernel forgets the layout; every real one keeps it.
        arguments = (stride, padding, dilation, transposed, output_padding, groups)
        made = _aten.convolution.default(x, weight, bias, *arguments)
        return torch.empty_like(made, memory_format=_CHANNELS_LAST[rank])
    if (
        transposed
        or rank not in (2, 3)
        or weight.dim() != x.dim()
        or not _floating(x, weight, *(() if bias is None else (bias,)))
        or not (x.is_contiguous() and weight.is_contiguous())
        or x.shape[1] != weight.shape[1] * groups
        or weight.shape[0] % groups
        or (bias is not None and bias.shape != weight.shape[:1])
        or not len(stride) == len(padding) == len(dilation) == rank
        or min(stride) < 1
    ):
        return None
    rows = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows]
    if min(sizes) < 1 or x.shape[0] < 1:
        return None
    return x.new_empty((x.shape[0], weight.shape[0], *sizes))


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    training: bool,
    _momentum: float,
    _eps: float,
) -> Any:
    held = [t for t in (weight, bias, mean, variance) if t is not None]
    if training or mean is None or variance is None or not _floating(x, *held) or not x.is_contiguous():
        return None
    if x.dim() < 2 or any(t.shape != x.shape[1:2] for t in held):
        return None
    return _like(x), x.new_empty((0,)), x.new_empty((0,))


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    """``torch.nn.functional.linear``, for recording it as one op."""
    if (
        not _floating(x, weight, *(() if bias is None else (bias,)))
        or weight.dim() != 2
        or x.dim() < 1
        or not x.is_contiguous()
        or x.shape[-1] != weight.shape[1]
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        return None
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _layer_norm(
    x: torch.Tensor, shape: list[int], weight: torch.Tensor | None, bias: torch.Tensor | None, _eps: float
) -> Any:
    held = [t for t in (weight, bias) if t is not None]
    rank = x.dim() - len(shape)
    if rank < 0 or not _floating(x, *held) or not x.is_contiguous() or tuple(x.shape[rank:]) != tuple(shape):
        return None
    if any(t.shape != x.shape[rank:] for t in held):
        return None
    statistics = (*x.shape[:rank], *(1 for _ in shape))
    return _like(x), x.new_empty(statistics), x.new_empty(statistics)


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_kwargs: Any,
) -> Any:
    """``scaled_dot_product_attention`` with heads, for recording it as one op. The result lies as the fused CPU
    operator lays it: as the query does."""
    if not (query.dim() == key.dim() == value.dim() == 4) or not _floating(query, key, value):
        return None
    fits = (
        query.shape[:2] == key.shape[:2] == value.shape[:2]
        and query.shape[3] == key.shape[3] == value.shape[3]
        and key.shape[2] == value.shape[2]
    )
    if not fits or dropout_p or min(query.shape) < 1 or (attn_mask is not None and is_causal):
        return None
    if attn_mask is not None:
        scores = (*query.shape[:3], key.shape[2])
        if attn_mask.dim() not in (2, 4) or any(
            size not in (1, expected)
            for size, expected in zip(reversed(attn_mask.shape), reversed(scores), strict=False)
        ):
            return None
    return torch.empty_like(query)


RULES: dict[Any, Rule] = {
    _aten.convolution.default: _convolution,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.native_layer_norm.default: _layer_norm,
    **dict.fromkeys(
        (
            *(_aten.relu.default, _aten.gelu.default, _aten.silu.default, _aten.sigmoid.default),
            *(_aten.hardswish.default, _aten.hardsigmoid.default, _aten.hardtanh.default, _aten.tanh.default),
        ),
        _unary,
    ),
    **dict.fromkeys(
        (
            *(_aten.relu_.default, _aten.silu_.default, _aten.hardswish_.default, _aten.hardtanh_.default),
            *(_aten.sigmoid_.default, _aten.hardsigmoid_.default),
        ),
        _unary_in_place,
    ),
    **dict.fromkeys((_aten.add.Tensor, _aten.mul.Tensor), _binary),
    **dict.fromkeys((_aten.add_.Tensor, _aten.mul_.Tensor), _binary_in_place),
}
