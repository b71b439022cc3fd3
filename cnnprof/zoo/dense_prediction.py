"""Dense prediction on VGG-16: FCN (1411.4038), dilated front end and context module (1511.07122),
DeepLab-LargeFOV (1412.7062), and U-Net (1505.04597)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["context_module", "deeplab_large_fov", "dilated_frontend", "fcn", "unet"]


def _vgg_block(inputs: int, outputs: int, depth: int, *, padding: int = 1, dilation: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for index in range(depth):
        pad = padding if index == 0 else dilation
        layers += [nn.Conv2d(inputs, outputs, 3, padding=pad, dilation=dilation), nn.ReLU(inplace=True)]
        inputs = outputs
    return layers


def _crop_like(x: Tensor, size: Tensor, offset: int) -> Tensor:
    """Cut ``x`` to ``size``'s height and width from ``offset`` on, as Caffe's Crop layer does."""
    h, w = size.shape[2:]
    return x[:, :, offset : offset + h, offset : offset + w]


class FCN(nn.Module):
    """VGG-16 made convolutional, scores upsampled by transposed convolutions; (N, 3, H, W) -> (N, classes, H, W).

    ``stride`` 32, 16 or 8: how fine the coarsest score map that is fused. The input is padded by 100, as
    published, so that any size passes through fc6's 7×7.
    """

    def __init__(self, stride: int = 32, classes: int = 21) -> None:
        super().__init__()
        self.stride = stride
        self.to_pool3 = nn.Sequential(
            *_vgg_block(3, 64, 2, padding=100), nn.MaxPool2d(2, ceil_mode=True),
            *_vgg_block(64, 128, 2), nn.MaxPool2d(2, ceil_mode=True),
            *_vgg_block(128, 256, 3), nn.MaxPool2d(2, ceil_mode=True),
        )  # fmt: skip
        self.to_pool4 = nn.Sequential(*_vgg_block(256, 512, 3), nn.MaxPool2d(2, ceil_mode=True))
        self.to_pool5 = nn.Sequential(*_vgg_block(512, 512, 3), nn.MaxPool2d(2, ceil_mode=True))
        self.head = nn.Sequential(
            nn.Conv2d(512, 4096, 7), nn.ReLU(inplace=True), nn.Dropout2d(),
            nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout2d(), nn.Conv2d(4096, classes, 1),
        )  # fmt: skip
        last = stride
        if stride <= 16:
            self.up2 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
            self.score4 = nn.Conv2d(512, classes, 1)
        if stride <= 8:
            self.up4 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
            self.score3 = nn.Conv2d(256, classes, 1)
        self.upscore = nn.ConvTranspose2d(classes, classes, 2 * last, last, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pool3 = self.to_pool3(x)
        pool4 = self.to_pool4(pool3)
        score = self.head(self.to_pool5(pool4))
        if self.stride <= 16:
            score = self.up2(score)
            score = score + _crop_like(self.score4(pool4), score, 5)
        if self.stride <= 8:
            score = self.up4(score)
            score = score + _crop_like(self.score3(pool3), score, 9)
        return _crop_like(self.upscore(score), x, {32: 19, 16: 27, 8: 31}[self.stride])


def fcn(stride: int = 32, classes: int = 21) -> nn.Module:
    return FCN(stride, classes)


def dilated_frontend(classes: int = 21) -> nn.Module:
    """VGG-16 without its last two poolings, convolutions behind them dilated by 2 and 4 instead:
    output stride 8, (N, 3, H, W) -> (N, classes, H/8, W/8)."""
    return nn.Sequential(
        *_vgg_block(3, 64, 2), nn.MaxPool2d(2), *_vgg_block(64, 128, 2), nn.MaxPool2d(2),
        *_vgg_block(128, 256, 3), nn.MaxPool2d(2), *_vgg_block(256, 512, 3),
        *_vgg_block(512, 512, 3, padding=2, dilation=2),
        nn.Conv2d(512, 4096, 7, padding=12, dilation=4), nn.ReLU(inplace=True), nn.Dropout2d(),
        nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout2d(), nn.Conv2d(4096, classes, 1),
    )  # fmt: skip


def context_module(channels: int = 21) -> nn.Module:
    """Table 1, basic: eight layers whose dilation doubles, C channels throughout; (N, C, H, W) -> same."""
    layers: list[nn.Module] = []
    for dilation in (1, 1, 2, 4, 8, 16, 1):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(channels, channels, 1))


def deeplab_large_fov(classes: int = 21) -> nn.Module:
    """VGG-16 with pool4 and pool5 at stride 1, conv5 dilated by 2, fc6 as 3×3 dilated by 12 with 1,024 maps,
    scores bilinearly upsampled 8 times."""
    return nn.Sequential(
        *_vgg_block(3, 64, 2), nn.MaxPool2d(3, 2, 1), *_vgg_block(64, 128, 2), nn.MaxPool2d(3, 2, 1),
        *_vgg_block(128, 256, 3), nn.MaxPool2d(3, 2, 1), *_vgg_block(256, 512, 3), nn.MaxPool2d(3, 1, 1),
        *_vgg_block(512, 512, 3, padding=2, dilation=2), nn.MaxPool2d(3, 1, 1),
        nn.Conv2d(512, 1024, 3, padding=12, dilation=12), nn.ReLU(inplace=True), nn.Dropout2d(),
        nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True), nn.Dropout2d(), nn.Conv2d(1024, classes, 1),
        nn.Upsample(scale_factor=8, mode="bilinear", align_corners=False),
    )  # fmt: skip


class UNet(nn.Module):
    """Figure 1: unpadded convolutions, (N, 1, 572, 572) -> (N, 2, 388, 388); features are cropped before each join."""

    def __init__(self, channels: int = 1, classes: int = 2) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3), nn.ReLU(), nn.Conv2d(b, b, 3), nn.ReLU())
            for a, b in zip((channels, *widths), widths, strict=False)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3), nn.ReLU(), nn.Conv2d(b, b, 3), nn.ReLU()) for a, b in pairs
        )
        self.score = nn.Conv2d(64, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = up(x)
            x = merge(torch.cat([_crop_like(skip, x, (skip.shape[2] - x.shape[2]) // 2), x], 1))
        result: Tensor = self.score(x)
        return result


def unet() -> nn.Module:
    return UNet()
