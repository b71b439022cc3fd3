"""The commonest calls, recorded without going through torch's dispatcher.

A call that reaches the dispatcher costs more on the way there and back than recording it does. For those here
the ATen call that it comes to and its result on meta tensors are known beforehand, in inference, with nothing else
(autocast, vmap, another mode) in between. Each route gives the ATen call and the rule for its result, or declines
(None).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  (the field's name for it)

from cnnprof.frontends.torch.shapes import RULES, plain_batch_norm, plain_convolution

__all__ = ["ROUTES", "Route", "undisturbed"]

_aten = torch.ops.aten
# (overload, its arguments in order, rule for its result)
Direct = tuple[Any, tuple[Any, ...], Callable[..., Any]]
Route = Callable[..., Direct | None]


def undisturbed() -> bool:
    """True if a call goes straight to the recorder, as it is."""
    return (
        not torch.is_grad_enabled()
        and torch._C._len_torch_dispatch_stack() == 1
        and torch._C._functorch.peek_interpreter_stack() is None
        and not torch._C._is_any_autocast_enabled()
    )


def _pair(value: Any) -> Any:
    return [value, value] if isinstance(value, int) else list(value)


def _conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Direct | None:
    if isinstance(padding, str):
        return None
    window = (_pair(stride), _pair(padding), _pair(dilation))
    return _aten.convolution.default, (input, weight, bias, *window, False, [0, 0], groups), plain_convolution


def _batch_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Direct | None:
    arguments = (input, weight, bias, running_mean, running_var, training, momentum, eps)
    return _aten.native_batch_norm.default, arguments, plain_batch_norm


def _layer_norm(
    input: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> Direct | None:
    overload = _aten.native_layer_norm.default
    return overload, (input, list(normalized_shape), weight, bias, eps), RULES[overload]


def _activation(plain: Any, in_place: Any) -> Route:
    def route(input: torch.Tensor, inplace: bool = False) -> Direct | None:
        overload = in_place if inplace else plain
        return overload, (input,), RULES[overload]

    return route


def _unary(overload: Any) -> Route:
    return lambda input: (overload, (input,), RULES[overload])


def _binary(overload: Any) -> Route:
    return lambda input, other: (overload, (input, other), RULES[overload])


def _cat(tensors: Any, dim: int = 0) -> Direct | None:
    return _aten.cat.default, (list(tensors), dim), RULES[_aten.cat.default]


_T = torch.Tensor  # its operators (+, *, +=) come as these methods
ROUTES: dict[Any, Route] = {
    torch.conv2d: _conv2d,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.relu: _activation(_aten.relu.default, _aten.relu_.default),
    F.silu: _activation(_aten.silu.default, _aten.silu_.default),
    F.hardswish: _activation(_aten.hardswish.default, _aten.hardswish_.default),
    torch.sigmoid: _unary(_aten.sigmoid.default),
    _T.sigmoid: _unary(_aten.sigmoid.default),
    **dict.fromkeys((torch.add, _T.add), _binary(_aten.add.Tensor)),
    **dict.fromkeys((torch.mul, _T.mul), _binary(_aten.mul.Tensor)),
    _T.add_: _binary(_aten.add_.Tensor),
    **dict.fromkeys((torch.cat, torch.concat), _cat),
}
