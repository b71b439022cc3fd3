"""Marks calls that are one operator although the dispatcher takes them apart.

On meta tensors attention, recurrent layers, linear and matmul reach the dispatcher as views, transposes and plain
products, whatever the user's device would do. A function mode above sees them whole: it runs the call
with recording muted and records one op. In training only the executed operators count, so nothing is marked there;
attention alone is sent to the fused operator that a CPU would run, which keeps far less for the backward pass.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (the field's name for it)
from torch.overrides import TorchFunctionMode

from cnnprof.frontends.torch.direct import LEAVES, PASSING, ROUTES, SIZES_APART, Direct, as_made, undisturbed
from cnnprof.frontends.torch.recorder import Recorder
from cnnprof.frontends.torch.repeats import Repeats
from cnnprof.frontends.torch.schema import Plan, bind_arguments, plan_of
from cnnprof.frontends.torch.scopes import LeafCall
from cnnprof.frontends.torch.shapes import adaptive_average, attention, linear
from cnnprof.ops.table import lookup

__all__ = ["Composites"]

_aten = torch.ops.aten
_functions = torch._C._VariableFunctions
# Bound once: every call comes by.
_function_modes = torch._C._len_torch_function_stack
_DisableTorchFunction = torch._C.DisableTorchFunction
_DisableTorchDispatch = torch._C._DisableTorchDispatch


# Function -> the operator it is. Its arguments come in the operator's order.
_MARKS: dict[Any, Any] = {
    F.linear: _aten.linear.default,
    torch.matmul: _aten.matmul.default,
    torch.Tensor.matmul: _aten.matmul.default,
    torch.Tensor.__matmul__: _aten.matmul.default,
    torch.Tensor.__rmatmul__: _aten.matmul.default,
    F.scaled_dot_product_attention: _aten.scaled_dot_product_attention.default,
    torch.instance_norm: _aten.instance_norm.default,
    torch.adaptive_avg_pool1d: _aten.adaptive_avg_pool1d.default,
    torch._C._nn.adaptive_avg_pool2d: _aten.adaptive_avg_pool2d.default,
    torch._C._nn.adaptive_avg_pool3d: _aten.adaptive_avg_pool3d.default,
}
_REVERSED = {torch.Tensor.__rmatmul__}
_RECURRENT = {getattr(_functions, name): getattr(_aten, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
# Python functions of torch.nn.functional inside which marked calls happen.
_OPENED = {
    F.multi_head_attention_forward,
    F.adaptive_avg_pool2d,
    F.adaptive_avg_pool3d,
    F.instance_norm,
}
_EINSUM = {torch.einsum, torch.functional.einsum}
# Marked calls whose result on meta tensors is known without running their inside.
_QUICK: dict[Any, Callable[..., Any]] = {
    F.linear: linear,
    F.scaled_dot_product_attention: attention,
    torch._C._nn.adaptive_avg_pool2d: adaptive_average,
}
_SPECIAL = frozenset(map(id, (*_MARKS, *_RECURRENT, *_OPENED, *_EINSUM, *ROUTES)))
_USUAL = frozenset({torch.Tensor, torch.nn.Parameter})
_ANSWERED = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
_FLASH_RANK = 4


class Composites(TorchFunctionMode):
    """A function mode that records marked calls as one op each, through ``recorder``; without one (in
    training) it only chooses the fused attention."""

    def __init__(self, recorder: Recorder | None) -> None:
        super().__init__()
        self._recorder = recorder
        self._opened: dict[Any, Callable[..., Any]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if id(func) not in _SPECIAL:  # by id: some callables have no hash
            return func(*args, **kwargs)
        if func in _OPENED:
            opened = self._opened.get(func)
            if opened is None:
                opened = self._opened[func] = _opened(func)
            with self:
                return opened(*args, **kwargs)
        if self._recorder is None:
            if func is F.scaled_dot_product_attention:
                return _attention(args, kwargs)
            return func(*args, **kwargs)
        route = ROUTES.get(func)
        if route is not None:
            made = self._directly(route, *args, **kwargs)
            return func(*args, **kwargs) if made is None else made
        overload = self._overload(func, args)
        if overload is None:
            return func(*args, **kwargs)
        with self._recorder.muted():
            result = None
            quick = _QUICK.get(func) if self._recorder.on_meta else None
            if quick is not None and undisturbed():
                with _DisableTorchDispatch():
                    result = quick(*args, **kwargs)
            if result is None:
                result = func(*args, **kwargs)
        if func in _REVERSED:
            args = args[::-1]
        if func in _EINSUM:
            args = (args[0], _operands(args))
        plan = plan_of(overload)
        self._recorder.record(plan, bind_arguments(plan, args, kwargs), result)
        return result

    def leaf(self, layer: nn.Module) -> LeafCall | None:
        """The short cut for a layer that is one call, or at inference none; None for any other."""
        if self._recorder is None or not as_made(layer):
            return None
        if type(layer) in PASSING:
            return lambda x: None if layer.training else x
        found = LEAVES[type(layer)]

        def short(x: Any) -> Any:
            if _function_modes() != 1:
                return None
            # With the modes on, every look at a tensor's shape would come to this one.
            with _DisableTorchFunction():
                return self._directly(found, layer, x)

        return short

    def _directly(self, route: Callable[..., Direct | None], *args: Any, **kwargs: Any) -> Any:
        """The result of a call recorded past the dispatcher; None where that isn't possible."""
        recorder = self._recorder
        if recorder is None or not recorder.on_meta or recorder.is_muted or not undisturbed():
            return None
        try:
            direct = route(*args, **kwargs)
        except (AttributeError, KeyError, TypeError):  # wrong arguments, or a spelling with more of them
            return None
        if direct is None:
            return None
        overload, arguments, rule = direct
        plan = plan_of(overload)
        with _DisableTorchDispatch():
            apart = SIZES_APART.get(id(overload))
            made = None if apart is None else _by_rule(plan, rule, arguments)
            if apart is None:
                key = Repeats.key(plan, arguments)
            elif made is None:
                return None
            else:
                first = arguments[0]
                if type(first) is list:
                    first = first[0]
                key = (id(plan), first.dim(), first.dtype, apart(arguments))
            again = None if key is None else recorder.repeat(key, plan, arguments, made)
            if again is not None:
                return again
            if apart is None:
                made = _by_rule(plan, rule, arguments)
            if made is None:
                return None
            recorder.record(plan, bind_arguments(plan, arguments, {}), made, key)
        return made[0] if isinstance(made, tuple) else made

    @staticmethod
    def _overload(func: Any, args: tuple[Any, ...]) -> Any:
        """The operator that a call is recorded as; None for one that the dispatcher shows well enough."""
        found = _MARKS.get(func)
        if found is None and func in _RECURRENT:
            packet = _RECURRENT[func]
            # (input, hx, weights, ...), or for packed sequences (data, batch_sizes, hx, weights, ...)
            packed = len(args) > 1 and isinstance(args[1], torch.Tensor) and isinstance(args[3], (list, tuple))
            found = packet.data if packed else packet.input
        if found is None and func in _EINSUM and len(_operands(args)) == 2:
            found = _aten.einsum.default
        return found if found is not None and _known(found) else None


