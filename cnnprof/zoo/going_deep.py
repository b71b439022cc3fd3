"""ImageNet networks of 2012 to 2014 that torchvision doesn't have: grouped AlexNet, ZFNet, NIN."""

from __future__ import annotations

from torch import nn

__all__ = ["alexnet_grouped", "nin", "zfnet"]


def _head(features: int, classes: int) -> list[nn.Module]:
    return [
        nn.Flatten(), nn.Linear(features, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, classes),
    ]  # fmt: skip


def alexnet_grouped(classes: int = 1000) -> nn.Module:
    """Krizhevsky, Sutskever, Hinton 2012 as BVLC's reference model has it: two groups where the paper
    split its maps over two GPUs; (N, 3, 227, 227)."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        *_head(256 * 6 * 6, classes),
    )  # fmt: skip


def zfnet(classes: int = 1000) -> nn.Module:
    """Zeiler, Fergus 2013: AlexNet in one column, first filters 7×7 stride 2 instead of 11×11 stride 4;
    (N, 3, 224, 224)."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, 2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.LocalResponseNorm(5),
        nn.Conv2d(96, 256, 5, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.LocalResponseNorm(5),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        *_head(256 * 6 * 6, classes),
    )  # fmt: skip


def _mlpconv(inputs: int, outputs: int, kernel: int, *, last: int | None = None, **more: int) -> list[nn.Module]:
    """A convolution and the two 1×1 layers of a small network that slides with it."""
    return [
        nn.Conv2d(inputs, outputs, kernel, **more), nn.ReLU(),  # type: ignore[arg-type]
        nn.Conv2d(outputs, outputs, 1), nn.ReLU(), nn.Conv2d(outputs, last or outputs, 1), nn.ReLU(),
    ]  # fmt: skip


def nin(classes: int = 1000) -> nn.Module:
    """Lin, Chen, Yan 2013, the ImageNet network: global average pooling in place of dense layers;
    (N, 3, 224, 224)."""
    return nn.Sequential(
        *_mlpconv(3, 96, 11, stride=4), nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlpconv(96, 256, 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlpconv(256, 384, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(),
        *_mlpconv(384, 1024, 3, padding=1, last=classes), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
