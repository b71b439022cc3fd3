"""Handwritten digits: Nielsen's series of MNIST networks, and LeNet-5 as published."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "LeNet5",
    "lenet5",
    "nielsen_conv1",
    "nielsen_conv2",
    "nielsen_dropout",
    "nielsen_fc",
    "nielsen_relu",
]

# Table I of LeCun et al. 1998: which of S2's six maps each of C3's sixteen maps is connected to.
_C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class Subsample(nn.Module):
    """S2, S4: the sum of 2×2 inputs times one trainable coefficient a map, plus one bias a map, then tanh."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(1, maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        summed = nn.functional.avg_pool2d(x, 2, divisor_override=1)
        return torch.tanh(summed * self.coefficient + self.bias)


class PartialConv(nn.Module):
    """C3: each map convolves the subset of maps that Table I names; the connections that aren't there cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(len(chosen), 1, 5) for chosen in _C3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x[:, list(chosen)]) for conv, chosen in zip(self.maps, _C3, strict=True)], 1)


class LeNet5(nn.Module):
    """(N, 1, 32, 32) -> (N, 10). The output layer is F6 -> 10 radial basis units with fixed codes (±1)."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsample(6)
        self.c3 = PartialConv()
        self.s4 = Subsample(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.codes: Tensor
        self.register_buffer("codes", torch.ones(10, 84))

    def forward(self, x: Tensor) -> Tensor:
        x = self.s2(torch.tanh(self.c1(x)))
        x = self.s4(torch.tanh(self.c3(x)))
        x = torch.tanh(self.c5(x)).flatten(1)
        x = torch.tanh(self.f6(x))
        return (x.unsqueeze(1) - self.codes).square().sum(2)


def lenet5() -> nn.Module:
    return LeNet5()


def nielsen_fc() -> nn.Module:
    """Chapter 6, first network: one hidden layer of 100 sigmoid units, softmax over 10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.Sigmoid(), nn.Linear(100, 10), nn.Softmax(1))


def nielsen_conv1() -> nn.Module:
    """20 maps 5×5, 2×2 max pooling, 100 units, softmax."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(20 * 12 * 12, 100), nn.Sigmoid(), nn.Linear(100, 10), nn.Softmax(1),
    )  # fmt: skip


def _two_convs(activation: type[nn.Module]) -> list[nn.Module]:
    return [
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), activation(),
        nn.Conv2d(20, 40, 5), nn.MaxPool2d(2), activation(), nn.Flatten(),
    ]  # fmt: skip


def nielsen_conv2() -> nn.Module:
    """20 and 40 maps 5×5, each pooled, 100 units, softmax; sigmoids."""
    return nn.Sequential(
        *_two_convs(nn.Sigmoid), nn.Linear(40 * 4 * 4, 100), nn.Sigmoid(), nn.Linear(100, 10), nn.Softmax(1)
    )


def nielsen_relu() -> nn.Module:
    """The same with rectified linear units."""
    return nn.Sequential(*_two_convs(nn.ReLU), nn.Linear(40 * 4 * 4, 100), nn.ReLU(), nn.Linear(100, 10), nn.Softmax(1))


def nielsen_dropout() -> nn.Module:
    """Two hidden layers of 1,000 units with dropout 0.5 before each dense layer."""
    return nn.Sequential(
        *_two_convs(nn.ReLU), nn.Dropout(0.5), nn.Linear(40 * 4 * 4, 1000), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(1000, 1000), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1000, 10), nn.Softmax(1),
    )  # fmt: skip
