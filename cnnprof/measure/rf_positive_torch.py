"""A torch module made monotone, so that a gradient is non-zero exactly where a path leads.

Inside :class:`Positive` every operator that could hide a path is exchanged for one with the same window and
a positive slope: activations become the identity, max pooling the sum over its window, differences sums,
norms the identity, softmax a mean. Gradients are set back to 0 or 1 after every convolution, so that no
depth under- or overflows. :func:`positive_copy` gives a copy of the module with positive weights.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Positive", "double_precision", "positive_copy"]

Rule = Callable[..., Any]


def positive_copy(module: nn.Module) -> nn.Module:
    """A deep copy in float64 and inference mode: weights 1/fan-in, biases 0. The original isn't touched."""
    made = copy.deepcopy(module)
    if any(tensor.is_meta for tensor in (*made.parameters(), *made.buffers())):
        made = made.to_empty(device="cpu")
    made = made.to(device="cpu").double().eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not parameter.is_floating_point():
                continue
            fan_in = parameter.numel() // parameter.shape[0] if parameter.dim() > 1 else 1
            parameter.fill_(0.0 if name.endswith("bias") and parameter.dim() == 1 else 1.0 / max(1, fan_in))
            parameter.requires_grad_(False)
        for buffer in made.buffers():
            if buffer.is_floating_point():
                buffer.fill_(1.0)
    return made


@contextmanager
def double_precision() -> Iterator[None]:
    """New tensors are float64 (constants made in a forward pass must fit its weights), without warnings."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)


class Positive(TorchFunctionMode):
    """While entered, torch functions and tensor methods follow the rules below."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        rule = _RULES.get(name)
        if rule is None:
            result = func(*args, **kwargs)
        elif name in _BY_FUNCTION:
            result = rule(func, *args, **kwargs)
        else:
            result = rule(*args, **kwargs)
        if name in _NORMALISED and isinstance(result, Tensor) and result.requires_grad:
            result.register_hook(_zero_or_one)
        return result


def _zero_or_one(gradient: Tensor) -> Tensor:
    return (gradient != 0).to(gradient.dtype)


# -- rules --------------------------------------------------------------------------------------------------


def _identity(data: Tensor, *_args: Any, **kwargs: Any) -> Tensor:
    """A tensor of its own, so that what is later written into it doesn't reach its source."""
    return data if kwargs.get("inplace", False) else data.clone()


