"""Kernels: what a runner executes.

A lowering pass (:mod:`cnnprof.predict.lower`) turns a Graph into kernels. A kernel covers one op or, where the
runner fuses, several; its class says which family of code runs, its features how much that code has to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnprof.analyses.complexity import LayerCost
from cnnprof.ir import Graph, Op, Tensor

__all__ = ["CLASSES", "FED_BY", "MATRIX_CLASSES", "RECTIFIED", "Kernel", "class_of", "in_network", "kernel_of"]

CLASSES = (
    *("conv_pointwise", "conv_dense", "conv_stem", "conv_depthwise", "conv_grouped", "conv_transpose"),
    *("gemm", "matmul", "attention", "recurrent"),
    *("norm_batch", "norm", "softmax", "pool", "reduce"),
    *("activation", "activation_exp", "binary", "concat", "copy", "gather", "resize", "view", "other"),
)
# Classes that run on matrix units where a device has them; the rest runs on its vector units.
MATRIX_CLASSES = frozenset(
    {"conv_pointwise", "conv_dense", "conv_stem", "conv_grouped", "conv_transpose", "gemm", "matmul", "attention",
     "recurrent"}
)  # fmt: skip

# What may have made a kernel's input; "" is a network's own input, or not known. The order is for decision trees: those
# near each other leave it in a like state.
FED_BY = ("", "conv", "gemm", "in_place", "fresh", "concat", "pool", "reduce")

RECTIFIED = "_rectified"  # ends the path of a pooling that finds zeros for negative values

_BY_KIND: Mapping[str, str] = {
    **dict.fromkeys(("linear", "bilinear", "embedding_linear"), "gemm"),
    **dict.fromkeys(("matmul", "einsum"), "matmul"),
    **dict.fromkeys(
        ("attention", "self_attention_fused", "multi_head_attention", "multi_head_attention_native"), "attention",
    ),
    **dict.fromkeys(("lstm", "gru", "rnn", "recurrent_cell"), "recurrent"),
    "batch_norm": "norm_batch",
    **dict.fromkeys(
        ("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "lp_normalization",
         "mean_variance_norm"), "norm",
    ),
    **dict.fromkeys(("softmax", "log_softmax"), "softmax"),
    **dict.fromkeys(("max_pool", "max_pool_masked", "average_pool", "lp_pool"), "pool"),
    **dict.fromkeys(
        ("global_average_pool", "global_max_pool", "global_lp_pool", "adaptive_average_pool", "adaptive_max_pool",
         "variance", "deviation", "argmax", "argmin", "cumsum", "topk"), "reduce",
    ),
    **dict.fromkeys(
        ("relu", "clip", "threshold", "leaky_relu", "hard_sigmoid", "hard_swish", "prelu", "abs", "neg"), "activation",
    ),
    **dict.fromkeys(
        ("sigmoid", "tanh", "mish", "softplus", "elu", "selu", "celu", "silu", "swish", "gelu", "gelu_tanh", "exp",
         "log", "sqrt", "rsqrt", "pow", "sin", "cos", "erf", "glu"), "activation_exp",
    ),
    **dict.fromkeys(("add", "sub", "mul", "div", "minimum", "maximum", "min", "max", "where", "bias_add"), "binary"),
    **dict.fromkeys(("concat", "stack"), "concat"),
    **dict.fromkeys(
        ("transpose", "reshape", "expand", "split", "slice", "pad", "roll", "flip", "copy", "cast", "tile", "unfold",
         "im2col", "col2im", "channel_shuffle", "depth_to_space", "space_to_depth", "clone", "contiguous", "fill",
         "constant", "identity", "repeat_interleave"), "copy",
    ),
    **dict.fromkeys(("gather", "index", "gather_elements", "gather_nd", "scatter", "embedding"), "gather"),
    "resize": "resize",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One call of the runner. ``ops`` are the IR ops it covers, the first (``name``) gives it its class.

    ``channels_in`` and ``channels_out`` are per group; ``positions`` the output's spatial size, ``taps`` the
    kernel's; ``stride`` the product over axes. ``path`` distinguishes code paths within a class.
    ``bytes_mapped``: memory that the system has to map anew for it (:mod:`cnnprof.predict.heap`), no feature.
    ``bytes_passed``: of its result, what a fused activation goes over once more; no feature either.
    ``slowdown``: how many times as long as in the best of its class a FLOP takes for how the code is written, and
    ``bytes_expanded``: copying within the kernel, in bytes that a plain copy moves meanwhile. The time model counts
    them (:attr:`work`, :attr:`bytes_handled`), FLOPs and traffic as they are shown don't.
    ``bytes_network``: what its whole network touches in one pass, where that is known to matter (else 0): the weights
    of a small network are still in the cache when they are read again.
    ``fed_by``: one of :data:`FED_BY`, what made the data it reads, which says in which cores' caches that lies.
    ``known`` is False where the op's work isn't known: only its traffic counts then.
    """

    name: str
    ops: tuple[str, ...]
    cls: str
    flops: float = 0.0
    bytes_in: float = 0.0
    bytes_weights: float = 0.0
    bytes_out: float = 0.0
    bytes_mapped: float = 0.0
    bytes_passed: float = 0.0
    bytes_expanded: float = 0.0
    slowdown: float = 1.0
    bytes_network: float = 0.0
    channels_in: int = 1
    channels_out: int = 1
    groups: int = 1
    positions: int = 1
    taps: int = 1
    stride: int = 1
    batch: int = 1
    channels_last: bool = False
    path: str = ""
    fed_by: str = ""
    known: bool = True

    @property
    def bytes_moved(self) -> float:
        return self.bytes_in + self.bytes_weights + self.bytes_out

    @property
    def work(self) -> float:
        """FLOPs that the best of its class does in its time."""
        return self.flops * self.slowdown

    @property
    def bytes_handled(self) -> float:
        """Traffic and what is copied within."""
        return self.bytes_moved + self.bytes_expanded

    @property
    def intensity(self) -> float | None:
        """FLOPs per byte, or None where nothing moves."""
        return self.flops / self.bytes_moved if self.bytes_moved else None

    @property
    def key(self) -> str:
        """Class and code path: what has its own fit."""
        return f"{self.cls}/{self.path}" if self.path else self.cls

    def scaled(self, *, batch: float = 1.0, width: float = 1.0) -> Kernel:
        """The kernel at ``batch`` times the samples and ``width`` times the bytes an element."""
        if batch == 1.0 and width == 1.0:
            return self
        return replace(
            self,
            flops=self.flops * batch,
            bytes_in=self.bytes_in * batch * width,
            bytes_out=self.bytes_out * batch * width,
            bytes_passed=self.bytes_passed * batch * width,
            bytes_expanded=self.bytes_expanded * batch * width,
            bytes_weights=self.bytes_weights * width,
            batch=max(1, round(self.batch * batch)),
        )


