"""Puts synthetic networks together, op by op, as the project's IR: shapes are worked out here, weights never exist."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cnnprof.ir import NO_ATTRIBUTES, Graph, GraphBuilder, ModelSource, Op, Role, Tensor

__all__ = ["NetBuilder"]


class NetBuilder:
    """Adds canonical ops to a graph of one input; every method takes and gives tensor names."""

    def __init__(self, name: str, shape: tuple[int, int, int, int]) -> None:
        self._builder = GraphBuilder(ModelSource(reference=f"synthetic:{name}", name=name, format="synthetic"))
        self.input = self._builder.add_tensor(Tensor("x", shape, role=Role.INPUT)).name

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self._builder.tensors[name].shape
        if shape is None:
            raise ValueError(f"{name} has no shape")
        return shape

    def channels(self, name: str) -> int:
        return self.shape(name)[1]

    def side(self, name: str) -> int:
        return self.shape(name)[2]

    def done(self, output: str) -> Graph:
        return self._builder.build([self.input], [output])

    # -- ops ------------------------------------------------------------------------------------------

    def conv(
        self, x: str, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, bias: bool = False
    ) -> str:
        batch, inner, height, width = self.shape(x)
        pad = kernel // 2
        attributes = {
            "kernel": (kernel, kernel), "stride": (stride, stride), "dilation": (1, 1),
            "padding": ((pad, pad), (pad, pad)), "groups": groups,
        }  # fmt: skip
        sides = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
        weight = self._weight("weight", (channels, inner // groups, kernel, kernel))
        inputs = (x, weight, self._weight("bias", (channels,))) if bias else (x, weight, None)
        return self._op("conv", inputs, (batch, channels, *sides), attributes)

    def batch_norm(self, x: str) -> str:
        channels = self.channels(x)
        learnt = [self._weight(name, (channels,)) for name in ("scale", "shift")]
        running = [self._weight(name, (channels,), Role.BUFFER) for name in ("mean", "variance")]
        return self._op("batch_norm", (x, *learnt, *running), self.shape(x))

    def act(self, x: str, kind: str, *, in_place: bool = True) -> str:
        """``relu``, ``relu6``, ``silu``, ``hard_swish``, ``hard_sigmoid``, ``sigmoid``, ``gelu``, ``leaky_relu``."""
        return self._op(kind, (x,), self.shape(x), {"in_place": in_place})

    def add(self, x: str, y: str, *, in_place: bool = False) -> str:
        return self._op("add", (x, y), self.shape(x), {"in_place": in_place})

    def mul(self, x: str, gate: str) -> str:
        return self._op("mul", (x, gate), self.shape(x))

    def concat(self, *parts: str) -> str:
        batch, _, *rest = self.shape(parts[0])
        channels = sum(self.channels(part) for part in parts)
        return self._op("concat", parts, (batch, channels, *rest), {"axis": 1})

    def pool(self, x: str, kind: str, kernel: int = 3, stride: int = 2) -> str:
        """``max_pool`` or ``average_pool``, padded so that stride 1 keeps the size."""
        batch, channels, height, width = self.shape(x)
        pad = kernel // 2 if kernel % 2 else 0
        sides = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
        attributes = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": ((pad, pad), (pad, pad))}
        return self._op(kind, (x,), (batch, channels, *sides), attributes)

    def squeeze(self, x: str, *, mean: bool = False) -> str:
        """Global average pooling to (N, C, 1, 1)."""
        batch, channels, *_ = self.shape(x)
        return self._op("reduce_mean" if mean else "adaptive_average_pool", (x,), (batch, channels, 1, 1))

    def flatten(self, x: str) -> str:
        batch, *rest = self.shape(x)
        return self._op("reshape", (x,), (batch, math.prod(rest)))

    def linear(self, x: str, features: int) -> str:
        *lead, inner = self.shape(x)
        inputs = (x, self._weight("weight", (features, inner)), self._weight("bias", (features,)))
        return self._op("linear", inputs, (*lead, features))

    def layer_norm(self, x: str) -> str:
        inner = self.shape(x)[-1]
        return self._op(
            "layer_norm", (x, self._weight("scale", (inner,)), self._weight("shift", (inner,))), self.shape(x)
        )

    def permute(self, x: str, perm: tuple[int, ...]) -> str:
        shape = self.shape(x)
        return self._op("transpose", (x,), tuple(shape[axis] for axis in perm), {"perm": perm})

    def scale(self, x: str) -> str:
        """Times a learnt factor per channel (layer scale)."""
        return self._op("mul", (x, self._weight("gamma", (self.channels(x), 1, 1))), self.shape(x))

    def shuffle(self, x: str, groups: int = 2) -> str:
        return self._op("channel_shuffle", (x,), self.shape(x), {"groups": groups})

    def halves(self, x: str) -> tuple[str, str]:
        """The two halves of the channels."""
        batch, channels, *rest = self.shape(x)
        name = self._builder.unique_op_name("split")
        outputs = [Tensor(f"{name}:{i}", (batch, channels // 2, *rest)) for i in range(2)]
        op = Op(name, "split", "synthetic:split", (x,), tuple(t.name for t in outputs), {"axis": 1})
        self._builder.add_op(op, outputs)
        return outputs[0].name, outputs[1].name

    def _op(
        self,
        kind: str,
        inputs: tuple[str | None, ...],
        shape: tuple[int, ...],
        attributes: Mapping[str, Any] = NO_ATTRIBUTES,
    ) -> str:
        name = self._builder.unique_op_name(kind)
        self._builder.add_op(Op(name, kind, f"synthetic:{kind}", inputs, (name,), attributes), [Tensor(name, shape)])
        return name

    def _weight(self, name: str, shape: tuple[int, ...], role: Role = Role.PARAMETER) -> str:
        return self._builder.add_tensor(Tensor(self._builder.unique_tensor_name(f"w/{name}"), shape, role=role)).name
