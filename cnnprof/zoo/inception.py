"""Inception v1 as published, v2 (batch norm), v4 and Inception-ResNet v2, from their papers.

Szegedy et al. 2014 (1409.4842), Ioffe & Szegedy 2015 (1502.03167), Szegedy et al. 2016 (1602.07261).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnprof.zoo.blocks import Branches, conv_bn_relu

__all__ = ["inception_resnet_v2", "inception_v1", "inception_v2", "inception_v4"]


# -- v1: GoogLeNet, Table 1 ---------------------------------------------------------------------------


def _conv_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU()]


def _v1_block(c: int, one: int, r3: int, three: int, r5: int, five: int, proj: int) -> nn.Module:
    return Branches(
        nn.Sequential(*_conv_relu(c, one, 1)),
        nn.Sequential(*_conv_relu(c, r3, 1), *_conv_relu(r3, three, 3)),
        nn.Sequential(*_conv_relu(c, r5, 1), *_conv_relu(r5, five, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), *_conv_relu(c, proj, 1)),
    )


def inception_v1(classes: int = 1000) -> nn.Module:
    """(N, 3, 224, 224), real 5×5 convolutions, without the auxiliary classifiers of training."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *_conv_relu(3, 64, 7, 2), pool(), nn.LocalResponseNorm(5),
        *_conv_relu(64, 64, 1), *_conv_relu(64, 192, 3), nn.LocalResponseNorm(5), pool(),
        _v1_block(192, 64, 96, 128, 16, 32, 32), _v1_block(256, 128, 128, 192, 32, 96, 64), pool(),
        _v1_block(480, 192, 96, 208, 16, 48, 64), _v1_block(512, 160, 112, 224, 24, 64, 64),
        _v1_block(512, 128, 128, 256, 24, 64, 64), _v1_block(512, 112, 144, 288, 32, 64, 64),
        _v1_block(528, 256, 160, 320, 32, 128, 128), pool(),
        _v1_block(832, 256, 160, 320, 32, 128, 128), _v1_block(832, 384, 192, 384, 48, 128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, classes),
    )  # fmt: skip


# -- v2: batch norm, 5×5 as two 3×3 ---------------------------------------------------------------------


def _v2_block(
    c: int, one: int, r3: int, three: int, rd: int, double: int, *, pool: str, proj: int, stride: int = 1
) -> nn.Module:
    paths: list[nn.Module] = []
    if one:
        paths.append(conv_bn_relu(c, one, 1))
    paths.append(nn.Sequential(conv_bn_relu(c, r3, 1), conv_bn_relu(r3, three, 3, stride, 1)))
    paths.append(
        nn.Sequential(
            conv_bn_relu(c, rd, 1),
            conv_bn_relu(rd, double, 3, 1, 1),
            conv_bn_relu(double, double, 3, stride, 1),
        )
    )
    pooling = nn.AvgPool2d(3, stride, 1) if pool == "avg" else nn.MaxPool2d(3, stride, 1)
    paths.append(nn.Sequential(pooling, conv_bn_relu(c, proj, 1)) if proj else pooling)
    return Branches(*paths)


def inception_v2(classes: int = 1000) -> nn.Module:
    """BN-Inception, (N, 3, 224, 224); the first convolution plain instead of separable."""
    return nn.Sequential(
        conv_bn_relu(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1),
        conv_bn_relu(64, 64, 1), conv_bn_relu(64, 192, 3, 1, 1), nn.MaxPool2d(3, 2, 1),
        _v2_block(192, 64, 64, 64, 64, 96, pool="avg", proj=32),
        _v2_block(256, 64, 64, 96, 64, 96, pool="avg", proj=64),
        _v2_block(320, 0, 128, 160, 64, 96, pool="max", proj=0, stride=2),
        _v2_block(576, 224, 64, 96, 96, 128, pool="avg", proj=128),
        _v2_block(576, 192, 96, 128, 96, 128, pool="avg", proj=128),
        _v2_block(576, 160, 128, 160, 128, 160, pool="avg", proj=96),
        _v2_block(576, 96, 128, 192, 160, 192, pool="avg", proj=96),
        _v2_block(576, 0, 128, 192, 192, 256, pool="max", proj=0, stride=2),
        _v2_block(1024, 352, 192, 320, 160, 224, pool="avg", proj=128),
        _v2_block(1024, 352, 192, 320, 192, 224, pool="max", proj=128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, classes),
    )  # fmt: skip


# -- v4 -------------------------------------------------------------------------------------------------


def _c(inputs: int, *layers: tuple[int, int | tuple[int, int], int]) -> nn.Sequential:
    """A path of (channels, kernel, stride) layers; stride 2 is VALID, stride 1 SAME, as in the figures."""
    modules = []
    for outputs, kernel, stride in layers:
        sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (0, 0) if stride == 2 else (sides[0] // 2, sides[1] // 2)
        modules.append(conv_bn_relu(inputs, outputs, sides, stride, padding))
        inputs = outputs
    return nn.Sequential(*modules)


def _v4_stem() -> nn.Module:
    """Figure 3: 299×299×3 -> 35×35×384."""
    return nn.Sequential(
        conv_bn_relu(3, 32, 3, 2), conv_bn_relu(32, 32, 3), conv_bn_relu(32, 64, 3, 1, 1),
        Branches(nn.MaxPool2d(3, 2), conv_bn_relu(64, 96, 3, 2)),
        Branches(
            nn.Sequential(conv_bn_relu(160, 64, 1), conv_bn_relu(64, 96, 3)),
            nn.Sequential(_c(160, (64, 1, 1), (64, (1, 7), 1), (64, (7, 1), 1)), conv_bn_relu(64, 96, 3)),
        ),
        Branches(conv_bn_relu(192, 192, 3, 2), nn.MaxPool2d(3, 2)),
    )  # fmt: skip


def _avg_path(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), _c(inputs, (outputs, 1, 1)))