def in_network(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """``kernels`` with what they touch together: all weights and all results once."""
    touched = sum(kernel.bytes_weights + kernel.bytes_out for kernel in kernels)
    return tuple(replace(kernel, bytes_network=touched) for kernel in kernels)


def class_of(op: Op, graph: Graph, cost: LayerCost) -> str:
    """The class of the code that runs ``op`` when nothing is fused."""
    if cost.bytes_written == 0 or op.kind in ("shape", "size"):
        return "view"
    if op.kind in ("conv", "conv_fused", "conv_quantized", "conv_integer", "deform_conv", "conv_causal"):
        return _conv_class(op, graph)
    if op.kind == "conv_transpose":
        return "conv_transpose"
    if op.kind in ("linear", "matmul"):
        weight = _tensor(graph, op, 1)
        return "gemm" if op.kind == "linear" or (weight is not None and weight.is_weight) else "matmul"
    if op.kind.startswith("reduce_"):
        return "reduce"
    found = _BY_KIND.get(op.kind)
    if found is not None:
        return found
    return "activation" if len([n for n in op.present_inputs if not graph.tensors[n].is_weight]) == 1 else "other"


def kernel_of(graph: Graph, op: Op, cost: LayerCost) -> Kernel:
    """The kernel of one op on its own, as an eager runner executes it."""
    cls = class_of(op, graph, cost)
    weights = sum(graph.tensors[n].nbytes or 0 for n in set(op.present_inputs) if graph.tensors[n].is_weight)
    read, written = cost.bytes_read or 0, cost.bytes_written or 0
    outputs = [graph.tensors[n] for n in op.present_outputs]
    return Kernel(
        name=op.name,
        ops=(op.name,),
        cls=cls,
        flops=float(cost.flops + cost.transcendentals),
        bytes_in=float(max(0, read - weights)) if read else 0.0,
        bytes_weights=float(min(weights, read)),
        bytes_out=float(written),
        channels_last=any(t.layout == "channels_last" for t in outputs),
        known=not cost.unknown,
        path=_path(op, cls),
        fed_by=_fed_by(graph, op),
        **_geometry(graph, op, cls),
    )


# Classes whose kinds run different code of different speed; a convolution's or a gemm's path is its class.
_SPLIT_BY_KIND = frozenset(
    {"norm", "pool", "reduce", "activation", "activation_exp", "binary", "copy", "gather", "view", "other"}
)


def _path(op: Op, cls: str) -> str:
    """The code path within a class: the kind, and whether it overwrites its input (no new memory to touch)."""
    if cls not in _SPLIT_BY_KIND:
        return ""
    return f"{op.kind}_in_place" if op.writes_in_place else op.kind


# The same bytes under another name (or some of them): who made them is further up.
_PASSED_ON = frozenset({"reshape", "identity", "transpose", "split", "slice"})
# Fewer kinds than have a class: a fit knows by these what it was given.
_FEEDS: Mapping[str, str] = {
    **dict.fromkeys(("linear", "matmul"), "gemm"),
    **dict.fromkeys(("max_pool", "average_pool"), "pool"),
    **dict.fromkeys(("global_average_pool", "adaptive_average_pool"), "reduce"),
    "concat": "concat",
}


def _fed_by(graph: Graph, op: Op) -> str:
    """Of :data:`FED_BY`, what made the first input of ``op``."""
    source = graph.producer.get(next(iter(op.present_inputs), ""))
    while source is not None and source.kind in _PASSED_ON:
        source = graph.producer.get(next(iter(source.present_inputs), ""))
    if source is None:
        return ""
    if source.kind.startswith("conv"):
        return "conv"
    made = "reduce" if source.kind.startswith("reduce_") else _FEEDS.get(source.kind)
    return made or ("in_place" if source.writes_in_place else "fresh")


def _conv_class(op: Op, graph: Graph) -> str:
    groups = int(op.attributes.get("groups", 1))
    data, kernel = _shape(graph, op, 0), op.attributes.get("kernel", ())
    channels = data[1] if len(data) > 1 else 1
    if groups > 1:
        return "conv_depthwise" if groups == channels else "conv_grouped"
    if channels <= 4:
        return "conv_stem"
    return "conv_pointwise" if math.prod(kernel) == 1 else "conv_dense"


def _geometry(graph: Graph, op: Op, cls: str) -> dict[str, Any]:
    data, out = _shape(graph, op, 0), _shape(graph, op, None)
    batch = out[0] if out else 1
    if cls.startswith("conv"):
        groups = int(op.attributes.get("groups", 1))
        return {
            "channels_in": max(1, (data[1] if len(data) > 1 else 1) // groups),
            "channels_out": max(1, (out[1] if len(out) > 1 else 1) // groups),
            "groups": groups,
            "positions": math.prod(out[2:]),
            "taps": math.prod(op.attributes.get("kernel", ())),
            "stride": math.prod(op.attributes.get("stride", ())),
            "batch": batch,
        }
    if cls in ("gemm", "matmul", "attention") and data and out:
        rows = math.prod(out[:-1]) // max(1, batch)
        return {"channels_in": data[-1], "channels_out": out[-1], "positions": max(1, rows), "batch": batch}
    window = op.attributes.get("kernel", ()) if cls == "pool" else ()
    stride = op.attributes.get("stride", ()) if cls == "pool" else ()
    return {
        "channels_in": data[1] if len(data) > 1 else 1,
        "channels_out": out[1] if len(out) > 1 else 1,
        "positions": math.prod(out[2:]) if len(out) > 2 else 1,
        "taps": math.prod(v for v in window if isinstance(v, int)),
        "stride": math.prod(v for v in stride if isinstance(v, int)),
        "batch": batch,
    }


def _tensor(graph: Graph, op: Op, index: int) -> Tensor | None:
    name = op.inputs[index] if index < len(op.inputs) else None
    return None if name is None else graph.tensors[name]


def _shape(graph: Graph, op: Op, index: int | None) -> tuple[int, ...]:
    """Shape of input ``index`` (None: of the first output); () where it isn't known."""
    if index is None:
        name = next(iter(op.present_outputs), None)
        tensor = None if name is None else graph.tensors[name]
    else:
        tensor = _tensor(graph, op, index)
    return () if tensor is None or tensor.shape is None else tensor.shape
