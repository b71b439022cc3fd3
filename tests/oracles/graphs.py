"""Small named graphs that the analyses' tests share, built by hand with GraphBuilder.

Asymmetric inputs everywhere (height ≠ width), so that a swapped axis shows.
"""

from __future__ import annotations

from typing import Any

from cnnprof.ir import ONCE, DType, Execution, Graph, GraphBuilder, ModelSource, Op, Role, Tensor


class Net:
    """A builder with one line per layer; names are given, shapes are stated by the caller."""

    def __init__(self, name: str = "net") -> None:
        self.builder = GraphBuilder(ModelSource(name, name, "test"))
        self.inputs: list[str] = []

    def input(self, name: str, shape: tuple[int, ...], dtype: DType = DType.FLOAT32) -> str:
        self.builder.add_tensor(Tensor(name, shape, dtype, Role.INPUT))
        self.inputs.append(name)
        return name

    def weight(self, name: str, shape: tuple[int, ...], role: Role = Role.PARAMETER) -> str:
        self.builder.add_tensor(Tensor(name, shape, DType.FLOAT32, role))
        return name

    def op(
        self,
        kind: str,
        inputs: tuple[str | None, ...],
        shape: tuple[int, ...] | None,
        name: str | None = None,
        *,
        storage: str = "",
        scope: str = "",
        execution: Execution = ONCE,
        op_type: str | None = None,
        **attributes: Any,
    ) -> str:
        """One op with one output, whose tensor has the op's name plus ``:0``."""
        name = self.builder.unique_op_name(name or kind)
        out = f"{name}:0"
        self.builder.add_op(
            Op(name, kind, op_type or f"test:{kind}", inputs, (out,), attributes, scope, execution),
            [Tensor(out, shape, storage=storage)],
        )
        return out

    def conv(
        self,
        source: str,
        in_shape: tuple[int, int, int, int],
        out_channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: tuple[int, int] = (1, 1),
        pad: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
        weight: str | None = None,
        name: str | None = None,
        **more: Any,
    ) -> tuple[str, tuple[int, int, int, int]]:
        """A convolution and its weights; returns the output and its shape (floor rule)."""
        batch, channels, *size = in_shape
        name = self.builder.unique_op_name(name or "conv")
        if weight is None:
            weight = self.weight(f"{name}.weight", (out_channels, channels // groups, *kernel))
        biases: tuple[str | None, ...] = (self.weight(f"{name}.bias", (out_channels,)),) if bias else ()
        spatial = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, stride, pad, dilation, strict=True)
        ]
        shape = (batch, out_channels, spatial[0], spatial[1])
        out = self.op(
            "conv", (source, weight, *biases), shape, name, kernel=kernel, stride=stride, dilation=dilation,
            padding=tuple((p, p) for p in pad), groups=groups, **more,
        )  # fmt: skip
        return out, shape

    def build(self, *outputs: str) -> Graph:
        return self.builder.build(self.inputs, outputs)


def chain() -> Graph:
    """x(1,3,32,20) -> conv 3x3, 8 maps -> conv 3x3 stride 2, 16 maps."""
    net = Net("chain")
    x = net.input("x", (1, 3, 32, 20))
    a, shape = net.conv(x, (1, 3, 32, 20), 8, name="a")
    b, _ = net.conv(a, shape, 16, stride=(2, 2), name="b")
    return net.build(b)


def diamond() -> Graph:
    """x -> a -> (b, c) -> add: a residual join."""
    net = Net("diamond")
    x = net.input("x", (1, 4, 16, 10))
    a, shape = net.conv(x, (1, 4, 16, 10), 4, name="a")
    b, _ = net.conv(a, shape, 4, name="b")
    c, _ = net.conv(a, shape, 4, (1, 1), pad=(0, 0), name="c")
    return net.build(net.op("add", (b, c), shape, "join"))


def same_input_twice() -> Graph:
    """x + x: one tensor read twice by one op."""
    net = Net("twice")
    x = net.input("x", (1, 2, 5, 3))
    return net.build(net.op("add", (x, x), (1, 2, 5, 3), "sum"))


def unused_output() -> Graph:
    """Two convolutions from x, of which only the second is an output of the graph."""
    net = Net("unused")
    x = net.input("x", (1, 2, 9, 7))
    net.conv(x, (1, 2, 9, 7), 4, name="lost")
    b, _ = net.conv(x, (1, 2, 9, 7), 2, name="kept")
    return net.build(b)


def shared_weight() -> Graph:
    """Two convolutions with one weight between them, no biases."""
    net = Net("shared")
    x = net.input("x", (1, 4, 6, 5))
    a, shape = net.conv(x, (1, 4, 6, 5), 4, bias=False, name="a")
    b, _ = net.conv(a, shape, 4, bias=False, weight="a.weight", name="b")
    return net.build(b)
