"""A synthetic network as a PyTorch module: one submodule an op, called in order, as hand-written models are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cnnprof.ir import Graph, Op

__all__ = ["SyntheticModule"]


class _Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).contiguous().view(batch, channels, height, width)


class _Call(nn.Module):
    """A function with a weight or none."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(nn.Parameter(torch.rand(shape)) for shape in shapes)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.weights)


class SyntheticModule(nn.Module):
    """Runs a graph of :mod:`cnnprof.measure.synthetic` op by op. Weights are random."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._plan = [(op.inputs, op.outputs) for op in graph.ops]
        self._weights = {tensor.name for tensor in graph.tensors.values() if tensor.is_weight}
        self._input, self._output = graph.inputs[0], graph.outputs[0]
        self.layers = nn.ModuleList(_module(graph, op) for op in graph.ops)
        self._reads = [tuple(n for n in ins if n is not None and n not in self._weights) for ins, _ in self._plan]
        self._drops = _last_reads(self._reads, graph)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self._input: x}
        for layer, reads, drops, (_, outputs) in zip(self.layers, self._reads, self._drops, self._plan, strict=True):
            made = layer(*[values[name] for name in reads])
            if len(outputs) == 1:
                values[outputs[0]] = made  # type: ignore[index]
            else:
                values.update(zip(outputs, made, strict=True))  # type: ignore[arg-type]
            for name in drops:  # as Python would, when a local goes out of scope
                del values[name]
        return values[self._output]


def _last_reads(reads: list[tuple[str, ...]], graph: Graph) -> list[tuple[str, ...]]:
    last = {name: index for index, names in enumerate(reads) for name in names}
    return [
        tuple(n for n in dict.fromkeys(names) if last[n] == i and n not in graph.outputs)
        for i, names in enumerate(reads)
    ]


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
        return _Call(torch.mul, shapes[1])
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
