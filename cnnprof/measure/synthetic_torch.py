"""A synthetic network as a PyTorch module: one submodule an op, called in order, as hand-written models are."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import getitem
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from cnnprof.ir import Graph, Op

__all__ = ["SyntheticModule", "containers_around"]


class _Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


class _Call(nn.Module):
    """A function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


class _Scale(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mul(x, self.weight)


class _Container(nn.Module):
    """A block of one layer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.inner(*inputs)


def containers_around(index: int) -> float:
    """How many containers a layer of network ``index`` of the suite stands in, on average: none, or as many as in the
    networks of timm that have most."""
    return random.Random(f"containers {index}").choice((0.0, 0.6, 1.2))  # noqa: S311 (not for secrets)


def _contained(layer: nn.Module, containers: int) -> nn.Module:
    for _ in range(containers):
        layer = _Container(layer)
    return layer


class SyntheticModule(nn.Module):
    """Runs a graph of :mod:`cnnprof.measure.synthetic` op by op; ``layers`` are the ops' modules. Weights are random.

    Its forward is written out, a line an op, as a person would write it: going through a table costs the host most of a
    microsecond an op more than real networks do. What nobody reads any more is let go, as when a local is reused.
    ``around``: how many containers stand around a layer on average, drawn from ``seed``; they cost calls.
    """

    def __init__(self, graph: Graph, *, around: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.layers = tuple(_module(graph, op) for op in graph.ops)
        weights = {tensor.name for tensor in graph.tensors.values() if tensor.is_weight}
        rng = random.Random(seed)  # noqa: S311 (not for secrets)
        code = fx.Graph()
        made: dict[str, fx.Node] = {graph.inputs[0]: code.placeholder("x")}
        for index, (op, layer) in enumerate(zip(graph.ops, self.layers, strict=True)):
            self.add_module(f"layer{index}", _contained(layer, int(around + rng.random())))
            reads = tuple(made[name] for name in op.present_inputs if name not in weights)
            result = code.call_module(f"layer{index}", reads)
            if len(op.outputs) == 1:
                made[op.present_outputs[0]] = result
            else:
                parts = enumerate(op.present_outputs)
                made |= {name: code.call_function(getitem, (result, place)) for place, name in parts}
        code.output(made[graph.outputs[0]])
        self._written: Callable[..., torch.Tensor] = type(fx.GraphModule(self, code)).forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._written(self, x)

    @contextmanager
    def timed(self, now: Callable[[], float]) -> Iterator[list[list[float]]]:
        """For each layer the seconds of its calls, one a run: on a device, what issuing it took the host."""
        spent: list[list[float]] = [[] for _ in self.layers]
        for layer, own in zip(self.layers, spent, strict=True):
            layer.__dict__["forward"] = _timed(layer.forward, now, own)
        try:
            yield spent
        finally:
            for layer in self.layers:
                del layer.__dict__["forward"]


def _timed(forward: Callable[..., Any], now: Callable[[], float], spent: list[float]) -> Callable[..., Any]:
    def timed(*inputs: torch.Tensor) -> Any:
        began = now()
        made = forward(*inputs)
        spent.append(now() - began)
        return made

    return timed


def _module(graph: Graph, op: Op) -> nn.Module:
    shapes = [graph.tensors[name].shape or () for name in op.present_inputs]
    attributes = op.attributes
    in_place = bool(attributes.get("in_place", False))
    if op.kind == "conv":
        kernel, stride = attributes["kernel"], attributes["stride"]
        return nn.Conv2d(
            shapes[0][1], shapes[1][0], kernel, stride, attributes["padding"][0][0], groups=attributes["groups"],
            bias=len(shapes) == 3,
        )  # fmt: skip
    if op.kind == "linear":
        return nn.Linear(shapes[1][1], shapes[1][0])
    if op.kind == "batch_norm":
        return nn.BatchNorm2d(shapes[0][1])
    if op.kind == "layer_norm":
        return nn.LayerNorm(shapes[0][-1])
    if op.kind == "channel_shuffle":
        return _Shuffle(attributes["groups"])
    if op.kind in ("max_pool", "average_pool"):
        pool = nn.MaxPool2d if op.kind == "max_pool" else nn.AvgPool2d
        return pool(attributes["kernel"], attributes["stride"], attributes["padding"][0][0])
    if op.kind in _MODULES:
        return _MODULES[op.kind](in_place)
    if op.kind == "mul" and graph.tensors[op.present_inputs[1]].is_weight:
        return _Scale(shapes[1])
    if op.kind == "add":
        return _Call(torch.Tensor.add_ if in_place else torch.add)
    if op.kind == "transpose":
        perm = attributes["perm"]
        return _Call(lambda x: x.permute(perm))
    return _Call(_FUNCTIONS[op.kind])


_MODULES: dict[str, Callable[[bool], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
    "leaky_relu": lambda in_place: nn.LeakyReLU(0.1, in_place),
    "sigmoid": lambda _: nn.Sigmoid(),
    "gelu": lambda _: nn.GELU(),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mul": torch.mul,
    "concat": lambda *parts: torch.cat(parts, 1),
    "split": lambda x: x.chunk(2, 1),
    "adaptive_average_pool": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "reduce_mean": lambda x: x.mean((2, 3), keepdim=True),
    "reshape": lambda x: torch.flatten(x, 1),
}
