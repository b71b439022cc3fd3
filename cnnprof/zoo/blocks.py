"""Building blocks that several families share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Branches", "conv_bn_relu"]

Size = int | tuple[int, int]


def conv_bn_relu(
    inputs: int, outputs: int, kernel: Size, stride: Size = 1, padding: Size = 0, *, eps: float = 1e-3
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs, eps=eps),
        nn.ReLU(inplace=True),
    )


class Branches(nn.Module):
    """Paths side by side on the same input, concatenated on channels."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Sequence[Tensor] = [path(x) for path in self.paths]
        return torch.cat(list(outputs), 1)
