"""The commonest calls, recorded without going through torch's dispatcher.

A call that reaches the dispatcher costs more on the way there and back than recording it does. For those here
the ATen call that it comes to and its result on meta tensors are known beforehand, in inference, with nothing else
(autocast, vmap, another mode) in between. Each route gives the ATen call and the rule for its result, or declines
(None). So does each leaf for a layer that is one such call: then the layer's Python isn't run either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (the field's name for it)

from cnnprof.frontends.torch.lent import shown_by
from cnnprof.frontends.torch.shapes import RULES, adaptive_average, linear, plain_batch_norm, plain_convolution

__all__ = ["LEAVES", "PASSING", "ROUTES", "SHORT", "SIZES_APART", "Direct", "Route", "as_made", "undisturbed"]

_aten = torch.ops.aten
# (overload, its arguments in order, rule for its result)
Direct = tuple[Any, tuple[Any, ...], Callable[..., Any]]
Route = Callable[..., Direct | None]


def undisturbed() -> bool:
    """True if a call goes straight to the recorder, as it is."""
    return not _grad_enabled() and _dispatch_modes() == 1 and _functorch_level() is None and not _autocast_enabled()


# Bound once: every recorded call asks.
_grad_enabled = torch.is_grad_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack
_autocast_enabled = torch._C._is_any_autocast_enabled


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else tuple(value)


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
    return _aten.convolution.default, (input, weight, bias, *window, False, (0, 0), groups), plain_convolution


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
    return _aten.native_layer_norm.default, (input, tuple(normalized_shape), weight, bias, eps), _LAYER_NORM


# Rules are looked up beforehand: an overload's hash is Python.
_LAYER_NORM = RULES[_aten.native_layer_norm.default]
_CAT = RULES[_aten.cat.default]


def _activation(plain: Any, in_place: Any) -> Route:
    rule, rule_in_place = RULES[plain], RULES[in_place]

    def route(input: torch.Tensor, inplace: bool = False) -> Direct | None:
        return (in_place, (input,), rule_in_place) if inplace else (plain, (input,), rule)

    return route


def _unary(overload: Any) -> Route:
    rule = RULES[overload]
    return lambda input: (overload, (input,), rule)


def _binary(overload: Any) -> Route:
    rule = RULES[overload]
    return lambda input, other: (overload, (input, other), rule)


def _cat(tensors: Any, dim: int = 0) -> Direct | None:
    return _aten.cat.default, (list(tensors), dim), _CAT


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


# Calls whose kind and attributes don't depend on how many channels, positions or parts there are, by the overload's id
# (its hash is Python): what of their arguments they do depend on, beside the first tensor's rank and type.
_UNARY = (
    *(_aten.relu.default, _aten.relu_.default, _aten.silu.default, _aten.silu_.default, _aten.sigmoid.default),
    *(_aten.hardswish.default, _aten.hardswish_.default),
)
SIZES_APART: dict[int, Callable[[tuple[Any, ...]], Any]] = {
    id(_aten.convolution.default): lambda a: (a[1].shape[2:], a[2] is None, a[3], a[4], a[5], a[8]),
    id(_aten.native_batch_norm.default): lambda a: (a[1] is None, a[2] is None, a[3] is None, a[5]),
    id(_aten.linear.default): lambda a: a[2] is None,
    id(_aten.adaptive_avg_pool2d.default): lambda a: a[1],
    id(_aten.cat.default): lambda a: a[1],
    **dict.fromkeys(map(id, (_aten.add.Tensor, _aten.mul.Tensor, _aten.add_.Tensor)), lambda a: a[1].dim()),
    **dict.fromkeys(map(id, _UNARY), lambda _arguments: None),
}


Leaf = Callable[[Any, torch.Tensor], Direct | None]


# Parameters and buffers are taken from where a module keeps them: asked for by attribute, Python looks for them. Only
# their shapes matter, so they may be the user's own. A layer that keeps them elsewhere raises KeyError, and runs as it
# does.


def _conv2d_layer(layer: nn.Conv2d, x: torch.Tensor) -> Direct | None:
    if layer.padding_mode != "zeros":
        return None
    held = shown_by(layer._parameters)
    return _conv2d(x, held["weight"], held["bias"], layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[arg-type]


def _batch_norm_layer(layer: nn.BatchNorm2d, x: torch.Tensor) -> Direct | None:
    held, running = shown_by(layer._parameters), shown_by(layer._buffers)
    if x.dim() != 4 or layer.training or running["running_mean"] is None:  # of another rank the layer refuses it
        return None
    statistics = (running["running_mean"], running["running_var"])
    return _batch_norm(x, *statistics, held["weight"], held["bias"], False, layer.momentum or 0.0, layer.eps)


def _layer_norm_layer(layer: nn.LayerNorm, x: torch.Tensor) -> Direct | None:
    held = shown_by(layer._parameters)
    return _layer_norm(x, layer.normalized_shape, held["weight"], held["bias"], layer.eps)


def _linear_layer(layer: nn.Linear, x: torch.Tensor) -> Direct | None:
    held = shown_by(layer._parameters)
    return _aten.linear.default, (x, held["weight"], held["bias"]), linear


def _adaptive_average_layer(layer: nn.AdaptiveAvgPool2d, x: torch.Tensor) -> Direct | None:
    return _aten.adaptive_avg_pool2d.default, (x, layer.output_size), adaptive_average


# Layers by their very type (a subclass may do more), as they run on one tensor.
LEAVES: dict[type[nn.Module], Leaf] = {
    nn.Conv2d: _conv2d_layer,
    nn.BatchNorm2d: _batch_norm_layer,
    nn.LayerNorm: _layer_norm_layer,
    nn.Linear: _linear_layer,
    nn.AdaptiveAvgPool2d: _adaptive_average_layer,
    nn.ReLU: lambda layer, x: ROUTES[F.relu](x, layer.inplace),
    nn.SiLU: lambda layer, x: ROUTES[F.silu](x, layer.inplace),
    nn.Hardswish: lambda layer, x: ROUTES[F.hardswish](x, layer.inplace),
    nn.Sigmoid: lambda _layer, x: ROUTES[torch.sigmoid](x),
}
# What gives back what it was given, at inference.
PASSING: frozenset[type[nn.Module]] = frozenset({nn.Identity, nn.Dropout})
SHORT = frozenset((*LEAVES, *PASSING))  # all that have a short cut
_FORWARDS = {kind: kind.forward for kind in SHORT}


def as_made(layer: nn.Module) -> bool:
    """True for a layer with a short cut whose forward nobody has replaced."""
    kind = type(layer)
    return kind in _FORWARDS and kind.forward is _FORWARDS[kind] and "forward" not in layer.__dict__
