"""Networks of the published receptive-field tables, layer by layer, at a stated input size.

Each returns a Graph and the op that is each end-point. SAME padding is TensorFlow's: output ⌈n/s⌉, the
odd element at the end. Structure after the TF-Slim model definitions (alexnet_v2, vgg, mobilenet_v1, resnet_v1,
inception_v2) and the papers.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor

__all__ = ["Stack", "alexnet_v2", "inception_v2", "mobilenet_v1", "resnet_v1", "rows_of", "vgg"]

Net = tuple[Graph, dict[str, str]]


TABLE = Path(__file__).parents[1] / "data" / "receptive_fields.csv"


@cache
def published() -> tuple[dict[str, str], ...]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def rows_of(model: str) -> list[dict[str, str]]:
    return [row for row in published() if row["model"] == model]


class Stack:
    """A tensor at a time: ``at`` is the current one; windows are square unless tuples are given."""

    def __init__(self, *size: int) -> None:
        self.builder = GraphBuilder(ModelSource("net", "net", "test"))
        self.builder.add_tensor(Tensor("x", (1, 4, *size), role=Role.INPUT))
        self.rank = len(size)
        self.at = "x"
        self.points: dict[str, str] = {}

    def window(self, kind: str, kernel: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1, name: str = "") -> str:
        """``pad``: "SAME", "VALID", a number, or (before, after) pairs."""
        shape = self.builder.tensors[self.at].shape
        assert shape is not None
        k, s, d = (self._each(v) for v in (kernel, stride, dilation))
        pads = self._pads(pad, shape[2:], k, s, d)
        size = [
            (n + sum(p) - dd * (kk - 1) - 1) // ss + 1
            for n, p, kk, ss, dd in zip(shape[2:], pads, k, s, d, strict=True)
        ]
        name = self.builder.unique_op_name(name or kind)
        inputs = [self.at]
        if kind == "conv":
            self.builder.add_tensor(Tensor(f"{name}.w", (4, 4, *k), role=Role.PARAMETER))
            inputs.append(f"{name}.w")
        attributes = {"kernel": k, "stride": s, "dilation": d, "padding": pads}
        return self._op(kind, inputs, (1, 4, *size), attributes | ({"groups": 1} if kind == "conv" else {}), name)

    def conv(self, kernel: Any, stride: Any = 1, pad: Any = "SAME", dilation: Any = 1, name: str = "") -> str:
        return self.window("conv", kernel, stride, pad, dilation, name)

    def pool(self, kernel: Any, stride: Any = 1, pad: Any = "SAME", kind: str = "max_pool") -> str:
        return self.window(kind, kernel, stride, pad)

    def pad(self, pads: tuple[tuple[int, int], ...]) -> str:
        shape = self.builder.tensors[self.at].shape
        assert shape is not None
        grown = [n + sum(p) for n, p in zip(shape[2:], pads, strict=True)]
        return self._op("pad", [self.at], (1, 4, *grown), {"pads": ((0, 0), (0, 0), *pads), "mode": "constant"})

    def join(self, kind: str, *branches: str) -> str:
        shape = self.builder.tensors[branches[0]].shape
        assert shape is not None
        if kind == "concat":
            shape = (1, 4 * len(branches), *shape[2:])
        attributes = {"axis": 1} if kind == "concat" else {}
        out = self._op(kind, list(branches), shape, attributes)
        if kind == "concat":  # back to four channels, so that every layer has the same
            self.point("_")
            return self.conv(1)
        return out

    def simple(self, kind: str) -> str:
        return self._op(kind, [self.at], self.builder.tensors[self.at].shape, {})

    def point(self, name: str) -> None:
        """The current tensor is end-point ``name``."""
        self.points[name] = self.at.removesuffix(":0")

    def build(self) -> Net:
        return self.builder.build(["x"], [self.at]), self.points

    def _op(self, kind: str, inputs: list[str], shape: Any, attributes: dict[str, Any], name: str = "") -> str:
        name = name or self.builder.unique_op_name(kind)
        self.at = f"{name}:0"
        self.builder.add_op(
            Op(name, kind, f"test:{kind}", tuple(inputs), (self.at,), attributes), [Tensor(self.at, tuple(shape))]
        )
        return self.at

    def _each(self, value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, tuple) else (value,) * self.rank

    def _pads(self, pad: Any, sizes: Any, kernel: Any, stride: Any, dilation: Any) -> tuple[tuple[int, int], ...]:
        if pad == "VALID":
            pad = 0
        if pad == "SAME":
            pairs = []
            for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
                total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                pairs.append((total // 2, total - total // 2))
            return tuple(pairs)
        if isinstance(pad, int):
            return ((pad, pad),) * self.rank
        return tuple(pad)


def alexnet_v2(size: int) -> Net:
    net = Stack(size, size)
    for name, layer in (
        ("conv1", (11, 4, "VALID")), ("pool1", (3, 2, "VALID")), ("conv2", (5, 1, "SAME")), ("pool2", (3, 2, "VALID")),
        ("conv3", (3, 1, "SAME")), ("conv4", (3, 1, "SAME")), ("conv5", (3, 1, "SAME")), ("pool5", (3, 2, "VALID")),
    ):  # fmt: skip
        net.window("max_pool" if name.startswith("pool") else "conv", *layer)
        net.point(f"alexnet_v2/{name}")
    return net.build()


def vgg(name: str, size: int) -> Net:
    """``vgg_a`` (11 layers) or ``vgg_16``."""
    net = Stack(size, size)
    for block, count in enumerate({"vgg_a": (1, 1, 2, 2, 2), "vgg_16": (2, 2, 3, 3, 3)}[name], start=1):
        for layer in range(1, count + 1):
            net.conv(3)
            net.point(f"{name}/conv{block}/conv{block}_{layer}")
        net.pool(2, 2, "VALID")
        net.point(f"{name}/pool{block}")
    return net.build()


def mobilenet_v1(size: int) -> Net:
    net = Stack(size, size)
    net.conv(3, 2)
    net.point("Conv2d_0")
    for layer, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), start=1):
        net.conv(3, stride)
        net.conv(1)
        net.point(f"Conv2d_{layer}_pointwise")
    return net.build()


def _fixed(net: Stack, kernel: int, stride: int) -> str:
    """TF-Slim's conv2d_same: SAME for stride 1, else padded alike whatever the size."""
    total = kernel - 1
    return net.conv(kernel, stride, "SAME" if stride == 1 else ((total // 2, total - total // 2),) * 2)


def resnet_v1(name: str, size: int) -> Net:
    """TF-Slim's: the stride stands in each block's last unit."""
    units = {"resnet_v1_50": (3, 4, 6, 3), "resnet_v1_101": (3, 4, 23, 3), "resnet_v1_152": (3, 8, 36, 3)}[name]
    net = Stack(size, size)
    _fixed(net, 7, 2)
    net.pool(3, 2, "SAME")
    for block, count in enumerate(units, start=1):
        for unit in range(count):
            stride = 2 if unit == count - 1 and block < 4 else 1
            source = net.at
            shortcut = net.conv(1, stride) if unit == 0 else net.pool(1, stride) if stride > 1 else source
            net.at = source
            net.conv(1)
            _fixed(net, 3, stride)
            net.join("add", net.conv(1), shortcut)
            net.simple("relu")
        net.point(f"{name}/block{block}")
    return net.build()


def inception_v2(size: int) -> Net:
    net = Stack(size, size)
    net.conv(7, 2)
    net.point("Conv2d_1a_7x7")
    net.pool(3, 2)
    net.point("MaxPool_2a_3x3")
    net.conv(1)
    net.point("Conv2d_2b_1x1")
    net.conv(3)
    net.point("Conv2d_2c_3x3")
    net.pool(3, 2)
    net.point("MaxPool_3a_3x3")
    for name in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"):
        _mixed(net, 2 if name.endswith("a") else 1)
        net.point(f"Mixed_{name}")
    return net.build()


def _mixed(net: Stack, stride: int) -> None:
    """1x1 (not when striding), 1x1-3x3, 1x1-3x3-3x3, pool."""
    source = net.at
    branches = [net.conv(1)] if stride == 1 else []
    net.at = source
    net.conv(1)
    branches.append(net.conv(3, stride))
    net.at = source
    net.conv(1)
    net.conv(3)
    branches.append(net.conv(3, stride))
    net.at = source
    net.pool(3, stride, kind="average_pool" if stride == 1 else "max_pool")
    branches.append(net.conv(1) if stride == 1 else net.at)
    net.join("concat", *branches)
