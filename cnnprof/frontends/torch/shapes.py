"""Results of the commonest calls on meta tensors, without torch's own meta kernels.

Those are Python for most operators and cost several times what recording does. Each rule here gives what torch
gives, strides included, or declines (None), and then torch is asked: on anything unusual, and on whatever is wrong, so
that the error is torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

__all__ = ["RULES", "adaptive_average", "attention", "linear", "plain_batch_norm", "plain_convolution"]

_aten = torch.ops.aten
Rule = Callable[..., Any]
_LINEAR_MEMORY = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_META = torch.device("meta")
# Of all the ways to make a meta tensor the only one that isn't Python inside: 1 µs against 30 for new_empty.
_empty_strided = torch.empty_strided


def _floating(first: torch.Tensor, *others: torch.Tensor | None) -> bool:
    """True if ``first`` is meta and all that are there are of one common floating dtype. The others may be anywhere:
    what stands in for them has the same shape and type."""
    dtype = first.dtype
    if dtype not in _LINEAR_MEMORY or not first.is_meta:
        return False
    for tensor in others:  # noqa: SIM110  (a generator takes twice as long)
        if tensor is not None and tensor.dtype is not dtype:
            return False
    return True


@lru_cache(maxsize=4096)
def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor, as torch gives them also where there are no elements."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * max(shape[axis], 1)
    return tuple(strides)


def _strictly_contiguous(x: torch.Tensor) -> bool:
    """Contiguous also in the strides of axes of size 1, which ``is_contiguous`` doesn't look at. Such a tensor is
    never channels-last by its strides."""
    return x.layout is torch.strided and x.stride() == _row_major(x.shape)


def _fresh(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return _empty_strided(shape, _row_major(shape), dtype=dtype, device=_META)


def _like(x: torch.Tensor) -> torch.Tensor:
    """``empty_like`` of a dense tensor."""
    return _empty_strided(x.shape, x.stride(), dtype=x.dtype, device=_META)


def _dense(x: torch.Tensor) -> bool:
    """True if the elements lie without gaps or overlaps, in whatever order of axes."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size < 2 or stride != expected:
            return False  # with axes of size 1 there's more to it: torch's business
        expected *= size
    return True


def _unary(x: torch.Tensor, *_args: Any, **_kwargs: Any) -> Any:
    return _like(x) if _floating(x) and x.is_contiguous() else None


def _unary_in_place(x: torch.Tensor, *_args: Any, **_kwargs: Any) -> Any:
    return x if _floating(x) else None


def _binary(x: Any, y: Any, **_kwargs: Any) -> Any:
    if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor) or not _floating(x, y):
        return None
    if x.shape == y.shape:
        return _like(x) if x.is_contiguous() and y.is_contiguous() else None
    # One is spread over the other: channel attention's scale, a layer's gain.
    large, small = (x, y) if x.numel() >= y.numel() else (y, x)
    if large.dim() != small.dim() or not (_strictly_contiguous(large) and _strictly_contiguous(small)):
        return None
    fits = all(s in (1, n) for s, n in zip(small.shape, large.shape, strict=True))
    return _like(large) if fits else None


def _binary_in_place(x: Any, y: Any, **_kwargs: Any) -> Any:
    if not isinstance(y, torch.Tensor):
        return None
    return x if x.shape == y.shape and _floating(x, y) else None


def _concatenated(tensors: list[torch.Tensor], dim: int = 0) -> Any:
    if not tensors:
        return None
    first = tensors[0]
    rank, dtype = first.dim(), first.dtype
    if not _floating(first) or not rank or not -rank <= dim < rank:
        return None
    axis = dim % rank
    wanted = list(first.shape)
    length = 0
    for tensor in tensors:
        if tensor.dtype is not dtype or not _strictly_contiguous(tensor):
            return None
        sizes = list(tensor.shape)
        if len(sizes) != rank or (rank == 1 and not sizes[0]):
            return None
        wanted[axis] = size = sizes[axis]
        length += size
        if sizes != wanted:
            return None
    wanted[axis] = length
    return _fresh(tuple(wanted), dtype)


