"""Fourier transforms, spectrogram windows and small dense linear algebra.

A complex transform of length n costs 5·n·⌈log₂ n⌉ real operations, the radix-2 count: n/2·⌈log₂ n⌉
butterflies of 4 mul and 6 add each; half of that where the input or the output is real. A window of cosines
costs a transcendental, a multiplication and an addition a term. A determinant is a triangular factorisation:
n(n − 1)(2n − 1)/6 MACs (Σ k² below the pivots), n(n − 1)/2 divisions, n − 1 multiplications; an inverse
(Gauss-Jordan in place: each of n pivots divides its row of n and clears n − 1 others) n³ − n² MACs and n² divisions.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, microsoft, moving, onnx
from cnnprof.ops.relations import all_data, data_of, no_data
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, Formula, OpSpec, UncountableError, WorkRule
from cnnprof.ops.window import All, Axes, AxisMap, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "transform"]

Relations = tuple[Relation | None, ...]


def transform(n: int, *, real: bool) -> Work:
    """One transform of length ``n``; real input or output costs half."""
    butterflies = n * max(0, n - 1).bit_length() // 2
    if real:
        butterflies //= 2
    return Work(mul=4, add=6) * butterflies


# -- ONNX DFT: (…, n, 1 or 2), the last axis real and imaginary part ---------------------------------------


def _dft(call: Call) -> Call:
    """``axis`` is an attribute (default 1) in opset 17, an input (default −2) from 20 on."""
    shape = call.shape(0)
    axis_input = call.value(2)
    axis = axis_input[0] if axis_input else call.get("axis", 1 if 0 < call.opset < 20 else -2)
    axis = axis_of(axis, len(shape))
    length = call.value(1)
    # Half a spectrum holds n // 2 + 1 bins; going back, an even n is meant unless it is said otherwise.
    folded = call.get("inverse", 0) and call.get("onesided", 0)
    default = 2 * (shape[axis] - 1) if folded else shape[axis]
    attributes = {"axis": axis, "length": length[0] if length else default}
    return call.with_attributes(attributes | {name: True for name in ("inverse", "onesided") if call.get(name, 0)})


def _dft_work(call: Call) -> Work:
    shape, axis = call.shape(0), call.attr("axis")
    rows = math.prod(shape[:-1]) // max(1, shape[axis])
    real = shape[-1] == 1 or bool(call.get("onesided"))
    return transform(int(call.attr("length")), real=real) * int(rows)


def _dft_window(call: Call, _output: int) -> Relations:
    shape, axis = call.shape(0), call.attr("axis")
    maps: tuple[AxisMap, ...] = tuple(All() if a in (axis, len(shape) - 1) else Same(a) for a in range(len(shape)))
    return (Axes(maps), *(None for _ in call.inputs[1:]))


def _dft_shapes(call: Call) -> tuple[Shape | None, ...]:
    shape, axis, n = call.shape(0), call.attr("axis"), call.attr("length")
    onesided, inverse = call.get("onesided", False), call.get("inverse", False)
    size = n // 2 + 1 if onesided and not inverse else n
    return ((*shape[:axis], size, *shape[axis + 1 : -1], 1 if onesided and inverse else 2),)


def _stft_work(call: Call) -> Work:
    """Output (batch, frames, bins, 2): each frame is weighted by the window and transformed."""
    batch, frames, bins = call.out_shape()[:3]
    onesided = bool(call.get("onesided", 1))
    given = call.value(3)
    if given:
        length = given[0]
    elif call.has(2):
        length = call.shape(2)[0]
    else:
        length = 2 * (bins - 1) if onesided else bins
    window = Work(mul=length if call.has(2) else 0)
    return (window + transform(length, real=onesided)) * (batch * frames)


def _all_but_batch(call: Call, _output: int) -> Relations:
    data = data_of(call)
    return tuple(
        Axes((Same(0), *(All() for _ in call.shape(0)[1:]))) if i == 0 and i in data else None
        for i in range(len(call.inputs))
    )


# -- transforms by axes: ATen's _fft_*, com.microsoft's Rfft and Irfft -------------------------------------


def _fft_work(real: bool) -> WorkRule:
    def rule(call: Call) -> Work:
        shape = max(call.shape(0), call.out_shape(), key=math.prod)
        dims = call.get("dim")
        rank = len(shape)
        if dims is None:  # Rfft, Irfft: signal_ndim last axes before the pair
            count = call.get("signal_ndim", 1)
            shape = call.shape(0) if len(call.shape(0)) < len(call.out_shape()) else call.out_shape()
            rank = len(shape)
            dims = range(rank - count, rank)
        total, elements = Work(), math.prod(shape)
        for dim in dims:
            n = shape[axis_of(dim, rank)]
            total += transform(n, real=real) * (elements // n if n else 0)
        return total

    return rule


def _window_shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.value(0),)


def _terms(count: int) -> WorkRule:
    return lambda call: Work(mul=count, add=count, transcendental=count) * call.out_elements()


def _mel_work(call: Call) -> Work:
    """Triangles: a subtraction, a division and a comparison on each side of the centre."""
    return Work(add=2, div=2, cmp=2) * call.out_elements()


# -- small dense linear algebra ----------------------------------------------------------------------------


def _square(call: Call) -> tuple[int, int]:
    """(matrices, n)."""
    shape = call.shape(0)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise UncountableError(f"{call.op_type}: expected square matrices, got {shape}")
    return math.prod(shape[:-2]), shape[-1]


def _det_work(call: Call) -> Work:
    count, n = _square(call)
    return Work(mac=n * (n - 1) * (2 * n - 1) // 6, div=n * (n - 1) // 2, mul=max(0, n - 1)) * count


def _inverse_work(call: Call) -> Work:
    count, n = _square(call)
    return Work(mac=n**3 - n**2, div=n * n) * count


def _cube_formula(call: Call) -> Formula:
    count, n = _square(call)
    return Formula("O(B·n³)", f"{count}·{n}³")


def _matrix_window(call: Call, _output: int) -> Relations:
    rank = len(call.shape(0))
    maps: tuple[AxisMap, ...] = (*(Same(a) for a in range(rank - 2)), All(), All())
    return (Axes(maps), *(None for _ in call.inputs[1:]))


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="dft",
        work=_dft_work,
        formula=linear_formula,
        window=_dft_window,
        shapes=_dft_shapes,
        spellings=onnx("DFT", _dft),
    ),
    OpSpec(
        kind="stft",
        work=_stft_work,
        formula=linear_formula,
        window=_all_but_batch,
        spellings=onnx("STFT"),
    ),
    OpSpec(
        kind="fft",
        work=_fft_work(real=False),
        formula=linear_formula,
        window=all_data,
        spellings=aten("_fft_c2c"),
    ),
    OpSpec(
        kind="fft_real",
        work=_fft_work(real=True),
        formula=linear_formula,
        window=all_data,
        spellings=(*microsoft("Rfft Irfft"), *aten("_fft_r2c _fft_c2r")),
    ),
    moving(
        "cosine_window",
        no_data,
        onnx("HannWindow HammingWindow"),
        aten("hann_window hamming_window"),
        work=_terms(1),
        formula=linear_formula,
        shapes=_window_shapes,
    ),
    moving(
        "blackman_window",
        no_data,
        onnx("BlackmanWindow"),
        aten("blackman_window"),
        work=_terms(2),
        formula=linear_formula,
        shapes=_window_shapes,
    ),
    moving("mel_weight_matrix", no_data, onnx("MelWeightMatrix"), work=_mel_work, formula=linear_formula),
    OpSpec(
        kind="determinant",
        work=_det_work,
        formula=_cube_formula,
        window=lambda call, _output: (Axes((*(Same(a) for a in range(len(call.shape(0)) - 2)), All(), All())),),
        mac_operator=True,
        spellings=(*onnx("Det"), *aten("_linalg_det linalg_det det _linalg_slogdet linalg_slogdet")),
    ),
    OpSpec(
        kind="inverse",
        work=_inverse_work,
        formula=_cube_formula,
        window=_matrix_window,
        mac_operator=True,
        spellings=(*microsoft("Inverse"), *aten("linalg_inv linalg_inv_ex inverse")),
    ),
)