def _by_rule(plan: Plan, rule: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a call of usual tensors gives; None where the rule doesn't say."""
    if _has_unusual(plan, arguments):
        return None
    try:
        return rule(*arguments)
    except (AttributeError, TypeError, ValueError):  # no tensors, say: torch's own error is better
        return None


def _has_unusual(plan: Plan, arguments: tuple[Any, ...]) -> bool:
    """True if a tensor among the arguments is of a type of its own."""
    for place in plan.tensor_places:
        if place >= len(arguments) or type(arguments[place]) in _USUAL:
            continue
        value = arguments[place]
        if isinstance(value, list):
            if not _USUAL.issuperset(map(type, value)):
                return True
        elif isinstance(value, torch.Tensor):
            return True
    return False


def _known(overload: Any) -> bool:
    return lookup(plan_of(overload).op_type)


def _operands(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands of an einsum call, given one by one or as a list; () for the sublist format."""
    if not args or not isinstance(args[0], str):
        return ()
    if len(args) == 2 and isinstance(args[1], (list, tuple)):
        return tuple(args[1])
    return args[1:]


def _opened(func: types.FunctionType) -> Callable[..., Any]:
    """``func`` as a function of ours that doesn't hand itself to function modes again, so that the calls
    inside it are seen. torch.nn.functional itself stays untouched."""
    own_globals = {**func.__globals__, **dict.fromkeys(_ANSWERED, lambda *_args: False)}
    copy = types.FunctionType(func.__code__, own_globals, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _attention(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Attention in training, by the fused CPU operator where a CPU would take it."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key, value = given["query"], given["key"], given["value"]
    mask = given.get("attn_mask")
    fused = (
        query.dim() == key.dim() == value.dim() == _FLASH_RANK
        and query.shape[-1] == value.shape[-1]
        and query.shape[1] == key.shape[1]
        and query.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
        and not given.get("dropout_p")
        and not given.get("enable_gqa")
        and (mask is None or (not mask.requires_grad and mask.dim() in (2, 4)))
        and min(query.shape) > 0
        and query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    )
    if not fused:
        return F.scaled_dot_product_attention(*args, **kwargs)
    if mask is not None and mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    return _aten._scaled_dot_product_flash_attention_for_cpu(
        query,
        key,
        value,
        0.0,
        bool(given.get("is_causal", False)),
        attn_mask=mask,
        scale=given.get("scale"),
    )[0]
