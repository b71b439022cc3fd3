"""What onnxruntime's CPU provider makes of a graph at its default optimisation level, as kernels.

Nodes are fused first (:mod:`cnnprof.predict.onnxruntime_nodes`), then given their memory layout
(:mod:`cnnprof.predict.onnxruntime_blocked`). Every op is in exactly one kernel; one that is folded away is a view
without traffic. A reorder between layouts is a kernel that covers no op (or the transposition that it is): what it
takes is between the layers. The code path says which of the provider's routines runs: blocked, im2col, a single row of
a Gemm, and so on. Checked against onnxruntime's own optimised graph (``optimized_model_filepath``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnnprof.analyses.complexity import Complexity, LayerCost
from cnnprof.errors import UsageError
from cnnprof.ir import Graph
from cnnprof.predict.kernels import Kernel, in_network, kernel_of
from cnnprof.predict.onnxruntime_blocked import blocked
from cnnprof.predict.onnxruntime_nodes import NHWC, Node, nodes_of

__all__ = ["BLOCK", "Placed", "block_of", "lower_onnxruntime", "place"]

BLOCK = 8  # channels a block holds with AVX2; 16 with AVX-512
# A blocked convolution applies ReLU as it writes; these go over each row of its result once more.
_PASSING = frozenset({"clip", "leaky_relu"})
# Its innermost loop takes four blocks of output channels at once. What is left over as one, two or three loads more
# for a multiplication: so many times as long (seen of onnxruntime 1.32's FMA3 code).
_SET = 4
_LEFT_OVER = {0: 1.0, 1: 1.8, 2: 1.3, 3: 1.0}
# Without blocks the windows are written out first. A row's elements go by vectors, strided ones one by one, and every
# row has a beginning: (time of one element, time of a row's beginning), in elements that go by vectors.
_CONTIGUOUS, _STRIDED = (1, 32), (4, 16)


def block_of(lowering: str) -> int:
    """The block of "onnxruntime" (8), "onnxruntime-16" or "onnxruntime-1" (no blocked layout). Raises
    :class:`UsageError` for another ending."""
    ending = lowering.partition("-")[2]
    if ending not in ("", "1", "8", "16"):
        raise UsageError(f"lowering {lowering!r}: blocks hold 1, 8 or 16 channels", "calibrate again")
    return int(ending or BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A kernel and how to recognise its nodes in the optimised graph: by the values that its ops make (``makes``); a
    reorder ("in", "out") by the value it reads or makes, a transposition by what it makes."""

    kernel: Kernel
    makes: tuple[str, ...]
    reorders: str = ""


def lower_onnxruntime(graph: Graph, costs: Complexity, *, block: int = BLOCK) -> tuple[Kernel, ...]:
    """The kernels onnxruntime runs for ``graph`` where blocks of ``block`` channels fit the processor's vectors."""
    return tuple(placed.kernel for placed in place(graph, costs, block=block))


def place(graph: Graph, costs: Complexity, *, block: int = BLOCK) -> tuple[Placed, ...]:
    """:func:`lower_onnxruntime` with what identifies every kernel. Folded ops come last."""
    nodes, folded = nodes_of(graph)
    by_name = {row.name: row for row in costs.rows}
    order = {op.name: index for index, op in enumerate(graph.ops)}
    found = [_placed(graph, by_name, node, block, order) for node in blocked(nodes, graph, block)]
    gone = [_nothing(kernel_of(graph, op, by_name[op.name])) for op in folded]
    every = [*found, *(Placed(kernel=kernel, makes=()) for kernel in gone)]
    # A call costs so little that it shows whether the whole network fits a cache; eager torch's calls hide that.
    known = in_network([placed.kernel for placed in every])
    return tuple(replace(placed, kernel=kernel) for placed, kernel in zip(every, known, strict=True))


def _nothing(kernel: Kernel) -> Kernel:
    return replace(kernel, cls="view", path="folded", flops=0.0, bytes_in=0.0, bytes_weights=0.0, bytes_out=0.0)


