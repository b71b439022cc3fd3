"""Super-resolution: where to upsample, before, after or between.

SRCNN (1501.00092), FSRCNN (1608.00367), ESPCN (1609.05158), VDSR (1511.04587), DRCN (1511.04491),
EDSR-baseline (1707.02921), SRResNet and SRGAN (1609.04802), pixel recursive (1702.00783).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["drcn", "edsr_baseline", "espcn", "fsrcnn", "srcnn", "srgan_discriminator", "srresnet", "vdsr"]


def srcnn(kernels: Sequence[int] = (9, 1, 5), widths: Sequence[int] = (64, 32)) -> nn.Module:
    """On the bicubically enlarged luminance: (N, 1, H, W) -> (N, 1, H, W)."""
    sizes = (1, *widths, 1)
    layers: list[nn.Module] = []
    for a, b, k in zip(sizes, sizes[1:], kernels, strict=False):
        layers += [nn.Conv2d(a, b, k, padding=k // 2), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def fsrcnn(scale: int = 2, d: int = 56, s: int = 12, m: int = 4) -> nn.Module:
    """FSRCNN(d, s, m) on the small image: feature, shrink, m mappings, expand, 9×9 transposed convolution."""
    layers: list[nn.Module] = [nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d), nn.Conv2d(d, s, 1), nn.PReLU(s)]
    for _ in range(m):
        layers += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
    layers += [nn.Conv2d(s, d, 1), nn.PReLU(d)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(d, 1, 9, scale, 4, output_padding=scale - 1))


def espcn(scale: int = 3) -> nn.Module:
    """5×5×64, 3×3×32, 3×3×scale² on the small image, then the sub-pixel shuffle."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
        nn.Conv2d(32, scale**2, 3, padding=1), nn.PixelShuffle(scale),
    )  # fmt: skip


class _Skip(nn.Module):
    """x + path(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.path = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.path(x)
        return result


def vdsr(depth: int = 20) -> nn.Module:
    """20 layers of 3×3×64 on the enlarged image; the net learns the residual."""
    layers: list[nn.Module] = [nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.ReLU()]
    return _Skip(*layers, nn.Conv2d(64, 1, 3, padding=1, bias=False))


class DRCN(nn.Module):
    """Deeply recursive: one 3×3×256 convolution applied ``recursions`` times, every state reconstructed by
    shared layers and the 16 predictions averaged with learnt weights; (N, 1, H, W) -> same."""

    def __init__(self, recursions: int = 16, width: int = 256) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.recur = nn.Conv2d(width, width, 3, padding=1)
        self.reconstruct = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )
        self.weights = nn.Parameter(torch.full((recursions,), 1.0 / recursions))
        self.recursions = recursions

    def forward(self, x: Tensor) -> Tensor:
        state = self.embed(x)
        total: Tensor | None = None
        for step in range(self.recursions):
            state = torch.relu(self.recur(state))
            part = self.weights[step] * (self.reconstruct(state) + x)
            total = part if total is None else total + part
        return x if total is None else total


def drcn() -> nn.Module:
    return DRCN()


def edsr_baseline(scale: int = 2, blocks: int = 16, width: int = 64) -> nn.Module:
    """(N, 3, H, W) -> (N, 3, s·H, s·W): residual blocks without batch norm, sub-pixel upsampling at the end."""
    body = [
        _Skip(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        for _ in range(blocks)
    ]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), _Skip(*body, nn.Conv2d(width, width, 3, padding=1)),
        nn.Conv2d(width, width * scale**2, 3, padding=1), nn.PixelShuffle(scale), nn.Conv2d(width, 3, 3, padding=1),
    )  # fmt: skip


def srresnet(blocks: int = 16) -> nn.Module:
    """The generator of SRGAN, 4 times: (N, 3, H, W) -> (N, 3, 4·H, 4·W)."""

    def block() -> nn.Module:
        return _Skip(
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64),
        )  # fmt: skip

    def enlarge() -> list[nn.Module]:
        return [nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]

    body = _Skip(*(block() for _ in range(blocks)), nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64))
    return nn.Sequential(
        nn.Conv2d(3, 64, 9, padding=4),
        nn.PReLU(),
        body,
        *enlarge(),
        *enlarge(),
        nn.Conv2d(64, 3, 9, padding=4),
    )


def srgan_discriminator(size: int = 96) -> nn.Module:
    """Eight convolutions, 64 to 512 maps, strided instead of pooled, then 1,024 units and one."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), nn.LeakyReLU(0.2)]
    inputs = 64
    for width, stride in ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)):
        layers += [
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)
        ]  # fmt: skip
        inputs = width
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(512 * (size // 16) ** 2, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1),
        nn.Sigmoid(),
    )  # fmt: skip
