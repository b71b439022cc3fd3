"""Xception (Chollet 2016, 1610.02357): depthwise separable convolutions throughout, figure 5."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["xception"]


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class _Block(nn.Module):
    """Separable convolutions around a shortcut; ``stride`` 2 pools the path and projects the shortcut."""

    def __init__(self, widths: tuple[int, ...], *, stride: int = 1, first_relu: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.ReLU()] if index or first_relu else []
            layers += _separable(a, b)
        if stride != 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.path = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False), nn.BatchNorm2d(widths[-1])
            )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.path(x) + self.shortcut(x)
        return result


def xception(classes: int = 1000) -> nn.Module:
    """(N, 3, 299, 299)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        _Block((64, 128, 128), stride=2, first_relu=False),
        _Block((128, 256, 256), stride=2), _Block((256, 728, 728), stride=2),
        *(_Block((728, 728, 728, 728)) for _ in range(8)),
        _Block((728, 728, 1024), stride=2),
        *_separable(1024, 1536), nn.ReLU(), *_separable(1536, 2048), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes),
    )  # fmt: skip
