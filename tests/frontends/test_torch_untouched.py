"""The user's module, functions and random states are as they were, also after an exception."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as module_internals

from cnnprof.errors import ModelError
from cnnprof.frontends.torch.trace import trace


class Stateful(nn.Module):
    """Does what real models do to themselves: caches, counters, buffers written in place."""

    def __init__(self, fail: bool = False, needs_values: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(1))
        self.plain = torch.ones(4, 1, 1)
        self.history: list[int] = [1]
        self.cache: dict[str, Any] = {"size": 0}
        self.fail = fail
        self.needs_values = needs_values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.history.append(2)
        self.cache["size"] = x.shape
        self.last = x
        self.conv.stashed = x
        y = self.drop(self.norm(self.conv(x))) * self.plain
        self.plain = y
        self.register_buffer("late", torch.zeros(2))
        if self.needs_values and y.sum().item() == 1e30:
            y = y * 2
        if self.fail:
            raise ValueError("broken on purpose")
        return y + torch.rand(1) + random.random() + float(np.random.rand())


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything that must stay, by identity and by value."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        found[f"{name}|keys"] = list(part.__dict__)
        found[f"{name}|training"] = part.training
        found[f"{name}|class"] = type(part)
        for key, value in part.__dict__.items():
            found[f"{name}|{key}|id"] = id(value)
            if isinstance(value, torch.Tensor):
                found[f"{name}|{key}|value"] = value.clone().tolist()
            elif isinstance(value, (list, dict, set)):
                found[f"{name}|{key}|items"] = repr(list(value.items()) if isinstance(value, dict) else list(value))
    for key, tensor in module.state_dict(keep_vars=True).items():
        found[f"state|{key}"] = (
            id(tensor), tensor.data_ptr(), tensor.device, tensor._version, tensor.grad is None, tensor.requires_grad,
            tensor.tolist(),
        )  # fmt: skip
    found["hooks"] = [
        len(getattr(module_internals, name))
        for name in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    ]
    return found


def functions() -> dict[str, Any]:
    return {
        **{f"F.{name}": getattr(F, name) for name in dir(F)},
        **{f"torch.{name}": getattr(torch, name) for name in ("matmul", "einsum", "empty", "zeros")},
        "Module.__call__": nn.Module.__call__,
        "Tensor.__matmul__": torch.Tensor.__matmul__,
    }


def states() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state()), torch.is_grad_enabled(),
        torch.get_default_dtype(), torch.get_default_device(), torch.backends.mha.get_fastpath_enabled(),
    )  # fmt: skip


CASES: dict[str, Callable[[], nn.Module]] = {
    "plain": Stateful,
    "fails": lambda: Stateful(fail=True),
    "falls back": lambda: Stateful(needs_values=True),
    "falls back and fails": lambda: Stateful(fail=True, needs_values=True),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "old weight norm": lambda: torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
    "lazy": lambda: nn.LazyConv2d(4, 3),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["inference", "training", "optimizer"])
def test_nothing_is_left_behind(case: str, mode: str) -> None:
    module = CASES[case]().train()
    module.register_forward_hook(lambda *_: None)
    if case == "lazy":
        keys, hooks, kind = list(module.__dict__), dict(module._forward_pre_hooks), type(module)
        trace(module, (1, 3, 8, 6), training=mode != "inference")
        assert (list(module.__dict__), dict(module._forward_pre_hooks), type(module)) == (keys, hooks, kind)
        assert module.has_uninitialized_params()
        return
    before, before_functions, before_states = snapshot(module), functions(), states()
    options = {"training": mode != "inference", "optimizer": "adam" if mode == "optimizer" else None}
    if "fails" in case:
        with pytest.raises(ModelError, match="broken on purpose"):
            trace(module, (1, 3, 8, 6), **options)  # type: ignore[arg-type]
    else:
        trace(module, (1, 3, 8, 6), **options)  # type: ignore[arg-type]
    assert snapshot(module) == before
    assert functions() == before_functions
    assert states() == before_states


def test_gradients_that_were_there_stay() -> None:
    module = nn.Conv2d(3, 4, 3)
    module(torch.ones(1, 3, 8, 6)).sum().backward()
    before = [(id(p.grad), p.grad.tolist()) for p in module.parameters() if p.grad is not None]
    trace(module, (1, 3, 8, 6), training=True, optimizer="sgd")
    assert [(id(p.grad), p.grad.tolist()) for p in module.parameters() if p.grad is not None] == before
    assert len(before) == 2


def test_the_input_tensor_is_not_written() -> None:
    net = nn.ReLU(inplace=True)
    x = torch.full((2, 3), -1.0)
    graph = trace(net, (x,))
    assert x.tolist() == [[-1.0] * 3] * 2
    assert x._version == 0
    assert len(graph) == 1


def test_a_real_run_does_not_write_the_input_either() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(2)
            return x if x.sum().item() > 0 else -x

    x = torch.ones(2, 3)
    trace(Net(), (x,))
    assert x.tolist() == [[1.0] * 3] * 2


def _records() -> Counter[str]:
    found = [type(one) for one in gc.get_objects()]
    return Counter(kind.__name__ for kind in found if str(kind.__module__).startswith("cnnprof."))


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_leaves_nothing_to_the_collector(training: bool) -> None:
    """Records that know each other in a circle would stand until Python looks for such: of every model traced."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2))
    trace(net, [(1, 3, 8, 8)], training=training)
    gc.collect()
    gc.disable()
    try:
        before = _records()
        graph = trace(net, [(1, 3, 8, 8)], training=training)
        left = _records() - before
        assert left.pop("Tensor") == len(graph.tensors)
        assert left.pop("Op") == len(graph.ops)
        assert set(left) <= {"Graph", "ModelSource", "Note"}
    finally:
        gc.enable()
