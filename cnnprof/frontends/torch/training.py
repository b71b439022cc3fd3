"""One training step: a loss to start from, the backward pass, the optimizer's update.

The gradient of every floating output is all ones (what a sum over them would give), so no loss of anybody's choice is
in the count. The optimizer is torch's own, one parameter after the other, so its work is what it really executes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from cnnprof.errors import ModelError, UsageError

__all__ = ["OPTIMIZERS", "backward", "make_optimizer", "optimizer_state_bytes"]

_Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, _Make] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, foreach=False),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, foreach=False),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, foreach=False),
}


def check_optimizer(name: str | None) -> None:
    """Raises :class:`UsageError` for a name that isn't known."""
    if name is not None and name not in OPTIMIZERS:
        raise UsageError(f"--optimizer {name}: unknown", f"one of {', '.join(OPTIMIZERS)}")


def make_optimizer(name: str, module: nn.Module) -> torch.optim.Optimizer:
    return OPTIMIZERS[name](p for p in module.parameters() if p.requires_grad)


def backward(outputs: list[torch.Tensor]) -> None:
    """Run autograd from every output that has a gradient. Raises :class:`ModelError` if none has."""
    roots = [t for t in outputs if t.requires_grad and t.is_floating_point()]
    if not roots:
        raise ModelError(
            "training: no output of the model depends on a parameter with requires_grad",
            "unfreeze a parameter, or analyse inference",
        )
    torch.autograd.backward(roots, [torch.ones_like(t) for t in roots])


def optimizer_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of every tensor that the optimizer keeps between steps."""
    total = 0
    for state in optimizer.state.values():
        for value in state.values() if isinstance(state, dict) else ():
            if isinstance(value, torch.Tensor):
                total += value.numel() * value.element_size()
    return total


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in a model's result: nested sequences, mappings, dataclasses and output objects."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors_in(item)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [t for item in value for t in tensors_in(item)]
    if hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
        return [t for item in vars(value).values() for t in tensors_in(item)]
    return []
