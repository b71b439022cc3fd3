"""What onnxruntime's CPU provider makes of a graph at its default optimisation level.

1. Operators that read constants alone, or only shapes, are folded: they run no kernel.
2. Batch norm after a convolution that nothing else reads is folded into its weights; so is a scale or shift by a
   constant per channel.
3. An activation of the fusible ones that is the only reader joins the convolution before it.
4. In the blocked layout (a convolution whose output channels fill blocks of 16), a residual add joins the later of the
   convolutions that feed it, with its activation.
5. Sigmoid times its own input is one kernel (QuickGelu).
6. Views cost a node each, but move nothing.

Checked against onnxruntime's own optimised graph (``optimized_model_filepath``).
"""

from __future__ import annotations

from dataclasses import replace

from cnnprof.analyses.complexity import Complexity
from cnnprof.ir import Graph, Op
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.lower import Chain, fuse

__all__ = ["lower_onnxruntime"]

_FUSIBLE = frozenset({"relu", "clip", "leaky_relu", "sigmoid", "tanh", "hard_sigmoid"})
_CONVOLUTIONS = frozenset({"conv_pointwise", "conv_dense", "conv_stem", "conv_depthwise", "conv_grouped"})
_BLOCK = 16


def lower_onnxruntime(graph: Graph, costs: Complexity) -> tuple[Kernel, ...]:
    """The kernels onnxruntime runs for ``graph``, every op in exactly one. An op that is folded away (it reads
    constants alone) is a view without traffic."""
    constants = _constant_values(graph)

    def policy(graph: Graph, chain: Chain, op: Op, alone: Kernel) -> bool:
        if op.kind == "dropout":  # identity at inference
            return True
        return _joins(graph, chain, op, constants)

    folded = {op.name for op in graph.ops if op.present_outputs and op.present_outputs[0] in constants}
    kernels = fuse(graph, costs, policy, latest_first=False)
    return tuple(_nothing(kernel) if kernel.name in folded else kernel for kernel in kernels)


def _constant_values(graph: Graph) -> frozenset[str]:
    """Weights, and what is computed of them alone."""
    found = {tensor.name for tensor in graph.tensors.values() if tensor.is_weight}
    for op in graph.ops:
        if all(name in found for name in op.present_inputs) or op.kind in ("shape", "size"):
            found.update(op.present_outputs)
    return frozenset(found)


def _nothing(kernel: Kernel) -> Kernel:
    return replace(kernel, cls="view", path="folded", flops=0.0, bytes_in=0.0, bytes_weights=0.0, bytes_out=0.0)


def _joins(graph: Graph, chain: Chain, op: Op, constants: frozenset[str]) -> bool:
    head, tail = chain.head, chain.tail
    if head.cls in _CONVOLUTIONS:
        linear = all(o.kind in ("conv", "batch_norm") or _by_constant(o, constants) for o in chain.ops)
        if op.kind == "batch_norm" or _by_constant(op, constants):
            return linear
        if op.kind in _FUSIBLE:
            return linear or tail.kind == "add"
        if op.kind == "add" and _is_blocked(head):
            return linear and _same_shapes(graph, op)
        return False
    if head.cls == "gemm" and op.kind == "relu":
        return tail.kind in ("linear", "matmul")
    return False


def _by_constant(op: Op, constants: frozenset[str]) -> bool:
    """A scale or a shift by constants."""
    return op.kind in ("mul", "add") and any(name in constants for name in op.present_inputs)


def _is_blocked(head: Kernel) -> bool:
    """True for a convolution in the blocked layout: whole blocks of output channels, and of input ones in a group."""
    if head.cls == "conv_depthwise":
        return head.groups % _BLOCK == 0
    return (head.channels_out * head.groups) % _BLOCK == 0 and (head.groups == 1 or head.channels_in % _BLOCK == 0)


def _same_shapes(graph: Graph, op: Op) -> bool:
    shapes = [graph.tensors[name].shape for name in op.present_inputs]
    return len(shapes) == 2 and shapes[0] == shapes[1] and shapes[0] is not None and len(shapes[0]) == 4