def _mean(x: torch.Tensor, dim: list[int] | None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    rank = x.dim()
    if dtype is not None or not dim or not _floating(x) or not _strictly_contiguous(x) or 0 in x.shape:
        return None
    gone = {axis % rank for axis in dim if -rank <= axis < rank}
    if len(gone) != len(dim):
        return None
    rows = enumerate(x.shape)
    return _fresh(tuple(1 if a in gone else n for a, n in rows if keepdim or a not in gone), x.dtype)


def adaptive_average(x: torch.Tensor, output_size: Any) -> Any:
    """``adaptive_avg_pool2d``, for recording it as one op."""
    if x.dim() != 4 or not _floating(x) or not _strictly_contiguous(x) or 0 in x.shape:
        return None
    sizes = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != 2 or not all(isinstance(n, int) and n > 0 for n in sizes):
        return None
    return _fresh((*x.shape[:2], *sizes), x.dtype)


def _pooled(
    x: torch.Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> tuple[int, ...] | None:
    """The shape of a pool's result."""
    kernel, stride, padding, dilation = (list(v) * 2 if len(v) == 1 else v for v in (kernel, stride, padding, dilation))
    stride = stride or kernel
    if ceil_mode or x.dim() != 4 or not _floating(x) or not _strictly_contiguous(x) or 0 in x.shape:
        return None
    if not len(kernel) == len(stride) == len(padding) == len(dilation) == 2 or min(*kernel, *stride, *dilation) < 1:
        return None
    if any(p < 0 or 2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    rows = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows]
    return None if min(sizes) < 1 else (*x.shape[:2], *sizes)


def _max_pool(
    x: torch.Tensor,
    kernel: list[int],
    stride: list[int] | tuple[()] = (),
    padding: list[int] | tuple[int, ...] = (0, 0),
    dilation: list[int] | tuple[int, ...] = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    shape = _pooled(x, kernel, list(stride), list(padding), list(dilation), ceil_mode)
    return None if shape is None else (_fresh(shape, x.dtype), _fresh(shape, torch.int64))


def _average_pool(
    x: torch.Tensor,
    kernel: list[int],
    stride: list[int] | tuple[()] = (),
    padding: list[int] | tuple[int, ...] = (0, 0),
    ceil_mode: bool = False,
    _count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    if divisor_override is not None:
        return None
    shape = _pooled(x, kernel, list(stride), list(padding), [1, 1], ceil_mode)
    return None if shape is None else _fresh(shape, x.dtype)


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
    if _strictly_contiguous(x) and _strictly_contiguous(weight):
        return plain_convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
    if rank in _CHANNELS_LAST and (_is_channels_last(x, rank) or _is_channels_last(weight, rank)):
        # torch's meta kernel forgets the layout; every real one keeps it.
        arguments = (stride, padding, dilation, transposed, output_padding, groups)
        made = _aten.convolution.default(x, weight, bias, *arguments)
        return torch.empty_like(made, memory_format=_CHANNELS_LAST[rank])
    if not (x.is_contiguous() and weight.is_contiguous()):
        return None
    return _convolved(x, weight, bias, stride, padding, dilation, transposed, groups)


def plain_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    groups: int,
) -> Any:
    """A convolution of tensors that lie in row-major order."""
    if not (_strictly_contiguous(x) and _strictly_contiguous(weight)):
        return None
    return _convolved(x, weight, bias, stride, padding, dilation, transposed, groups)


def _convolved(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    groups: int,
) -> Any:
    rank = x.dim() - 2
    if transposed or rank not in (2, 3) or weight.dim() != rank + 2 or not _floating(x, weight, bias):
        return None
    batch, channels, *before = x.shape
    count, per_group, *kernel = weight.shape
    if channels != per_group * groups or count % groups or (bias is not None and bias.shape != (count,)):
        return None
    if not len(stride) == len(padding) == len(dilation) == rank or min(stride) < 1:
        return None
    rows = zip(before, kernel, stride, padding, dilation, strict=True)
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows]
    if min(sizes) < 1 or batch < 1:
        return None
    return _fresh((batch, count, *sizes), x.dtype)


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    made = plain_batch_norm(x, weight, bias, mean, variance, training, momentum, eps)
    return None if made is None else (made[0], _fresh((0,), x.dtype), _fresh((0,), x.dtype))


def plain_batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    training: bool,
    _momentum: float,
    _eps: float,
) -> Any:
    """Batch norm at inference, without the empty placeholders for what it saves in training."""
    held = (weight, bias, mean, variance)
    if training or mean is None or variance is None or not _floating(x, *held) or not x.is_contiguous():
        return None
    shape = x.shape
    if len(shape) < 2:
        return None
    channels = (shape[1],)
    for tensor in held:
        if tensor is not None and tensor.shape != channels:
            return None
    return _like(x), None, None


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    """``torch.nn.functional.linear``, for recording it as one op."""
    if (
        not _floating(x, weight, bias)
        or weight.dim() != 2
        or x.dim() < 1
        or not x.is_contiguous()
        or x.shape[-1] != weight.shape[1]
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        return None
    return _fresh((*x.shape[:-1], weight.shape[0]), x.dtype)


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
    return _like(x), _fresh(statistics, x.dtype), _fresh(statistics, x.dtype)


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
    return _like(query) if _dense(query) else torch.empty_like(query)


RULES: dict[Any, Rule] = {
    _aten.convolution.default: _convolution,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.cat.default: _concatenated,
    _aten.mean.dim: _mean,
    _aten.max_pool2d_with_indices.default: _max_pool,
    _aten.avg_pool2d.default: _average_pool,
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
    **dict.fromkeys((_aten.add.Tensor, _aten.mul.Tensor, _aten.sub.Tensor), _binary),
    **dict.fromkeys((_aten.add_.Tensor, _aten.mul_.Tensor), _binary_in_place),
}
