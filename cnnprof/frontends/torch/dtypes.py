"""torch dtypes and the IR's, both ways."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cnnprof.errors import UsageError
from cnnprof.ir import DType

__all__ = ["ONE_DTYPE", "check_one_dtype", "ir_dtype", "torch_dtype"]

_FROM_TORCH: dict[torch.dtype, DType] = {
    torch.float64: DType.FLOAT64,
    torch.float32: DType.FLOAT32,
    torch.float16: DType.FLOAT16,
    torch.bfloat16: DType.BFLOAT16,
    torch.int64: DType.INT64,
    torch.int32: DType.INT32,
    torch.int16: DType.INT16,
    torch.int8: DType.INT8,
    torch.uint8: DType.UINT8,
    torch.bool: DType.BOOL,
    torch.complex64: DType.COMPLEX64,
    torch.complex128: DType.COMPLEX128,
    torch.uint16: DType.UINT16,
    torch.uint32: DType.UINT32,
    torch.uint64: DType.UINT64,
    torch.quint8: DType.UINT8,
    torch.qint8: DType.INT8,
    torch.qint32: DType.INT32,
}
_TO_TORCH = {ir: foreign for foreign, ir in reversed(_FROM_TORCH.items())}


def ir_dtype(dtype: torch.dtype) -> DType:
    """The IR's name of a torch dtype; UNKNOWN for one it has no name for."""
    found = _FROM_TORCH.get(dtype)
    if found is not None:
        return found
    return DType.FLOAT8 if str(dtype).startswith("torch.float8") else DType.UNKNOWN


def torch_dtype(dtype: DType) -> torch.dtype:
    """torch's dtype of that name. Raises :class:`UsageError` where torch has none to compute with."""
    try:
        return _TO_TORCH[dtype]
    except KeyError:
        raise UsageError(
            f"input dtype {dtype.value}: torch has no such dtype to run with",
            f"one of {', '.join(sorted(d.value for d in _TO_TORCH))}",
        ) from None


# Where data and weights must be of one type (by the positions of the two), which meta kernels don't check.
ONE_DTYPE: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("convolution", "linear", "matmul", "mm", "bmm", "mv", "dot"), (0, 1)),
    **dict.fromkeys(("scaled_dot_product_attention", "native_batch_norm"), (0, 1)),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm"), (1, 2)),
}
_REDUCED = frozenset({torch.float16, torch.bfloat16})


def check_one_dtype(base: str, first: torch.Tensor | None, second: torch.Tensor | None) -> None:
    """Raise what a real run of ``base`` would. Norms may keep float32 weights for reduced-precision data."""
    if first is None or second is None or first.dtype is second.dtype:
        return
    mixed_norm = base.endswith("norm") and first.dtype in _REDUCED and second.dtype is torch.float32
    if not mixed_norm and not any(torch.is_autocast_enabled(device) for device in ("cpu", "cuda")):
        raise TypeError(f"{base}: expected one dtype, got {first.dtype} and {second.dtype}")
