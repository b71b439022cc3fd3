"""Pixel recursive super-resolution (Dahl, Norouzi, Shlens 2017, 1702.00783), 8×8 -> 32×32.

A conditioning ResNet on the small image and a PixelCNN prior on the pixels made so far add their logits. One call
gives the logits of *all* pixels (as in training); sampling needs one call of the prior for every pixel
and channel: 32·32·3 = 3,072 in turn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PixelRecursive", "pixel_recursive"]


class _Masked(nn.Conv2d):
    """A convolution that sees only pixels above and to the left (mask B; mask A leaves the centre out).

    Dense kernels with zeroed taps, as published: the masked taps are multiplied too, so they count.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, centre: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + centre :] = 0
        mask[kernel // 2 + 1 :] = 0
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self._conv_forward(input, self.weight * self.mask, self.bias)
        return result


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.path(x)
        return result


class _Gated(nn.Module):
    """A gated PixelCNN layer: tanh(a)·sigmoid(b) behind a masked 5×5, with a residual 1×1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _Masked(width, 2 * width, 5, centre=True)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, 1)
        result: Tensor = x + self.out(torch.tanh(a) * torch.sigmoid(b))
        return result


class PixelRecursive(nn.Module):
    """(small (N, 3, 8, 8), pixels so far (N, 3, 32, 32)) -> logits (N, 3·256, 32, 32).

    Conditioning: 6 blocks of width 32 at 8×8, a transposed convolution, 6 at 16×16, another, 6 at 32×32, 1×1 to
    3·256 logits. Prior: masked 7×7, 20 gated layers of width 64, 1×1 of width 1,024, 1×1 to 3·256.
    """

    def __init__(self, width: int = 32, prior: int = 64, gated: int = 20) -> None:
        super().__init__()
        self.conditioning = nn.Sequential(
            nn.Conv2d(3, width, 1), *(_Block(width) for _ in range(6)), nn.ConvTranspose2d(width, width, 3, 2, 1, 1),
            *(_Block(width) for _ in range(6)), nn.ConvTranspose2d(width, width, 3, 2, 1, 1),
            *(_Block(width) for _ in range(6)), nn.Conv2d(width, 3 * 256, 1),
        )  # fmt: skip
        self.prior = nn.Sequential(
            _Masked(3, prior, 7, centre=False), *(_Gated(prior) for _ in range(gated)),
            nn.Conv2d(prior, 1024, 1), nn.ReLU(), nn.Conv2d(1024, 3 * 256, 1),
        )  # fmt: skip

    def forward(self, small: Tensor, pixels: Tensor) -> Tensor:
        result: Tensor = self.conditioning(small) + self.prior(pixels)
        return result


def pixel_recursive() -> nn.Module:
    return PixelRecursive()