class _SplitEnd(nn.Module):
    """A path whose end is a 1×3 and a 3×1 convolution side by side (Inception-C)."""

    def __init__(self, path: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.path = path
        self.ends = Branches(_c(inputs, (outputs, (1, 3), 1)), _c(inputs, (outputs, (3, 1), 1)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.ends(self.path(x))
        return result


def _v4_a() -> nn.Module:
    return Branches(
        _c(384, (96, 1, 1)), _c(384, (64, 1, 1), (96, 3, 1)), _c(384, (64, 1, 1), (96, 3, 1), (96, 3, 1)),
        _avg_path(384, 96),
    )  # fmt: skip


def _v4_b() -> nn.Module:
    return Branches(
        _c(1024, (384, 1, 1)),
        _c(1024, (192, 1, 1), (224, (1, 7), 1), (256, (7, 1), 1)),
        _c(1024, (192, 1, 1), (192, (7, 1), 1), (224, (1, 7), 1), (224, (7, 1), 1), (256, (1, 7), 1)),
        _avg_path(1024, 128),
    )


def _v4_c() -> nn.Module:
    return Branches(
        _c(1536, (256, 1, 1)),
        _SplitEnd(_c(1536, (384, 1, 1)), 384, 256),
        _SplitEnd(_c(1536, (384, 1, 1), (448, (3, 1), 1), (512, (1, 3), 1)), 512, 256),
        _avg_path(1536, 256),
    )


def inception_v4(classes: int = 1000) -> nn.Module:
    """(N, 3, 299, 299): stem, 4 A, reduction, 7 B, reduction, 3 C."""
    reduction_a = Branches(_c(384, (384, 3, 2)), _c(384, (192, 1, 1), (224, 3, 1), (256, 3, 2)), nn.MaxPool2d(3, 2))
    reduction_b = Branches(
        _c(1024, (192, 1, 1), (192, 3, 2)),
        _c(1024, (256, 1, 1), (256, (1, 7), 1), (320, (7, 1), 1), (320, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    return nn.Sequential(
        _v4_stem(), *(_v4_a() for _ in range(4)), reduction_a, *(_v4_b() for _ in range(7)), reduction_b,
        *(_v4_c() for _ in range(3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(1536, classes),
    )  # fmt: skip


# -- Inception-ResNet v2 ---------------------------------------------------------------------------------


class _Residual(nn.Module):
    """x + scale · up(branches(x)), the 1×1 ``up`` with bias and without activation (section 3.2)."""

    def __init__(self, branches: nn.Module, mixed: int, channels: int, scale: float, *, relu: bool = True) -> None:
        super().__init__()
        self.branches = branches
        self.up = nn.Conv2d(mixed, channels, 1)
        self.scale = scale
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.up(self.branches(x))
        return torch.relu(x) if self.relu else x


def _ir_a() -> nn.Module:
    paths = Branches(_c(320, (32, 1, 1)), _c(320, (32, 1, 1), (32, 3, 1)), _c(320, (32, 1, 1), (48, 3, 1), (64, 3, 1)))
    return _Residual(paths, 128, 320, 0.17)


def _ir_b() -> nn.Module:
    paths = Branches(_c(1088, (192, 1, 1)), _c(1088, (128, 1, 1), (160, (1, 7), 1), (192, (7, 1), 1)))
    return _Residual(paths, 384, 1088, 0.10)


def _ir_c(*, relu: bool = True) -> nn.Module:
    paths = Branches(_c(2080, (192, 1, 1)), _c(2080, (192, 1, 1), (224, (1, 3), 1), (256, (3, 1), 1)))
    return _Residual(paths, 448, 2080, 0.20 if relu else 1.0, relu=relu)


def inception_resnet_v2(classes: int = 1000) -> nn.Module:
    """(N, 3, 299, 299), with the widths of the released TF-slim model (320, 1088, 2080)."""
    stem = nn.Sequential(
        conv_bn_relu(3, 32, 3, 2), conv_bn_relu(32, 32, 3), conv_bn_relu(32, 64, 3, 1, 1), nn.MaxPool2d(3, 2),
        conv_bn_relu(64, 80, 1), conv_bn_relu(80, 192, 3), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    mixed_5b = Branches(
        _c(192, (96, 1, 1)), _c(192, (48, 1, 1), (64, 5, 1)), _c(192, (64, 1, 1), (96, 3, 1), (96, 3, 1)),
        _avg_path(192, 64),
    )  # fmt: skip
    reduction_a = Branches(_c(320, (384, 3, 2)), _c(320, (256, 1, 1), (256, 3, 1), (384, 3, 2)), nn.MaxPool2d(3, 2))
    reduction_b = Branches(
        _c(1088, (256, 1, 1), (384, 3, 2)), _c(1088, (256, 1, 1), (288, 3, 2)),
        _c(1088, (256, 1, 1), (288, 3, 1), (320, 3, 2)), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    return nn.Sequential(
        stem, mixed_5b, *(_ir_a() for _ in range(10)), reduction_a, *(_ir_b() for _ in range(20)), reduction_b,
        *(_ir_c() for _ in range(9)), _ir_c(relu=False), _c(2080, (1536, 1, 1)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(1536, classes),
    )  # fmt: skip
