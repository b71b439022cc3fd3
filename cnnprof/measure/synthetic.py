"""Synthetic networks to calibrate on: small random CNNs, each homogeneous in style, all motifs of the field.

They are made of random numbers alone: no architecture, width or resolution of a published network is copied, and no
model library is imported. One seed, one suite: network ``i`` of a seed is always the same, whatever the budget.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from cnnprof.analyses.complexity import complexity
from cnnprof.ir import Graph
from cnnprof.measure.synthetic_build import NetBuilder

__all__ = ["STYLES", "Style", "style_of", "synthetic_network"]

_WIDEST = 1024  # channels of a block, about
_LARGEST_FLAT = 25_000  # features that a linear layer reads
_ACTIVATIONS = ("relu", "relu", "relu6", "silu", "hard_swish", "leaky_relu", "gelu")


@dataclass(frozen=True, slots=True)
class Style:
    """What is the same throughout one network."""

    motif: str
    act: str
    in_place: bool
    in_place_add: bool
    gate: str  # "", "sigmoid" or "hard_sigmoid": squeeze-and-excite
    kernel: int
    groups: int  # of a grouped convolution; 0: as many as ``group_width`` makes
    group_width: int
    expand: int
    bias: bool
    rounding: int  # widths are multiples of this
    mean_squeeze: bool


Motif = Callable[[NetBuilder, str, int, int, Style], str]


def synthetic_network(seed: int, index: int, *, odd_widths: bool = False) -> Graph:
    """Network ``index`` of the suite ``seed``. The motifs take turns, so that any prefix has them all alike; of what
    is drawn, the first whose size is near one drawn too is taken: most are small (many distinct networks teach more
    than many repeats), some as large as the large ones of the field.
    ``odd_widths``: its channels are a multiple of 1, 2 or 6."""
    rng = random.Random(f"{seed}/{index}")  # noqa: S311 (not for secrets)
    # Small ones tell what an op costs beside its work, large ones what the work costs.
    most = 10 ** (rng.uniform(6.8, 8.2) if rng.random() < 0.3 else rng.triangular(7.8, 10.0, 9.1))
    least = most / 3
    while True:
        graph = _drawn(rng, seed, index, odd_widths)
        if least <= complexity(graph).macs <= most:
            return graph
        most, least = most * 1.02, least / 1.02


def style_of(index: int, *, odd_widths: bool = False) -> str:
    """The motif of network ``index``, of any seed."""
    turns = _ODD_TURNS if odd_widths else _TURNS
    return turns[index % len(turns)]


def _drawn(rng: random.Random, seed: int, index: int, odd_widths: bool) -> Graph:
    motif = style_of(index, odd_widths=odd_widths)
    style = Style(
        motif=motif,
        act=rng.choice(_ACTIVATIONS),
        in_place=rng.random() < 0.6,
        in_place_add=rng.random() < 0.5,
        gate=rng.choice(("", "", "sigmoid", "hard_sigmoid")),
        kernel=rng.choice((3, 3, 3, 5, 7) if motif in ("inverted", "separable", "token") else (3, 3, 3, 3, 5)),
        groups=rng.choice((0, 0, 2, 4, 8, 16, 32)),
        group_width=rng.choice((4, 8, 8, 12, 16, 16, 24, 32, 40, 48, 64)),
        expand=rng.choice((2, 3, 4, 6)),
        bias=rng.random() < 0.2,
        rounding=rng.choice((8, 8, 16, 16, 32, 64, 4)),
        mean_squeeze=rng.random() < 0.5,
    )
    if odd_widths:
        style = replace(style, rounding=rng.choice((1, 2, 2, 6)))
    wide = rng.random() < 0.25  # as the last stages of large networks are: many channels, few positions
    side = rng.choice((32, 48, 64, 96) if wide else (64, 96, 112, 128, 144, 160, 192, 208, 224, 240, 256, 288))
    batch = rng.choice((2, 4, 8, 16, 32)) if rng.random() < 0.25 else 1
    net = NetBuilder(f"{seed}-{index}-{motif}", (batch, 3, side, side))
    width = _round(math.exp(rng.uniform(math.log(100 if wide else 10), math.log(600 if wide else 128))), style)
    x = _stem(net, rng, width, style)
    for _ in range(rng.randint(2, 5)):
        stride = 2 if net.side(x) > 7 and rng.random() < 0.85 else 1
        grown = width * rng.uniform(1.2, 2.4) if stride == 2 else width * rng.uniform(0.9, 1.5)
        width = min(_round(grown, style), _round(_WIDEST, style))
        for block in range(rng.randint(1, 2)):
            x = STYLES[motif](net, x, width, stride if block == 0 else 1, style)
    if rng.random() < 0.4:
        x = _conv_act(net, x, min(_round(width * rng.uniform(1, 4), style), 2 * _WIDEST), 1, 1, 1, style)
    if rng.random() < 0.15 and math.prod(net.shape(x)[1:]) <= _LARGEST_FLAT:
        x = net.flatten(x)
    else:
        x = net.squeeze(x, mean=style.mean_squeeze)
        if rng.random() < 0.25:  # a head of convolutions: all weights, one position
            head = _round(width * rng.uniform(1, 4), style)
            x = net.act(net.conv(x, min(head, 2 * _WIDEST), bias=True), style.act, in_place=style.in_place)
        x = net.flatten(x)
    for _ in range(rng.choice((0, 0, 1, 2))):
        x = net.act(net.linear(x, rng.randint(128, 4096)), "relu", in_place=style.in_place)
    return net.done(net.linear(x, rng.randint(50, 1200)))


def _stem(net: NetBuilder, rng: random.Random, width: int, style: Style) -> str:
    if style.motif == "token":  # patches
        patch = rng.choice((2, 4))
        x = net.conv(net.input, width, patch, patch, bias=True)
        return _channels_norm(net, x)
    kernel, stride = rng.choice(((3, 2), (3, 2), (3, 2), (5, 2), (7, 2), (9, 4), (11, 4), (3, 1)))
    x = _conv_act(net, net.input, width, kernel, stride, 1, style)
    if rng.random() < 0.5:
        x = net.pool(x, rng.choice(("max_pool", "max_pool", "average_pool")), rng.choice((2, 3, 3)), 2)
    return x


# -- motifs --------------------------------------------------------------------------------------------


def _residual(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    y = _conv_act(net, x, width, style.kernel, stride, 1, style)
    y = net.batch_norm(net.conv(y, width, 3))
    return net.act(_join(net, x, _gated(net, y, style), stride, style), style.act, in_place=style.in_place)


def _bottleneck(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    inner = _round(width / style.expand + 8, style)
    y = _conv_act(net, x, inner, 1, 1, 1, style)
    y = _conv_act(net, y, inner, 3, stride, 1, style)
    y = net.batch_norm(net.conv(y, width, 1))
    return net.act(_join(net, x, _gated(net, y, style), stride, style), style.act, in_place=style.in_place)


def _grouped(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    step = style.groups * 4 if style.groups else style.group_width
    inner = max(1 if style.groups else 2, round(width / step)) * step
    y = _conv_act(net, x, inner, 1, 1, 1, style)
    y = _conv_act(net, y, inner, 3, stride, style.groups or inner // style.group_width, style)
    y = net.batch_norm(net.conv(_gated(net, y, style), width, 1))
    return net.act(_join(net, x, y, stride, style), style.act, in_place=style.in_place)


def _inverted(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    inner = _round(net.channels(x) * style.expand, style)
    y = _conv_act(net, x, inner, 1, 1, 1, style)
    y = _conv_act(net, y, inner, style.kernel, stride, inner, style)
    y = net.batch_norm(net.conv(_gated(net, y, style), width, 1))
    return net.add(y, x, in_place=style.in_place_add) if net.shape(x) == net.shape(y) else y


def _separable(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    y = _conv_act(net, x, net.channels(x), style.kernel, stride, net.channels(x), style)
    return _conv_act(net, y, width, 1, 1, 1, style)


def _dense(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    growth = _round(width / 4 + 4, style)
    for _ in range(3):
        y = net.act(net.batch_norm(x), "relu", in_place=style.in_place)
        y = _conv_act(net, y, 2 * growth, 1, 1, 1, style)
        x = net.concat(x, net.conv(y, growth, 3))
    if stride == 2:
        x = net.conv(net.act(net.batch_norm(x), "relu", in_place=style.in_place), width, 1)
        x = net.pool(x, "average_pool", 2, 2)
    return x


def _inception(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    part = _round(width / 4 + 4, style)
    branches = [
        _conv_act(net, x, part, 1, stride, 1, style),
        _conv_act(net, _conv_act(net, x, part, 1, 1, 1, style), part, 3, stride, 1, style),
        _conv_act(net, _conv_act(net, x, part, 1, 1, 1, style), part, 5, stride, 1, style),
        _conv_act(net, net.pool(x, "max_pool", 3, stride), part, 1, 1, 1, style),
    ]
    return net.concat(*branches)


def _fire(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    if stride == 2:
        x = net.pool(x, "max_pool", 3, 2)
    squeezed = net.act(net.conv(x, _round(width / 4 + 4, style), 1, bias=True), "relu", in_place=style.in_place)
    sides = [
        net.act(net.conv(squeezed, _round(width / 2, style), k, bias=True), "relu", in_place=style.in_place)
        for k in (1, 3)
    ]
    return net.concat(*sides)


def _plain(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    x = net.act(net.conv(x, width, style.kernel, bias=True), style.act, in_place=style.in_place)
    x = net.act(net.conv(x, width, 3, bias=True), style.act, in_place=style.in_place)
    return net.pool(x, "max_pool", 2, 2) if stride == 2 and net.side(x) > 2 else x


def _token(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    """Depthwise convolution, then layer norm and two linear layers over channels-last tokens."""
    if net.channels(x) != width or stride == 2:
        step = 2 if stride == 2 else 1
        x = net.conv(_channels_norm(net, x), width, step, step, bias=True) if net.side(x) > 1 else x
    channels = net.channels(x)
    y = net.permute(net.conv(x, channels, style.kernel, 1, channels, bias=True), (0, 2, 3, 1))
    y = net.linear(net.layer_norm(y), channels * min(style.expand, 4))
    y = net.permute(net.linear(net.act(y, "gelu", in_place=False), channels), (0, 3, 1, 2))
    return net.add(net.scale(y), x, in_place=style.in_place_add)


def _shuffled(net: NetBuilder, x: str, width: int, stride: int, style: Style) -> str:
    step = min(4, style.rounding)
    half = max(1, round(width / (2 * step))) * step
    if stride == 2 or net.channels(x) != 2 * half:
        left = net.batch_norm(net.conv(x, net.channels(x), 3, stride, net.channels(x)))
        left, right = _conv_act(net, left, half, 1, 1, 1, style), _conv_act(net, x, half, 1, 1, 1, style)
    else:
        left, right = net.halves(x)
        right, stride = _conv_act(net, right, half, 1, 1, 1, style), 1
    right = net.batch_norm(net.conv(right, half, 3, stride, half))
    return net.shuffle(net.concat(left, _conv_act(net, right, half, 1, 1, 1, style)))


STYLES: dict[str, Motif] = {
    "residual": _residual, "inverted": _inverted, "bottleneck": _bottleneck, "separable": _separable,
    "dense": _dense, "grouped": _grouped, "token": _token, "inception": _inception, "shuffled": _shuffled,
    "fire": _fire, "plain": _plain,
}  # fmt: skip


# Those whose convolutions vary most come twice.
_TURNS = (*STYLES, "grouped", "plain", "inverted")
# Widths that fill no vector are rare but for networks of depthwise convolutions.
_ODD_TURNS = (*STYLES, "inverted", "shuffled", "separable")

# -- parts -----------------------------------------------------------------------------------------------


def _conv_act(net: NetBuilder, x: str, width: int, kernel: int, stride: int, groups: int, style: Style) -> str:
    y = net.batch_norm(net.conv(x, width, kernel, stride, groups, bias=style.bias))
    return net.act(y, style.act, in_place=style.in_place)


def _gated(net: NetBuilder, x: str, style: Style) -> str:
    if not style.gate:
        return x
    squeezed = net.squeeze(x, mean=style.mean_squeeze)
    small = net.act(net.conv(squeezed, max(4, net.channels(x) // 8), 1, bias=True), style.act, in_place=style.in_place)
    return net.mul(x, net.act(net.conv(small, net.channels(x), 1, bias=True), style.gate, in_place=False))


def _join(net: NetBuilder, x: str, y: str, stride: int, style: Style) -> str:
    if net.shape(x) != net.shape(y):
        x = net.batch_norm(net.conv(x, net.channels(y), 1, stride))
    return net.add(y, x, in_place=style.in_place_add)


def _channels_norm(net: NetBuilder, x: str) -> str:
    return net.permute(net.layer_norm(net.permute(x, (0, 2, 3, 1))), (0, 3, 1, 2))


def _round(width: float, style: Style) -> int:
    return max(style.rounding, round(width / style.rounding) * style.rounding)
