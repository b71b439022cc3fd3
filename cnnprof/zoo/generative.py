"""DCGAN (Radford, Metz, Chintala 2015, 1511.06434), 64×64, widths 64 as in the widely used rendering."""

from __future__ import annotations

from torch import nn

__all__ = ["dcgan_discriminator", "dcgan_generator"]


def dcgan_generator(noise: int = 100, width: int = 64, channels: int = 3) -> nn.Module:
    """(N, noise, 1, 1) -> (N, channels, 64, 64): transposed convolutions, each doubling the side."""
    layers: list[nn.Module] = []
    inputs = noise
    for factor, stride, padding in ((8, 1, 0), (4, 2, 1), (2, 2, 1), (1, 2, 1)):
        layers += [
            nn.ConvTranspose2d(inputs, width * factor, 4, stride, padding, bias=False),
            nn.BatchNorm2d(width * factor), nn.ReLU(inplace=True),
        ]  # fmt: skip
        inputs = width * factor
    return nn.Sequential(*layers, nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_discriminator(width: int = 64, channels: int = 3) -> nn.Module:
    """(N, channels, 64, 64) -> (N, 1, 1, 1): strided convolutions in place of pooling."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)
    ]  # fmt: skip
    for factor in (1, 2, 4):
        layers += [
            nn.Conv2d(width * factor, width * factor * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * factor * 2), nn.LeakyReLU(0.2, inplace=True),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4, 1, 0, bias=False), nn.Sigmoid())
