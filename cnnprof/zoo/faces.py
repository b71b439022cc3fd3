"""Faces: OpenFace nn4.small2 and nn2 (FaceNet's NN2), and the cascade that finds faces for them.

Facts of OpenFace from its model definitions (cmusatyalab/openface, Apache-2.0); the cascade is MTCNN
(Zhang et al. 2016, 1604.02878).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FacePipeline", "face_pipeline", "nn2", "nn4_small2", "onet", "pnet", "rnet"]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """Convolution with bias, batch norm, ReLU."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class _L2Pool(nn.Module):
    """Square root of the sum of squares over 3×3 windows, *unpadded*: the map shrinks by 2."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.lp_pool2d(x, 2.0, 3, 1)


class Inception(nn.Module):
    """Branches in the order 3×3, 5×5, pool, 1×1; a smaller one is zero-padded back to the centre
    (Torch's DepthConcat) before they are joined."""

    def __init__(
        self, inputs: int, three: tuple[int, int], five: tuple[int, int] | None, pool: tuple[str, int], one: int,
        stride: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        paths = [nn.Sequential(*_conv(inputs, three[0], 1), *_conv(three[0], three[1], 3, stride, 1))]
        if five:
            paths.append(nn.Sequential(*_conv(inputs, five[0], 1), *_conv(five[0], five[1], 5, stride, 2)))
        kind, projection = pool
        pooling = _L2Pool() if kind == "l2" else nn.MaxPool2d(3, stride, 1)
        paths.append(nn.Sequential(pooling, *(_conv(inputs, projection, 1) if projection else [])))
        if one:
            paths.append(nn.Sequential(*_conv(inputs, one, 1)))
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [path(x) for path in self.paths]
        height, width = outputs[0].shape[2:]
        return torch.cat([_centred(y, height, width) for y in outputs], 1)


def _centred(x: Tensor, height: int, width: int) -> Tensor:
    missing_h, missing_w = height - x.shape[2], width - x.shape[3]
    if not missing_h and not missing_w:
        return x
    top, left = missing_h // 2, missing_w // 2
    return nn.functional.pad(x, (left, missing_w - left, top, missing_h - top))


class _Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x)


def _stem() -> list[nn.Module]:
    return [
        *_conv(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(5),
        *_conv(64, 64, 1), *_conv(64, 192, 3, 1, 1), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, 1),
        Inception(192, (96, 128), (16, 32), ("max", 32), 64),
        Inception(256, (96, 128), (32, 64), ("l2", 64), 64),
        Inception(320, (128, 256), (32, 64), ("max", 0), 0, stride=2),
    ]  # fmt: skip


def nn4_small2() -> nn.Module:
    """(N, 3, 96, 96) -> (N, 128), of length 1."""
    return nn.Sequential(
        *_stem(),
        Inception(640, (96, 192), (32, 64), ("l2", 128), 256),
        Inception(640, (160, 256), (64, 128), ("max", 0), 0, stride=2),
        Inception(1024, (96, 384), None, ("l2", 96), 256),
        Inception(736, (96, 384), None, ("max", 96), 256),
        nn.AvgPool2d(3, 1), nn.Flatten(), nn.Linear(736, 128), _Normalise(),
    )  # fmt: skip


def nn2() -> nn.Module:
    """OpenFace's rendering of FaceNet's NN2: (N, 3, 224, 224) -> (N, 128)."""
    return nn.Sequential(
        *_stem(),
        Inception(640, (96, 192), (32, 64), ("l2", 128), 256),
        Inception(640, (112, 224), (32, 64), ("l2", 128), 224),
        Inception(640, (128, 256), (32, 64), ("l2", 128), 192),
        Inception(640, (144, 288), (32, 64), ("l2", 128), 160),
        Inception(640, (160, 256), (64, 128), ("max", 0), 0, stride=2),
        Inception(1024, (192, 384), (48, 128), ("l2", 128), 384),
        Inception(1024, (192, 384), (48, 128), ("max", 128), 384),
        nn.AvgPool2d(7, 1), nn.Flatten(), nn.Linear(1024, 128), _Normalise(),
    )  # fmt: skip


class _Heads(nn.Module):
    """Face or not, box offsets and (where there are) ten landmark coordinates, from one body."""

    def __init__(self, body: nn.Module, *heads: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.body(x)
        return tuple(head(features) for head in self.heads)


def _prelu(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel), nn.PReLU(outputs)]


def pnet() -> nn.Module:
    """Proposal network, fully convolutional: a 12×12 window at stride 2 over every scale of the image."""
    body = nn.Sequential(*_prelu(3, 10, 3), nn.MaxPool2d(2, 2, ceil_mode=True), *_prelu(10, 16, 3), *_prelu(16, 32, 3))
    return _Heads(body, nn.Sequential(nn.Conv2d(32, 2, 1), nn.Softmax(1)), nn.Conv2d(32, 4, 1))


def rnet() -> nn.Module:
    """Refinement network on 24×24 candidates."""
    body = nn.Sequential(
        *_prelu(3, 28, 3), nn.MaxPool2d(3, 2, ceil_mode=True), *_prelu(28, 48, 3), nn.MaxPool2d(3, 2, ceil_mode=True),
        *_prelu(48, 64, 2), nn.Flatten(), nn.Linear(576, 128), nn.PReLU(128),
    )  # fmt: skip
    return _Heads(body, nn.Sequential(nn.Linear(128, 2), nn.Softmax(1)), nn.Linear(128, 4))


def onet() -> nn.Module:
    """Output network on 48×48 candidates: five landmarks too."""
    body = nn.Sequential(
        *_prelu(3, 32, 3), nn.MaxPool2d(3, 2, ceil_mode=True), *_prelu(32, 64, 3), nn.MaxPool2d(3, 2, ceil_mode=True),
        *_prelu(64, 64, 3), nn.MaxPool2d(2, 2, ceil_mode=True), *_prelu(64, 128, 2), nn.Flatten(),
        nn.Linear(1152, 256), nn.PReLU(256),
    )  # fmt: skip
    return _Heads(body, nn.Sequential(nn.Linear(256, 2), nn.Softmax(1)), nn.Linear(256, 4), nn.Linear(256, 10))


class FacePipeline(nn.Module):
    """Detect, align, embed, classify, as one graph: how often each stage runs is the batch it gets.

    ``large``, ``medium``, ``small``: the image at three scales, one P-Net call each; ``candidates``
    (R, 3, 24, 24) and ``kept`` (O, 3, 48, 48): what the cascade passes on; ``faces`` (F, 3, 96, 96): aligned
    crops, embedded and classified.
    """

    def __init__(self, people: int = 100) -> None:
        super().__init__()
        self.pnet, self.rnet, self.onet, self.embed = pnet(), rnet(), onet(), nn4_small2()
        self.classify = nn.Linear(128, people)

    def forward(self, large: Tensor, medium: Tensor, small: Tensor, candidates: Tensor, kept: Tensor, faces: Tensor):  # type: ignore[no-untyped-def]
        detections = [self.pnet(image) for image in (large, medium, small)]
        people: Tensor = self.classify(self.embed(faces))
        return detections, self.rnet(candidates), self.onet(kept), people


def face_pipeline() -> nn.Module:
    return FacePipeline()
