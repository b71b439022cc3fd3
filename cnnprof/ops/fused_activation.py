"""What an activation costs that another operator carries inside it (fused convolution, gemm, gates).

Per element, as the counting convention has it for the operator standing alone: relu and clip 1,
leaky relu 2, hard-sigmoid 3, hard-swish 4, tanh and sigmoid 1 transcendental, silu 1 + 1, gelu(erf) 1 + 4,
gelu(tanh) 1 + 8 (x³ is two multiplications, then scale, add, scale, add 1, times x, times 0.5).
"""

from __future__ import annotations

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["activation_unit"]

_TANH_GELU = Work(mul=6, add=2, transcendental=1)

_UNITS = {
    "": NO_WORK,
    "none": NO_WORK,
    "identity": NO_WORK,
    "affine": Work(mul=1, add=1),
    "relu": Work(cmp=1),
    "clip": Work(cmp=1),
    "thresholdedrelu": Work(cmp=1),
    "leakyrelu": Work(cmp=1, mul=1),
    "hardsigmoid": Work(mul=1, add=1, cmp=1),
    "hardswish": Work(mul=2, add=1, cmp=1),
    "sigmoid": Work(transcendental=1),
    "tanh": Work(transcendental=1),
    "scaledtanh": Work(mul=2, transcendental=1),
    "softsign": Work(cmp=1, add=1, div=1),
    "softplus": Work(add=1, transcendental=2),
    "elu": Work(cmp=1, add=1, mul=1, transcendental=1),
    "silu": Work(mul=1, transcendental=1),
    "swish": Work(mul=1, transcendental=1),
    "gelu": Work(mul=3, add=1, transcendental=1),
    "fastgelu": _TANH_GELU,
    "geluapprox": _TANH_GELU,
}


def activation_unit(name: str | bytes | None) -> Work:
    """Work for one element. Raises UncountableError for a name that isn't known."""
    text = name.decode() if isinstance(name, bytes) else name or ""
    try:
        return _UNITS[text.lower().replace("_", "")]
    except KeyError:
        raise UncountableError(f"fused activation {text!r} is not known") from None