def _in_place(data: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return data


def _sum(first: Any, second: Any, **_kwargs: Any) -> Any:
    return first + second


def _product(first: Any, second: Any, **_kwargs: Any) -> Any:
    """A product of data reads both factors, whatever their values: as a sum it does so even at a zero."""
    data = [value for value in (first, second) if isinstance(value, Tensor) and value.requires_grad]
    if len(data) == 2:
        return data[0] + data[1]
    if not data:
        return first * second
    other = second if data[0] is first else first
    return data[0] + (torch.zeros(other.shape, dtype=data[0].dtype) if isinstance(other, Tensor) else 0.0)


def _softmax(data: Tensor, dim: int = -1, *_args: Any, **_kwargs: Any) -> Tensor:
    return data + data.mean(dim, keepdim=True)


def _layer_norm(data: Tensor, normalized_shape: Any, *_args: Any, **_kwargs: Any) -> Tensor:
    """Statistics see the whole group, the element itself goes through."""
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    return data + data.mean(axes, keepdim=True)


def _group_norm(data: Tensor, num_groups: int, *_args: Any, **_kwargs: Any) -> Tensor:
    grouped = data.reshape(data.shape[0], num_groups, -1)
    return (grouped + grouped.mean(-1, keepdim=True)).reshape(data.shape)


def _instance_norm(data: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    own = kwargs.get("use_input_stats", args[4] if len(args) > 4 else True)
    return data + data.mean(tuple(range(2, data.dim())), keepdim=True) if own else data


def _normalize(data: Tensor, _p: float = 2.0, dim: int = 1, **_kwargs: Any) -> Tensor:
    return data + data.mean(dim, keepdim=True)


def _extreme(func: Any, data: Tensor, *args: Any, **kwargs: Any) -> Any:
    """max/min: of everything, along an axis (with indices), or of two tensors."""
    other = args[0] if args else kwargs.get("other", kwargs.get("dim"))
    if isinstance(other, Tensor):
        return data + other
    if other is None:
        return data.mean()
    keep = args[1] if len(args) > 1 else kwargs.get("keepdim", False)
    with torch.no_grad():
        found = func(data, *args, **kwargs)
    return type(found)((data.mean(other, keepdim=keep), found.indices))


def _extreme_axes(data: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return data.mean(dim, keepdim) if dim not in ((), None) else data.mean()


def _attention(query: Tensor, key: Tensor, value: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    seen = value.mean(-2, keepdim=True) + key.mean((-2, -1), keepdim=True)
    return seen + query.mean(-1, keepdim=True)


def _sliding_sum(func: Any, data: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Any:
    """Max pooling as the sum over its window; its indices, where asked for, stay what they are."""
    with torch.no_grad():
        found = func(data.detach(), kernel_size, *args, **kwargs)
    shape = found[0].shape if isinstance(found, tuple) else found.shape
    given = dict(zip(("stride", "padding", "dilation", "ceil_mode", "return_indices"), args, strict=False)) | kwargs
    kernel = _tuple(kernel_size, _pool_rank(func))
    rank = len(kernel)
    stride = _tuple(given.get("stride") or kernel, rank)
    padding, dilation = _tuple(given.get("padding", 0), rank), _tuple(given.get("dilation", 1), rank)
    batched = data if data.dim() == rank + 2 else data.unsqueeze(0)
    room: list[int] = []
    for axis in range(rank):
        needed = (shape[len(shape) - rank + axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        room = [padding[axis], needed - data.shape[data.dim() - rank + axis] - padding[axis], *room]
    channels = batched.shape[1]
    ones = torch.ones((channels, 1, *kernel), dtype=data.dtype)
    slide = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    summed = slide(functional.pad(batched, room), ones, stride=stride, dilation=dilation, groups=channels)
    summed = summed.reshape(shape)
    return (summed, found[1]) if isinstance(found, tuple) else summed


def _pool_rank(func: Any) -> int:
    return int(next(c for c in func.__name__ if c.isdigit()))


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * rank if len(values) == 1 else values


def _adaptive(func: Any, data: Tensor, output_size: Any, *_args: Any, **_kwargs: Any) -> Any:
    average: Any = getattr(functional, f"adaptive_avg_pool{_pool_rank(func)}d")
    return average(data, output_size)


_IDENTITIES = (
    "relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "sigmoid", "tanh", "softplus", "softsign", "logsigmoid", "prelu", "rrelu", "threshold",
    "clamp", "clip", "clamp_min", "clamp_max", "abs", "sqrt", "rsqrt", "exp", "log", "square", "pow",
    "neg", "reciprocal", "sign", "round", "floor", "ceil", "erf", "batch_norm", "local_response_norm",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "__pow__",
    "__neg__", "__abs__",
)  # fmt: skip
_IN_PLACE = (
    "relu_", "hardtanh_", "leaky_relu_", "elu_", "selu_", "celu_", "silu_", "hardswish_", "hardsigmoid_",
    "sigmoid_", "tanh_", "clamp_", "clip_", "abs_",
)  # fmt: skip

_PRODUCTS = (
    "mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__",
    "div", "div_", "divide", "true_divide", "__truediv__", "__rtruediv__", "__itruediv__",
)  # fmt: skip

_BY_FUNCTION: dict[str, Rule] = {
    "max": _extreme,
    "min": _extreme,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"),
        _sliding_sum,
    ),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive),
}

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_IDENTITIES, _identity),
    **dict.fromkeys(_IN_PLACE, _in_place),
    **dict.fromkeys(("sub", "sub_", "subtract", "rsub", "__sub__", "__rsub__", "__isub__", "maximum", "minimum"), _sum),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "normalize": _normalize,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "amax": _extreme_axes,
    "amin": _extreme_axes,
    "scaled_dot_product_attention": _attention,
    **_BY_FUNCTION,
}

_NORMALISED = frozenset(
    ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear")
)
