"""Random small convolutional DAGs as torch modules, drawn by hypothesis: their gradient is the oracle.

A net is a list of steps, each on tensors made before: convolutions with even kernels, dilation and lopsided
pads, transposed convolutions, pools, resizes, pixel shuffles, slices, flips, transposes and joins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

__all__ = ["DagNet", "dags"]

_LIMIT = 20


@dataclass(frozen=True)
class Step:
    kind: str
    sources: tuple[int, ...]
    options: dict[str, Any]


class DagNet(nn.Module):
    """Runs its steps in order; the output is the last tensor."""

    def __init__(self, rank: int, shape: tuple[int, ...], steps: list[Step]) -> None:
        super().__init__()
        self.rank, self.shape, self.steps = rank, shape, steps
        self.weights = nn.ParameterDict()
        for number, step in enumerate(steps):
            if "weight" in step.options:
                self.weights[str(number)] = nn.Parameter(torch.rand(step.options["weight"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tensors = [x]
        for number, step in enumerate(self.steps):
            weight = self.weights.get(str(number), None)
            tensors.append(run_step(self.rank, step, [tensors[i] for i in step.sources], weight))
        return tensors[-1]

    def __repr__(self) -> str:
        return f"DagNet(rank={self.rank}, shape={self.shape}, steps={self.steps})"


def run_step(rank: int, step: Step, data: list[torch.Tensor], weight: Any) -> torch.Tensor:
    o = step.options
    x = data[0]
    if step.kind == "conv":
        conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
        return conv(F.pad(x, o["pad"]), weight, None, o["stride"], 0, o["dilation"], o.get("groups", 1))
    if step.kind == "conv_transpose":
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        return conv(x, weight, None, o["stride"], o["padding"], o["output_padding"], 1, o["dilation"])
    if step.kind == "max_pool":
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
        return pool(x, o["kernel"], o["stride"], o["padding"], o["dilation"], o["ceil"])
    if step.kind == "avg_pool":
        pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
        return pool(x, o["kernel"], o["stride"], o["padding"])
    if step.kind == "resize":
        return F.interpolate(x, size=o["size"], mode=o["mode"], align_corners=o["align"])
    if step.kind == "shuffle":
        return F.pixel_shuffle(x, 2)
    if step.kind == "unshuffle":
        return F.pixel_unshuffle(x, 2)
    if step.kind == "slice":
        return x[(slice(None), slice(None), *(slice(*s) for s in o["slices"]))]
    if step.kind == "flip":
        return x.flip(o["axis"])
    if step.kind == "swap":
        return x.transpose(2, 3)
    if step.kind == "reflect":
        return F.pad(x, o["pad"], mode="reflect")
    if step.kind == "roll":
        return torch.roll(x, o["shift"], o["axis"])
    if step.kind == "mixer":  # a squeeze-and-excite gate
        return x * x.mean(tuple(range(2, rank + 2)), keepdim=True)
    if step.kind in ("add", "concat"):
        sizes = [min(t.shape[a] for t in data) for a in range(2, rank + 2)]
        cut = [t[(slice(None), slice(None), *(slice(0, s) for s in sizes))] for t in data]
        if step.kind == "concat":
            return torch.cat(cut, 1)
        return cut[0] + cut[1]
    raise AssertionError(step.kind)


@st.composite
def dags(draw: st.DrawFn) -> DagNet:
    rank = draw(st.integers(1, 3))
    top = {1: 18, 2: 13, 3: 8}[rank]
    shape = (1, draw(st.integers(1, 2)), *(draw(st.integers(4, top)) for _ in range(rank)))
    tensors = [torch.ones(shape)]
    steps: list[Step] = []
    for _ in range(draw(st.integers(2, 7))):
        step = draw(_step(rank, tensors))
        if step is None:
            continue
        weight = torch.ones(step.options["weight"]) if "weight" in step.options else None
        tensors.append(run_step(rank, step, [tensors[i] for i in step.sources], weight))
        steps.append(step)
    if not steps:
        steps.append(Step("flip", (0,), {"axis": 2}))
    return DagNet(rank, shape, steps)


@st.composite
def _step(draw: st.DrawFn, rank: int, tensors: list[torch.Tensor]) -> Step | None:
    source = draw(st.integers(max(0, len(tensors) - 3), len(tensors) - 1))
    x = tensors[source]
    sizes = x.shape[2:]
    kinds = ["conv", "conv", "conv_transpose", "max_pool", "avg_pool", "resize", "slice", "flip", "reflect", "roll"]
    kinds += ["swap", "shuffle", "unshuffle"] if rank == 2 else []
    kinds += ["add", "concat", "add"] if len(tensors) > 1 else []
    kinds += ["mixer"]
    kind = draw(st.sampled_from(kinds))
    small = st.integers(1, 3)

    def per_axis(strategy: Any) -> tuple[int, ...]:
        return tuple(draw(strategy) for _ in range(rank))

    if kind == "conv":
        kernel, stride, dilation = per_axis(st.integers(1, 4)), per_axis(small), per_axis(small)
        pad = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
        for axis in range(rank):
            need = dilation[axis] * (kernel[axis] - 1) + 1
            last = 2 * (rank - 1 - axis)
            if sizes[axis] + pad[last] + pad[last + 1] < need:
                return None
        groups = draw(st.sampled_from([1, x.shape[1]]))
        out = draw(st.integers(1, 3)) * groups
        weight = (out, x.shape[1] // groups, *kernel)
        return Step(
            kind, (source,), {"weight": weight, "stride": stride, "dilation": dilation, "pad": pad, "groups": groups}
        )
    if kind == "conv_transpose":
        kernel, stride, dilation = per_axis(small), per_axis(small), per_axis(st.integers(1, 2))
        padding = per_axis(st.integers(0, 1))
        extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        out = [
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, s, p, d, k, e in zip(sizes, stride, padding, dilation, kernel, extra, strict=True)
        ]
        if min(out) < 1 or max(out) > _LIMIT:
            return None
        weight = (x.shape[1], draw(st.integers(1, 2)), *kernel)
        options = {
            "weight": weight,
            "stride": stride,
            "padding": padding,
            "output_padding": extra,
            "dilation": dilation,
        }
        return Step(kind, (source,), options)
    if kind in ("max_pool", "avg_pool"):
        kernel, stride = per_axis(small), per_axis(small)
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        dilation = per_axis(st.integers(1, 2)) if kind == "max_pool" else (1,) * rank
        for n, k, p, d in zip(sizes, kernel, padding, dilation, strict=True):
            if n + 2 * p < d * (k - 1) + 1 or (kind == "avg_pool" and n < k):
                return None
        ceil = draw(st.booleans())
        return Step(
            kind,
            (source,),
            {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil": ceil},
        )
    if kind == "resize":
        mode = draw(st.sampled_from(["nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[rank], "nearest-exact"]))
        if rank == 2 and draw(st.integers(0, 3)) == 0:
            mode = "bicubic"
        align = None if mode.startswith("nearest") else draw(st.booleans())
        size = tuple(draw(st.integers(1, min(_LIMIT, 2 * n + 1))) for n in sizes)
        return Step(kind, (source,), {"size": size, "mode": mode, "align": align})
    if kind == "shuffle":
        return Step(kind, (source,), {}) if x.shape[1] % 4 == 0 and max(sizes) * 2 <= _LIMIT else None
    if kind == "unshuffle":
        return Step(kind, (source,), {}) if all(n % 2 == 0 for n in sizes) and x.shape[1] <= 4 else None
    if kind == "slice":
        slices = []
        for n in sizes:
            start = draw(st.integers(0, (n - 1) // 2))
            slices.append((start, draw(st.integers(start + 1, n)), draw(st.integers(1, 2))))
        return Step(kind, (source,), {"slices": slices})
    if kind == "flip":
        return Step(kind, (source,), {"axis": draw(st.integers(2, rank + 1))})
    if kind == "roll":
        return Step(kind, (source,), {"axis": draw(st.integers(2, rank + 1)), "shift": draw(st.integers(-3, 3))})
    if kind == "reflect":
        pad = [draw(st.integers(0, min(2, n - 1))) for n in reversed(sizes) for _ in range(2)]
        return Step(kind, (source,), {"pad": pad})
    if kind in ("add", "concat"):
        other = draw(st.integers(0, len(tensors) - 1))
        y = tensors[other]
        if kind == "add" and y.shape[1] != x.shape[1] and 1 not in (x.shape[1], y.shape[1]):
            return None
        return Step(kind, (source, other), {}) if x.shape[1] + y.shape[1] <= 12 else None
    return Step(kind, (source,), {})
