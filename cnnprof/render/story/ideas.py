"""The ideas, oldest first, each as two or more graphs that do the same job.

Sizes are the papers' own where they name them, so that the numbers can be found there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnnprof.profile import Profile
from cnnprof.render.story.sketch import Sketch

__all__ = ["IDEAS", "Idea", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """``key`` names the translation; ``make`` builds and analyses the graph; ratios are to variant ``base``."""

    key: str
    make: Callable[[], Profile]
    base: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """``shows`` are the columns beside MACs and parameters: "field", "peak", "flops", "intensity".
    ``examples`` are networks of the zoo that live by it."""

    key: str
    year: int
    source: str
    link: str
    variants: tuple[Variant, ...]
    shows: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


def _convs(name: str, channels: int, side: int, *kernels: int | tuple[int, int]) -> Profile:
    """A stack of convolutions that keep the width."""
    sketch = Sketch(name, channels, side)
    for kernel in kernels:
        sketch.conv(channels, kernel)
    return sketch.profile()


def _fully_connected_head() -> Profile:
    sketch = Sketch("VGG-16's head", 512, 7)
    sketch.flatten()
    for width in (4096, 4096, 1000):
        sketch.linear(width)
    return sketch.profile()


def _pooled_head() -> Profile:
    sketch = Sketch("pooled head", 512, 7)
    sketch.global_pool()
    sketch.flatten()
    sketch.linear(1000)
    return sketch.profile()


def _direct_5x5() -> Profile:
    sketch = Sketch("5x5", 192, 28)
    sketch.conv(32, 5)
    return sketch.profile()


def _reduced_5x5() -> Profile:
    sketch = Sketch("1x1, 5x5", 192, 28)
    sketch.conv(16, 1)
    sketch.conv(32, 5)
    return sketch.profile()


def _block(*, shortcut: bool) -> Profile:
    sketch = Sketch("residual block" if shortcut else "plain block", 64, 56)
    start = sketch.relu()
    sketch.conv(64, 3)
    sketch.relu()
    sketch.conv(64, 3)
    if shortcut:
        sketch.add(start)
    sketch.relu()
    return sketch.profile()


def _bottleneck(width: int, groups: int) -> Profile:
    sketch = Sketch("ResNeXt block" if groups > 1 else "ResNet block", 256, 56)
    sketch.conv(width, 1)
    sketch.conv(width, 3, groups=groups)
    sketch.conv(256, 1)
    return sketch.profile()


def _separable() -> Profile:
    sketch = Sketch("depthwise separable", 256, 28)
    sketch.conv(256, 3, groups=256)
    sketch.conv(256, 1)
    return sketch.profile()


def _one_conv(kernel: int, groups: int) -> Profile:
    sketch = Sketch("one layer", 256, 28)
    sketch.conv(256, kernel, groups=groups)
    return sketch.profile()


def _context(*dilations: int) -> Profile:
    sketch = Sketch("context", 64, 64)
    for dilation in dilations:
        sketch.conv(64, 3, dilation=dilation)
    return sketch.profile()


def _pool_and_upsample() -> Profile:
    """Pools to a fourth and comes back by learnt upsampling: about the field of the dilated stack."""
    sketch = Sketch("pool, upsample", 64, 64)
    sketch.conv(64, 3)
    sketch.max_pool(2)
    sketch.conv(64, 3)
    sketch.max_pool(2)
    sketch.conv(64, 3)
    sketch.conv(64, 3)
    sketch.deconv(64, 8, 4)
    return sketch.profile()


def _srcnn() -> Profile:
    sketch = Sketch("SRCNN", 1, 192)
    sketch.conv(64, 9)
    sketch.conv(32, 1)
    sketch.conv(1, 5)
    return sketch.profile()


def _vdsr() -> Profile:
    sketch = Sketch("VDSR", 1, 192)
    start = sketch.last
    for _ in range(19):
        sketch.conv(64, 3)
    sketch.conv(1, 3)
    sketch.add(start)
    return sketch.profile()


def _fsrcnn() -> Profile:
    sketch = Sketch("FSRCNN", 1, 64)
    sketch.conv(56, 5)
    sketch.conv(12, 1)
    for _ in range(4):
        sketch.conv(12, 3)
    sketch.conv(56, 1)
    sketch.deconv(1, 9, 3)
    return sketch.profile()


def _espcn() -> Profile:
    sketch = Sketch("ESPCN", 1, 64)
    sketch.conv(64, 5)
    sketch.conv(32, 3)
    sketch.conv(9, 3)
    sketch.shuffle(3)
    return sketch.profile()


IDEAS = (
    Idea(
        key="gap", year=2013, source="Lin, Chen, Yan: Network In Network",
        link="https://arxiv.org/abs/1312.4400",
        variants=(Variant("head", _fully_connected_head), Variant("pooled", _pooled_head)),
        examples=("vgg16", "nin", "resnet50"),
    ),
    Idea(
        key="stack", year=2014, source="Simonyan, Zisserman: Very Deep Convolutional Networks",
        link="https://arxiv.org/abs/1409.1556",
        variants=(
            Variant("k5", lambda: _convs("5x5", 64, 28, 5)),
            Variant("k33", lambda: _convs("3x3 twice", 64, 28, 3, 3)),
            Variant("k7", lambda: _convs("7x7", 64, 28, 7), base=2),
            Variant("k333", lambda: _convs("3x3 three times", 64, 28, 3, 3, 3), base=2),
        ),
        shows=("field",),
        examples=("alexnet", "vgg16", "inception-v2"),
    ),
    Idea(
        key="bottleneck", year=2014, source="Szegedy et al.: Going Deeper with Convolutions",
        link="https://arxiv.org/abs/1409.4842",
        variants=(Variant("direct", _direct_5x5), Variant("reduced", _reduced_5x5)),
        shows=("field",),
        examples=("inception-v1", "googlenet", "squeezenet1_0"),
    ),
    Idea(
        key="asymmetric", year=2015, source="Szegedy et al.: Rethinking the Inception Architecture",
        link="https://arxiv.org/abs/1512.00567",
        variants=(
            Variant("square", lambda: _convs("7x7", 192, 17, 7)),
            Variant("pair", lambda: _convs("1x7, 7x1", 192, 17, (1, 7), (7, 1))),
        ),
        shows=("field",),
        examples=("inception-v3", "inception-v4"),
    ),
    Idea(
        key="residual", year=2015, source="He, Zhang, Ren, Sun: Deep Residual Learning",
        link="https://arxiv.org/abs/1512.03385",
        variants=(
            Variant("plain", lambda: _block(shortcut=False)),
            Variant("shortcut", lambda: _block(shortcut=True)),
        ),
        shows=("flops", "peak"),
        examples=("resnet18", "resnet152", "densenet121"),
    ),
    Idea(
        key="dilated", year=2015, source="Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions",
        link="https://arxiv.org/abs/1511.07122",
        variants=(
            Variant("undilated", lambda: _context(1, 1, 1, 1)),
            Variant("pooling", _pool_and_upsample),
            Variant("dilations", lambda: _context(1, 2, 4, 8)),
        ),
        shows=("field", "peak"),
        examples=("context-module", "dilated-frontend", "deeplabv3_resnet50"),
    ),
    Idea(
        key="subpixel", year=2016, source="Shi et al.: Real-Time Single Image Super-Resolution (ESPCN)",
        link="https://arxiv.org/abs/1609.05158",
        variants=(
            Variant("srcnn", _srcnn), Variant("vdsr", _vdsr), Variant("fsrcnn", _fsrcnn),
            Variant("espcn", _espcn),
        ),
        shows=("field", "peak"),
        examples=("srcnn", "vdsr", "fsrcnn", "espcn"),
    ),
    Idea(
        key="grouped", year=2016, source="Xie et al.: Aggregated Residual Transformations (ResNeXt)",
        link="https://arxiv.org/abs/1611.05431",
        variants=(
            Variant("resnet", lambda: _bottleneck(64, 1)),
            Variant("dense_wide", lambda: _bottleneck(128, 1)),
            Variant("resnext", lambda: _bottleneck(128, 32)),
        ),
        examples=("resnet50", "resnext50_32x4d", "alexnet-grouped"),
    ),
    Idea(
        key="separable", year=2017, source="Howard et al.: MobileNets; Chollet: Xception",
        link="https://arxiv.org/abs/1704.04861",
        variants=(Variant("full", lambda: _one_conv(3, 1)), Variant("split", _separable)),
        shows=("intensity",),
        examples=("mobilenet_v1", "xception", "efficientnet_b0"),
    ),
    Idea(
        key="lost", year=2018, source="Ma et al.: ShuffleNet V2, practical guidelines",
        link="https://arxiv.org/abs/1807.11164",
        variants=(
            Variant("full", lambda: _one_conv(3, 1)),
            Variant("pointwise", lambda: _one_conv(1, 1)),
            Variant("depthwise", lambda: _one_conv(3, 256)),
        ),
        shows=("intensity", "moved"),
        examples=("mobilenet_v2", "shufflenet_v2_x1_0", "regnet_x_1_6gf"),
    ),
)  # fmt: skip
