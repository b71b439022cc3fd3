"""Made for phones, where torchvision has none: MobileNet v1 (1704.04861), ShuffleNet v1 (1707.01083)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["mobilenet_v1", "shufflenet_v1"]

_V1 = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def _bn_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def mobilenet_v1(width: float = 1.0, classes: int = 1000) -> nn.Module:
    """Table 1 of the paper, (N, 3, S, S): depthwise 3×3 and pointwise 1×1 in turn. ``width`` is α."""
    channels = int(32 * width)
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2, 1, bias=False), *_bn_relu(channels)]
    for base, stride in _V1:
        wider = int(base * width)
        layers += [
            nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), *_bn_relu(channels),
            nn.Conv2d(channels, wider, 1, bias=False), *_bn_relu(wider),
        ]  # fmt: skip
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class _ShuffleUnit(nn.Module):
    """Figure 2: grouped 1×1, channel shuffle, depthwise 3×3, grouped 1×1, around a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: int, *, first: bool) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        branch = outputs - inputs if stride == 2 else outputs
        mid = outputs // 4
        # The very first unit sees 24 channels: too few to group (section 3.2 of the paper).
        self.reduce = nn.Conv2d(inputs, mid, 1, groups=1 if first else groups, bias=False)
        self.reduce_bn = nn.BatchNorm2d(mid)
        self.depthwise = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(mid)
        self.expand = nn.Conv2d(mid, branch, 1, groups=groups, bias=False)
        self.expand_bn = nn.BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.reduce_bn(self.reduce(x)))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = self.expand_bn(self.expand(self.depthwise_bn(self.depthwise(y))))
        if self.stride == 2:
            return torch.relu(torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), y], 1))
        return torch.relu(x + y)


_SHUFFLE_WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


def shufflenet_v1(groups: int = 3, width: float = 1.0, classes: int = 1000) -> nn.Module:
    """Table 1 of the paper, (N, 3, 224, 224)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, 2, 1, bias=False), *_bn_relu(24), nn.MaxPool2d(3, 2, 1)]
    inputs = 24
    base = int(_SHUFFLE_WIDTHS[groups] * width)
    for stage, repeat in enumerate((4, 8, 4)):
        outputs = base * 2**stage
        for unit in range(repeat):
            first = stage == 0 and unit == 0
            layers.append(_ShuffleUnit(inputs, outputs, groups, 2 if unit == 0 else 1, first=first))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
