"""Gradients of elementwise, layout and resize operators, as ATen's autograd runs them.

Work per element of the gradient that comes out: a mask is a comparison; σ′ = s·(1 − s) and tanh′ = 1 − t²
cost an addition and two multiplications with the incoming gradient; silu′ = σ·(1 + x·(1 − σ));
gelu′ = Φ(x) + x·φ(x), in its tanh form with t = tanh(c·(x + a·x³)): ½·(1 + t) + ½·x·(1 − t²)·c·(1 + 3a·x²);
mish′ = tanh(s) + x·σ·(1 − tanh²(s)), s = softplus(x); a gate a·σ(b) gives g·σ and g·σ·a·(1 − σ) for each
incoming element; softmax′ = y·(g − Σ g·y); log-softmax′ = g − exp(y)·Σ g. Slices and selections place
the gradient and cost nothing; gathers, pads and resizes add every incoming element into the places that it
came from (antialiased ones too are counted with the taps of their plain form).

Grid sample with n axes, for each incoming element and each of its 2ⁿ corners: the product of its n weights is
there already, so g times it is added into the input (1 mul, 1 add), and for each axis the corner's value times
the n − 1 other weights times g is added to the coordinate's slope (n mul, 1 add). Cubic (4 taps an axis, n = 2)
multiplies both weights at each tap: 2 + 3·n mul and 1 + n add. Nearest adds one element and has no slope.
"""

from __future__ import annotations

from cnnprof.ops.naming import aten, moving, without_attributes
from cnnprof.ops.rules import linear_formula, per_output
from cnnprof.ops.spec import Call, Guard, OpSpec, WorkRule
from cnnprof.ops.vision import grid_mode
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

GELU = Work(add=2, mul=7, transcendental=2)
GELU_TANH = Work(add=5, mul=12, transcendental=1)

# kind, work of one element of the gradient, ATen names
_ROWS: tuple[tuple[str, Work, str], ...] = (
    ("relu_backward", Work(cmp=1), "threshold_backward"),
    ("clip_backward", Work(cmp=2), "hardtanh_backward hardshrink_backward softshrink_backward"),
    ("leaky_relu_backward", Work(cmp=1, mul=1), "leaky_relu_backward rrelu_with_noise_backward"),
    ("hard_sigmoid_backward", Work(cmp=2, mul=1), "hardsigmoid_backward"),
    ("prelu_backward", Work(cmp=1, mul=2), "_prelu_kernel_backward prelu_backward"),
    ("hard_swish_backward", Work(cmp=2, mul=2, add=1), "hardswish_backward"),
    ("sigmoid_backward", Work(add=1, mul=2), "sigmoid_backward"),
    ("tanh_backward", Work(add=1, mul=2), "tanh_backward"),
    ("silu_backward", Work(add=2, mul=3, transcendental=1), "silu_backward"),
    ("mish_backward", Work(add=3, mul=4, transcendental=4), "mish_backward"),
    ("elu_backward", Work(cmp=1, mul=2, transcendental=1), "elu_backward"),
    ("softplus_backward", Work(add=1, mul=1, div=1, transcendental=1), "softplus_backward"),
    ("log_sigmoid_backward", Work(add=1, mul=1, div=1, transcendental=1), "log_sigmoid_backward"),
    ("logit_backward", Work(add=1, mul=1, div=1), "logit_backward"),
    ("softmax_backward", Work(add=2, mul=2), "_softmax_backward_data"),
    ("log_softmax_backward", Work(add=2, mul=1, transcendental=1), "_log_softmax_backward_data"),
    ("dropout_backward", Work(mul=2), "native_dropout_backward"),
    ("masked_mul", Work(mul=2), "_masked_scale"),
)


def _adds_in(unit: int) -> WorkRule:
    """``unit`` additions for each incoming element, each with a multiplication by its weight if several."""

    def rule(call: Call) -> Work:
        return Work(add=unit, mul=unit if unit > 1 else 0) * call.elements(0)

    return rule


def _gate_backward(call: Call) -> Work:
    return Work(add=1, mul=3, transcendental=1) * call.elements(0)


def _grid_work(call: Call) -> Work:
    mode, axes = call.attr("mode"), len(call.shape(0)) - 2
    if mode == "nearest":
        return Work(add=1) * call.elements(0)
    if mode == "cubic":
        return Work(add=1 + axes, mul=2 + 3 * axes) * int(4**axes * call.elements(0))
    return Work(add=1 + axes, mul=1 + axes * axes) * int(2**axes * call.elements(0))


def _tanh_form(call: Call) -> bool:
    return bool(call.get("approximate", "none") == "tanh")


def _erf_form(call: Call) -> bool:
    return not _tanh_form(call)


def _gradient(kind: str, names: str, work: WorkRule, when: Guard | None = None) -> OpSpec:
    return OpSpec(kind=kind, work=work, formula=linear_formula, spellings=aten(names, without_attributes, when))


SPECS: tuple[OpSpec, ...] = (
    *(_gradient(kind, names, per_output(unit)) for kind, unit, names in _ROWS),
    _gradient("gelu_backward", "gelu_backward", per_output(GELU), _erf_form),
    _gradient("gelu_tanh_backward", "gelu_backward", per_output(GELU_TANH), _tanh_form),
    _gradient("glu_backward", "glu_backward", _gate_backward),
    moving(
        "placement_backward",
        None,
        aten(
            "slice_backward select_backward diagonal_backward unfold_backward as_strided_scatter "
            "diagonal_scatter value_selecting_reduction_backward trace_backward",
            without_attributes,
        ),
    ),
    _gradient("gather_backward", "index_select_backward gather_backward masked_select_backward", _adds_in(1)),
    _gradient(
        "pad_backward",
        "reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward "
        "replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward",
        _adds_in(1),
    ),
    _gradient(
        "resize_nearest_backward",
        "upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward "
        "_upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward "
        "_upsample_nearest_exact3d_backward",
        _adds_in(1),
    ),
    _gradient("resize_linear1d_backward", "upsample_linear1d_backward", _adds_in(2)),
    _gradient(
        "resize_linear2d_backward",
        "upsample_bilinear2d_backward _upsample_bilinear2d_aa_backward",
        _adds_in(4),
    ),
    _gradient("resize_linear3d_backward", "upsample_trilinear3d_backward", _adds_in(8)),
    _gradient(
        "resize_cubic_backward",
        "upsample_bicubic2d_backward _upsample_bicubic2d_aa_backward _upsample_lanczos2d_aa_backward",
        _adds_in(16),
    ),
    OpSpec(
        kind="grid_sample_backward",
        work=_grid_work,
        formula=linear_formula,
        spellings=aten(
            "grid_sampler_2d_backward grid_sampler_3d_backward _grid_sampler_2d_cpu_fallback_backward",
            grid_mode,
        ),
    ),
)
