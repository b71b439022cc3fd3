"""One small network of every motif of the synthetic suite, in several styles; quick to run, whatever the suite draws."""

from __future__ import annotations

from itertools import cycle

from cnnprof.ir import Graph
from cnnprof.measure.synthetic import STYLES, Style
from cnnprof.measure.synthetic_build import NetBuilder

__all__ = ["SMALL", "small_network"]

_ACTIVATIONS = cycle(("relu", "relu6", "silu", "hard_swish", "leaky_relu", "gelu", "hard_swish"))
_GATES = cycle(("sigmoid", "hard_sigmoid", "", "sigmoid", "hard_sigmoid"))


def _style(motif: str, rounding: int, *, mean: bool) -> Style:
    return Style(
        motif=motif, act=next(_ACTIVATIONS), in_place=False, in_place_add=False, gate=next(_GATES), kernel=3, groups=4,
        group_width=8, expand=2, bias=mean, rounding=rounding, mean_squeeze=mean,
    )  # fmt: skip


# name -> its style: widths in whole blocks, of half ones, and odd
SMALL = {
    f"{motif}-{rounding}": _style(motif, rounding, mean=bool((i + rounding) % 2))
    for rounding in (16, 4, 1)
    for i, motif in enumerate(STYLES)
}


def small_network(name: str) -> Graph:
    """The network ``name`` of :data:`SMALL`: two blocks of its motif, the first with stride 2, on 48 x 40 pixels."""
    style = SMALL[name]
    net = NetBuilder(name, (1, 3, 48, 40))
    width = {16: 32, 4: 28, 1: 27}[style.rounding]
    x = net.act(net.batch_norm(net.conv(net.input, width, 3, 2)), style.act, in_place=False)
    x = net.pool(x, "average_pool" if style.mean_squeeze else "max_pool", 3, 1)
    motif = STYLES[style.motif]
    x = motif(net, x, width + style.rounding, 2, style)
    x = motif(net, x, net.channels(x), 1, style)
    x = net.flatten(net.squeeze(x, mean=style.mean_squeeze))
    return net.done(net.linear(net.act(net.linear(x, 24), "relu", in_place=False), 10))
