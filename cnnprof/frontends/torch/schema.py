"""How the arguments of an ATen call map onto an op's inputs and attributes; worked out once per overload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cnnprof.frontends.torch.dtypes import ir_dtype
from cnnprof.ir.record import quick_init

__all__ = ["Bound", "Plan", "bind_arguments", "plan_of"]

# Where a result lands says nothing about what it costs.
_DROPPED = frozenset({"device", "layout", "pin_memory", "generator", "non_blocking", "cudnn_enabled"})


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str
    is_tensor: bool
    written: bool
    default: Any
    plain_default: Any  # as an attribute
    dropped: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One overload's schema: its arguments in order, and the names its op goes by."""

    op_type: str  # "aten:convolution.default"
    base: str  # "convolution", without in-place and private underscores
    arguments: tuple[_Argument, ...]
    writes: bool


@quick_init
@dataclass(frozen=True, slots=True)
class Bound:
    """A call's tensors in schema order, lists flattened (None = absent), and its other arguments by name."""

    tensors: tuple[torch.Tensor | None, ...]
    attributes: Mapping[str, Any]
    written: tuple[torch.Tensor, ...]


_PLANS: dict[int, Plan] = {}
_OVERLOADS: list[Any] = []  # keeps the ids above valid


def plan_of(overload: Any) -> Plan:
    """The plan of an ``OpOverload`` (cached for the life of the process: schemas don't change)."""
    plan = _PLANS.get(id(overload))  # by id: an overload's hash is Python
    if plan is None:
        plan = _PLANS[id(overload)] = _make_plan(overload)
        _OVERLOADS.append(overload)
    return plan


def _make_plan(overload: Any) -> Plan:
    schema = overload._schema
    arguments = tuple(
        _Argument(
            name=argument.name,
            is_tensor="Tensor" in str(argument.type),
            written=argument.alias_info is not None and argument.alias_info.is_write,
            default=argument.default_value,
            plain_default=_plain(argument.default_value),
            dropped=argument.name in _DROPPED,
        )
        for argument in schema.arguments
    )
    namespace, _, name = schema.name.partition("::")
    overload_name = schema.overload_name or "default"
    return Plan(
        op_type=f"{namespace}:{name}.{overload_name}",
        base=name.strip("_"),
        arguments=arguments,
        writes=any(argument.written for argument in arguments),
    )


def bind_arguments(plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:  # noqa: PLR0912
    """Sort a call's arguments; a number in a tensor's place is an attribute under its schema name."""
    tensors: list[torch.Tensor | None] = []
    attributes: dict[str, Any] = {}
    written: list[torch.Tensor] = []
    given = len(args)
    for index, argument in enumerate(plan.arguments):
        if index < given:
            value = args[index]
        elif argument.name in kwargs:
            value = kwargs[argument.name]
        elif argument.is_tensor:
            value = argument.default
        else:
            if not argument.dropped:
                attributes[argument.name] = argument.plain_default
            continue
        if not argument.is_tensor:
            if not argument.dropped:
                attributes[argument.name] = value if type(value) in _PLAIN else _plain(value)
        elif value is None or isinstance(value, torch.Tensor):
            tensors.append(value)
            if argument.written and value is not None:
                written.append(value)
        elif isinstance(value, (list, tuple)):
            tensors.extend(item if isinstance(item, torch.Tensor) else None for item in value)
            if argument.written:
                written.extend(item for item in value if isinstance(item, torch.Tensor))
        else:
            tensors.append(None)
            attributes[argument.name] = value
    return Bound(tuple(tensors), attributes, tuple(written))


_PLAIN = frozenset({type(None), bool, int, float, str, complex})


def _plain(value: Any) -> Any:
    """Attributes as data: tuples, numbers, strings; no torch object outlives the trace."""
    if value is None or isinstance(value, (bool, int, float, str, complex)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([item if type(item) in _PLAIN else _plain(item) for item in value])
    if isinstance(value, torch.dtype):
        return ir_dtype(value).value
    return str(value)