def _placed(graph: Graph, costs: dict[str, LayerCost], node: Node, block: int, order: Mapping[str, int]) -> Placed:
    if node.kind in ("reorder_in", "reorder_out") or not node.ops:
        return _reorder(graph, node)
    every = sorted([*node.ops, *node.extras], key=lambda op: order[op.name])
    alone = [kernel_of(graph, op, costs[op.name]) for op in node.ops]
    head = alone[0]
    inputs = [_bytes(graph, name) for name in dict.fromkeys(node.inputs)]
    written = sum(_bytes(graph, name) for name in node.outputs)
    kernel = replace(
        head,
        name=every[0].name,
        ops=tuple(op.name for op in every),
        flops=sum(kernel.flops for kernel in alone),
        bytes_in=float(sum(inputs)) if head.cls != "view" else head.bytes_in,
        bytes_out=float(written) if head.cls != "view" else head.bytes_out,
        known=all(kernel.known for kernel in alone),
        path=_path(graph, node, head),
        cls=_class(node, head),
    )
    if head.cls.startswith("conv"):
        kernel = _in_blocks(kernel, node, block) if node.blocked else _expanded(kernel, node, graph)
    makes = tuple(name for op in every for name in op.present_outputs)
    if node.kind == "transpose":
        return Placed(kernel=kernel, makes=(node.output, *makes), reorders="transpose")
    return Placed(kernel=kernel, makes=makes)


def _bytes(graph: Graph, name: str) -> int:
    return graph.tensors[name.removesuffix(NHWC)].nbytes or 0


def _class(node: Node, head: Kernel) -> str:
    return "activation_exp" if node.kind == "quick_gelu" else head.cls


def _path(graph: Graph, node: Node, head: Kernel) -> str:
    suffix = "_blocked" if node.blocked else ""
    if head.cls.startswith("conv"):
        return "blocked" if node.blocked else "im2col"
    if head.cls == "gemm":
        return "rows" if head.positions * head.batch > 1 else "row"
    if node.kind in ("add", "mul", "sub", "div"):
        shapes = {graph.tensors[name].shape for name in node.head.present_inputs}
        return node.kind if len(shapes) == 1 else f"{node.kind}_broadcast"
    if head.cls in ("pool", "reduce", "norm_batch"):
        return f"{node.kind}{suffix}"
    return node.kind if node.kind in ("quick_gelu", "split") else head.path.removesuffix("_in_place")


def _in_blocks(kernel: Kernel, node: Node, block: int) -> Kernel:
    """A blocked convolution computes whole blocks of output channels."""
    outer = kernel.channels_out * kernel.groups
    blocks = -(-kernel.channels_out // block)
    over = blocks % _SET
    depthwise = kernel.cls == "conv_depthwise"  # a loop of its own
    return replace(
        kernel,
        flops=kernel.flops * (-(-outer // block) * block) / outer,
        slowdown=1.0 if depthwise else (blocks - over + _LEFT_OVER[over] * over) / blocks,
        bytes_passed=kernel.bytes_out if node.activation in _PASSING else 0.0,
    )


def _expanded(kernel: Kernel, node: Node, graph: Graph) -> Kernel:
    """Any other writes its windows out and multiplies matrices, unless they are the matrix."""
    if kernel.taps * kernel.stride == 1:
        return kernel
    shape, strides = graph.tensors[node.head.present_outputs[0]].shape or (1,), node.head.attributes.get("stride", ())
    each, beginning = _STRIDED if strides and strides[-1] > 1 else _CONTIGUOUS
    source = node.head.present_inputs[0]
    windows = _bytes(graph, source) / max(1, math.prod((graph.tensors[source].shape or ())[2:]))
    return replace(
        kernel, bytes_expanded=windows * kernel.taps * kernel.positions * (each + beginning / max(1, shape[-1]))
    )


def _reorder(graph: Graph, node: Node) -> Placed:
    tensor = graph.tensors[node.output]
    shape = tensor.shape or ()
    moved = float(tensor.nbytes or 0)
    inward = node.kind == "reorder_in"
    anchor = (node.inputs[0] if inward else node.output).removesuffix(NHWC)
    channels = shape[1] if len(shape) > 1 and (inward or not node.channels_last) else shape[-1]
    ops = tuple(op.name for op in (*node.ops, *node.extras))
    kernel = Kernel(
        name=ops[0] if ops else f"{node.kind}:{anchor}",
        ops=ops,
        cls="copy",
        bytes_in=moved,
        bytes_out=moved,
        channels_in=channels,
        channels_out=channels,
        positions=max(1, math.prod(shape) // max(1, shape[0] * channels)),
        batch=shape[0],
        channels_last=node.channels_last,
        path=f"{node.kind}_last" if node.channels_last and node.kind != "transpose" else node.kind,
    )
    return Placed(kernel=kernel, makes=(anchor,), reorders=node.kind.removeprefix("reorder_"))
