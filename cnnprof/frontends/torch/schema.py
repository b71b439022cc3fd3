"""How the arguments of an ATen call map onto an op's inputs and attributes; worked out once per overload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cnnprof.frontends.torch.dtypes import ONE_DTYPE, ir_dtype
from cnnprof.ir.record import quick_init

__all__ = ["Bound", "Plan", "bind_arguments", "plan_of"]

# The same data under another name: no op.
_ALIASES = frozenset({"aten:detach.default", "aten:detach_.default", "aten:lift_fresh.default", "aten:alias.default"})
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
    one_dtype: tuple[int, int] | None  # places of the two tensors that must be of one type
    is_alias: bool
    is_batch_norm: bool
    # Where a call gives every argument by position: places of the tensors, places and names of the attributes.
    tensor_places: tuple[int, ...]
    attribute_places: tuple[tuple[int, str], ...]


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
    op_type, base = f"{namespace}:{name}.{overload_name}", name.strip("_")
    return Plan(
        op_type=op_type,
        base=base,
        arguments=arguments,
        writes=any(argument.written for argument in arguments),
        one_dtype=ONE_DTYPE.get(base),
        is_alias=op_type in _ALIASES,
        is_batch_norm=base.endswith("batch_norm"),
        tensor_places=tuple(place for place, argument in enumerate(arguments) if argument.is_tensor),
        attribute_places=tuple(
            (place, argument.name)
            for place, argument in enumerate(arguments)
            if not argument.is_tensor and not argument.dropped
        ),
    )


def bind_arguments(plan: Plan, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:  # noqa: PLR0912
    """Sort a call's arguments; a number in a tensor's place is an attribute under its schema name."""
    given = len(args)
    if given == len(plan.arguments) and not plan.writes:
        direct = tuple([args[place] for place in plan.tensor_places])
        if all([t is None or isinstance(t, torch.Tensor) for t in direct]):  # noqa: C419  (short; a list is quicker)
            named = {
                name: value if type(value := args[place]) in _PLAIN else _plain(value)
                for place, name in plan.attribute_places
            }
            return Bound(direct, named, ())
    tensors: list[torch.Tensor | None] = []
    attributes: dict[str, Any] = {}
    written: list[torch.Tensor] = []
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
    if type(value) is tuple and len(value) == 2 and type(value[0]) is int and type(value[1]) is int:
        return value  # strides, paddings, kernels
    if value is None or isinstance(value, (bool, int, float, str, complex)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([item if type(item) in _PLAIN else _plain(item) for item in value])
    if isinstance(value, torch.dtype):
        return ir_dtype(value).value
    return str(value)
