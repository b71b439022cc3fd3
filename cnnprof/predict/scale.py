"""The same kernels at another batch size and element type."""

from __future__ import annotations

from cnnprof.errors import UsageError
from cnnprof.ir import DType, Graph
from cnnprof.predict.kernels import Kernel, in_network

__all__ = ["at", "batch_of"]

_BITS = {"tfloat32": 32}  # a mode of the matrix units: four bytes in memory


def batch_of(graph: Graph) -> int:
    """The leading dimension of the graph's first input; 1 where there is none."""
    shape = graph.tensors[graph.inputs[0]].shape if graph.inputs else None
    return shape[0] if shape else 1


def at(graph: Graph, kernels: tuple[Kernel, ...], *, batch: int | None, dtype: str) -> tuple[tuple[Kernel, ...], int]:
    """(kernels at ``batch`` and ``dtype``, batch). Work and activations grow with the batch, weights don't.

    Raises :class:`UsageError` for an element type that isn't known.
    """
    own = batch_of(graph)
    wanted = own if batch is None else batch
    if wanted < 1:
        raise UsageError(f"batch {wanted}: expected 1 or more", "give the number of samples")
    width = bits_of(dtype) / _float_bits(graph)
    scaled = tuple(kernel.scaled(batch=wanted / own, width=width) for kernel in kernels)
    return in_network(scaled) if any(kernel.bytes_network for kernel in kernels) else scaled, wanted


def bits_of(dtype: str) -> int:
    """Width in bits of one element of ``dtype`` in memory."""
    if dtype in _BITS:
        return _BITS[dtype]
    try:
        bits = DType(dtype).bits
    except ValueError:
        bits = 0
    if not bits:
        raise UsageError(f"dtype {dtype!r}: not an element type", "e.g. float32, tfloat32, float16, bfloat16, int8")
    return bits


def _float_bits(graph: Graph) -> int:
    """The width that most floating-point tensors of the graph have."""
    counts: dict[int, int] = {}
    for tensor in graph.tensors.values():
        if tensor.dtype.is_float and tensor.dtype.bits:
            counts[tensor.dtype.bits] = counts.get(tensor.dtype.bits, 0) + 1
    return max(counts, key=lambda bits: counts[bits]) if counts else 32
