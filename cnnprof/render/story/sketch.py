"""Small graphs, one line a layer: float32, batch 1, no biases, so that a number can be worked out by hand."""

from __future__ import annotations

import math

from cnnprof.api import profile_graph
from cnnprof.ir import GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.profile import Profile

__all__ = ["Sketch"]


class Sketch:
    """Layers are appended to the last tensor unless ``source`` names another; each method returns its output."""

    def __init__(self, name: str, channels: int, side: int | tuple[int, int]) -> None:
        self._builder = GraphBuilder(ModelSource(f"story:{name}", name, "sketch"))
        sides = (side, side) if isinstance(side, int) else side
        self.last = "x"
        self._builder.add_tensor(Tensor("x", (1, channels, *sides), role=Role.INPUT))

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._builder.tensors[name].shape
        return () if shape is None else shape

    def _op(self, kind: str, sources: tuple[str | None, ...], out_shape: tuple[int, ...], **attributes: object) -> str:
        name = self._builder.unique_op_name(kind)
        out = f"{name}:0"
        self._builder.add_op(Op(name, kind, f"sketch:{kind}", sources, (out,), attributes), [Tensor(out, out_shape)])
        self.last = out
        return out

    def _weight(self, *shape: int) -> str:
        name = self._builder.unique_tensor_name("weight")
        self._builder.add_tensor(Tensor(name, shape, role=Role.PARAMETER))
        return name

    def conv(
        self,
        out: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        source: str | None = None,
    ) -> str:
        """A convolution padded so that stride 1 keeps the size."""
        source = source or self.last
        _, channels, *sides = self._shape(source)
        k = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = tuple(((n - 1) * dilation // 2, (n - 1) * dilation // 2) for n in k)
        size = tuple(-(-side // stride) for side in sides)
        return self._op(
            "conv",
            (source, self._weight(out, channels // groups, *k), None),
            (1, out, *size),
            kernel=k,
            stride=(stride, stride),
            dilation=(dilation, dilation),
            padding=pads,
            groups=groups,
        )

    def deconv(self, out: int, kernel: int, stride: int) -> str:
        """A transposed convolution that multiplies the size by ``stride``."""
        _, channels, *sides = self._shape(self.last)
        pad, extra = divmod(kernel - stride, 2)
        pad, extra = (pad + 1, 1) if extra else (pad, 0)
        return self._op(
            "conv_transpose",
            (self.last, self._weight(channels, out, kernel, kernel), None),
            (1, out, *(side * stride for side in sides)),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            dilation=(1, 1),
            padding=((pad, pad), (pad, pad)),
            groups=1,
            output_padding=(extra, extra),
        )

    def max_pool(self, size: int) -> str:
        _, channels, *sides = self._shape(self.last)
        return self._op(
            "max_pool",
            (self.last,),
            (1, channels, *(side // size for side in sides)),
            kernel=(size, size),
            stride=(size, size),
            dilation=(1, 1),
            padding=((0, 0), (0, 0)),
        )

    def shuffle(self, factor: int) -> str:
        """Channels to space: the sub-pixel layer."""
        _, channels, *sides = self._shape(self.last)
        return self._op(
            "depth_to_space",
            (self.last,),
            (1, channels // factor**2, *(side * factor for side in sides)),
            block=factor,
            mode="CRD",
        )

    def relu(self) -> str:
        return self._op("relu", (self.last,), self._shape(self.last))

    def add(self, other: str) -> str:
        return self._op("add", (self.last, other), self._shape(self.last))

    def global_pool(self) -> str:
        return self._op("global_average_pool", (self.last,), (*self._shape(self.last)[:2], 1, 1))

    def flatten(self) -> str:
        shape = self._shape(self.last)
        flat = (1, math.prod(shape[1:]))
        return self._op("reshape", (self.last,), flat, shape=flat)

    def linear(self, out: int) -> str:
        width = self._shape(self.last)[-1]
        return self._op("linear", (self.last, self._weight(out, width), None), (1, out))

    def profile(self) -> Profile:
        """The sketch analysed like any model."""
        return profile_graph(self._builder.build(["x"], [self.last]))
