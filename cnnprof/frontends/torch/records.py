"""From torch's tensors, in calls and results, to the IR's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cnnprof.frontends.torch.dtypes import ir_dtype
from cnnprof.ir import Role, Tensor

__all__ = ["layout_of", "record_of", "results_of", "tensors_of", "unnamed"]


def tensors_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [item for item in value if isinstance(item, torch.Tensor)]
    return found


def results_of(result: Any) -> list[torch.Tensor | None]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (list, tuple)):
        return [item if isinstance(item, torch.Tensor) else None for item in result]
    return []


def record_of(tensor: torch.Tensor, name: str, storage: str, role: Role) -> Tensor:
    return Tensor(
        name,
        tuple(tensor.shape),
        ir_dtype(tensor.dtype),
        role,
        storage="" if storage == name else storage,
        layout=layout_of(tensor),
    )


_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layout_of(tensor: torch.Tensor) -> str | None:
    """ "channels_last" if a 4-D or 5-D tensor lies so and not just by having one channel or position."""
    rank = tensor.dim()
    if rank not in _CHANNELS_LAST or tensor.layout is not torch.strided or tensor.is_contiguous():
        return None
    return "channels_last" if tensor.is_contiguous(memory_format=_CHANNELS_LAST[rank]) else None


def unnamed(tensor: torch.Tensor) -> Tensor:
    """What a rule may know of a result that has no name yet."""
    return Tensor("", tuple(tensor.shape), ir_dtype(tensor.dtype), layout=layout_of(tensor))
