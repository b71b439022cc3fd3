"""From a Graph to what a runner executes.

``torch``    eager PyTorch: every op as traced; a view costs only its dispatch
``fused``    torch.compile and the like: batch norm folded into the convolution before it, chains of elementwise
             ops and their convolution run as one kernel, views free
``onnxruntime``  what its CPU provider makes of it: :mod:`cnnprof.predict.lower_onnxruntime`; ``onnxruntime-16`` where
             its blocks hold 16 channels instead of 8, ``onnxruntime-1`` where it has none

A fused chain grows op by op: an op joins the kernel that made one of its inputs if that kernel's last result has
no other reader and the runner's policy allows the pair. Its other inputs become inputs of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from cnnprof.analyses.complexity import Complexity, complexity
from cnnprof.errors import UsageError
from cnnprof.ir import Graph, Op
from cnnprof.predict.kernels import RECTIFIED, Kernel, kernel_of

__all__ = ["RUNNERS", "Chain", "Policy", "fuse", "lower"]


@dataclass(slots=True)
class Chain:
    """A kernel being put together: its ops so far, the kernel of each, and the last op."""

    kernels: list[Kernel] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    @property
    def head(self) -> Kernel:
        return self.kernels[0]

    @property
    def tail(self) -> Op:
        return self.ops[-1]


# (chain, op, kernel of the op alone) -> may the op join?
Policy = Callable[[Graph, Chain, Op, Kernel], bool]


def lower(graph: Graph, runner: str, costs: Complexity | None = None) -> tuple[Kernel, ...]:
    """The kernels of ``graph`` under ``runner`` ("torch", "fused", "onnxruntime"), in execution order.

    Every op of the graph is in exactly one kernel. Raises :class:`UsageError` for a runner it doesn't know.
    """
    costs = complexity(graph) if costs is None else costs
    if runner == "torch":
        return tuple(_single(graph, costs))
    if runner == "fused":
        return fuse(graph, costs, _compiled)
    if runner == "onnxruntime" or runner.startswith("onnxruntime-"):
        from cnnprof.predict.lower_onnxruntime import block_of, lower_onnxruntime

        return lower_onnxruntime(graph, costs, block=block_of(runner))
    raise UsageError(f"runner {runner!r}: expected one of {', '.join(RUNNERS)}", "choose one with --runner")


RUNNERS = ("torch", "fused", "onnxruntime")


def _single(graph: Graph, costs: Complexity) -> Iterator[Kernel]:
    for op, cost in zip(graph.ops, costs.rows, strict=True):
        kernel = kernel_of(graph, op, cost)
        # Its comparison is a branch: of values half of which are zero, the next is rarely the largest yet.
        if op.kind == "max_pool" and _rectified(graph, op.inputs[0]):
            kernel = replace(kernel, path=f"{kernel.path}{RECTIFIED}")
        yield kernel


def _rectified(graph: Graph, name: str | None) -> bool:
    """Whether negative values of ``name`` have been made zeros, of its parts where it is put together. A clip is taken
    for ReLU6: a graph doesn't keep its bounds."""
    op = graph.producer.get(name or "")
    if op is None:
        return False
    if op.kind == "concat":
        return all(_rectified(graph, part) for part in op.present_inputs)
    return op.kind in ("relu", "clip")


def fuse(graph: Graph, costs: Complexity, policy: Policy, *, latest_first: bool = True) -> tuple[Kernel, ...]:
    """Greedy chains in execution order; a kernel stands where its first op stood. Of an op's inputs that it could join,
    the last is tried first (the residual add joins the convolution that ran just before it), or the first."""
    chains: list[Chain] = []
    chain_of: dict[str, Chain] = {}
    outputs = set(graph.outputs)
    for op, cost in zip(graph.ops, costs.rows, strict=True):
        alone = kernel_of(graph, op, cost)
        names = reversed(op.present_inputs) if latest_first else op.present_inputs
        chain = _joined(graph, op, names, alone, chain_of, outputs, policy)
        if chain is None:
            chain = Chain()
            chains.append(chain)
        chain.kernels.append(alone)
        chain.ops.append(op)
        for name in op.present_outputs:
            chain_of[name] = chain
    return tuple(_merged(graph, chain) for chain in chains)


def _joined(
    graph: Graph,
    op: Op,
    names: Iterable[str],
    alone: Kernel,
    chain_of: dict[str, Chain],
    outputs: set[str],
    policy: Policy,
) -> Chain | None:
    for name in names:
        chain = chain_of.get(name)
        if chain is None or name not in chain.tail.present_outputs or name in outputs:
            continue
        if len(graph.consumers.get(name, ())) == 1 and policy(graph, chain, op, alone):
            return chain
    return None


def _merged(graph: Graph, chain: Chain) -> Kernel:
    if len(chain.kernels) == 1:
        return chain.head
    made = {name for op in chain.ops for name in op.present_outputs}
    outside = {
        name: graph.tensors[name]
        for op in chain.ops[1:]
        for name in op.present_inputs
        if name not in made and not graph.tensors[name].is_weight and name not in chain.ops[0].present_inputs
    }
    last = next((k for k in reversed(chain.kernels) if k.bytes_out), chain.head)
    return replace(
        chain.head,
        ops=tuple(op.name for op in chain.ops),
        flops=sum(k.flops for k in chain.kernels if k.cls != "norm_batch" or chain.head.cls == "norm_batch"),
        bytes_in=chain.head.bytes_in + sum(tensor.nbytes or 0 for tensor in outside.values()),
        bytes_out=last.bytes_out,
        known=all(k.known for k in chain.kernels),
    )


_ELEMENTWISE = frozenset({"activation", "activation_exp", "binary", "norm_batch"})
_ABSORBING = (
    frozenset({"conv_pointwise", "conv_dense", "conv_stem", "conv_depthwise", "conv_grouped", "conv_transpose", "gemm"})
    | _ELEMENTWISE
)


def _compiled(_graph: Graph, chain: Chain, _op: Op, alone: Kernel) -> bool:
    if alone.cls == "view":
        return True
    return alone.cls in _ELEMENTWISE and chain.head.cls in _ABSORBING
