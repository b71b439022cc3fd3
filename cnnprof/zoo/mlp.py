"""Fully connected networks on MNIST, 784 inputs to 10 classes: what made depth trainable.

Sigmoid, ReLU and maxout (Goodfellow et al. 2013) stacks, a highway network (Srivastava, Greff, Schmidhuber 2015)
and a residual one (He et al. 2015), all ``depth`` hidden layers of ``width`` units.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["highway", "maxout", "plain", "residual"]


class Maxout(nn.Module):
    """The largest of ``pieces`` affine maps, unit by unit: (N, in) -> (N, out)."""

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.affine = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        pieces: Tensor = self.affine(x).unflatten(1, (-1, self.pieces))
        return pieces.amax(2)


class HighwayLayer(nn.Module):
    """y = T(x)·H(x) + (1 − T(x))·x, with the gate T biased towards carrying (eq. 3 of the paper)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class ResidualLayer(nn.Module):
    """y = x + ReLU(W·x + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.linear(x))


def plain(depth: int = 5, width: int = 100, activation: str = "relu") -> nn.Module:
    """784 -> width × depth -> 10 with "sigmoid" or "relu" between."""
    kind = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}[activation]
    layers: list[nn.Module] = []
    for inputs in (784, *[width] * (depth - 1)):
        layers += [nn.Linear(inputs, width), kind()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def maxout(depth: int = 2, width: int = 240, pieces: int = 5) -> nn.Module:
    """Two maxout layers of 240 units with 5 pieces: the permutation-invariant MNIST net."""
    sizes = (784, *[width] * depth)
    layers = [Maxout(a, b, pieces) for a, b in pairwise(sizes)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def highway(depth: int = 50, width: int = 50) -> nn.Module:
    """One plain layer to set the width, then ``depth`` − 1 highway layers."""
    first = nn.Sequential(nn.Linear(784, width), nn.ReLU())
    return nn.Sequential(first, *(HighwayLayer(width) for _ in range(depth - 1)), nn.Linear(width, 10))


def residual(depth: int = 50, width: int = 50) -> nn.Module:
    first = nn.Sequential(nn.Linear(784, width), nn.ReLU())
    return nn.Sequential(first, *(ResidualLayer(width) for _ in range(depth - 1)), nn.Linear(width, 10))
