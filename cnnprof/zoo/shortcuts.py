"""Shortcut paths that torchvision doesn't have: a convolutional highway network, SE-ResNet-50."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["highway_conv", "se_resnet50"]


class _HighwayConv(nn.Module):
    """y = T(x)·H(x) + (1 − T(x))·x with 3×3 convolutions for H and T (Srivastava et al. 2015)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


def highway_conv(classes: int = 10) -> nn.Module:
    """19 layers on CIFAR-10 (N, 3, 32, 32): three stages, a plain convolution opening each, max pooling
    after it, one linear layer at the end."""
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((32, 5), (80, 6), (128, 6)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        layers += [_HighwayConv(width) for _ in range(depth - 1)]
        layers.append(nn.MaxPool2d(2))
        channels = width
    layers += [nn.Conv2d(128, 128, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, classes))


class _SqueezeExcite(nn.Module):
    """Global average, two dense layers, a sigmoid gate on every channel (Hu et al. 2017)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


def se_resnet50() -> nn.Module:
    """torchvision's ResNet-50 with a squeeze-and-excitation gate (ratio 16) at the end of each residual branch;
    (N, 3, 224, 224)."""
    from torchvision.models.resnet import Bottleneck, resnet50

    model: nn.Module = resnet50(weights=None)
    for block in model.modules():
        if isinstance(block, Bottleneck):
            # bn3 ends the residual branch; the gate belongs between it and the addition.
            block.bn3 = nn.Sequential(block.bn3, _SqueezeExcite(block.bn3.num_features))
    return model
