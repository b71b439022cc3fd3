"""Elementwise arithmetic, comparisons and logic, with broadcasting; copies and casts.

Work per element of the output. add, subtract, negate: one ``add``; multiply: one ``mul``; compare, select,
min, max, abs, sign, rounding, bitwise and logical operators: one ``cmp``; every evaluation of a function
that hardware has no adder or multiplier for (exp, log, sin, pow, sqrt, ...): one transcendental. A remainder
is a division, a multiplication and a subtraction. Casts and copies cost nothing by definition.
Scalar operands are dropped from the attributes: they change no cost.
"""

from __future__ import annotations

from cnnprof.ops.naming import aten, microsoft, moving, onnx, pointwise, without_attributes
from cnnprof.ops.rules import free, linear_formula, pointwise_window
from cnnprof.ops.spec import Call, Memory, OpSpec, Spelling
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

ADD = Work(add=1)
MUL = Work(mul=1)
CMP = Work(cmp=1)
DIV = Work(div=1)
FUN = Work(transcendental=1)
REMAINDER = Work(div=1, mul=1, add=1)

# kind, work of one output element, ONNX names, ATen names (in-place variants are implied)
_ROWS: tuple[tuple[str, Work, str, str], ...] = (
    ("mul", MUL, "Mul", "mul multiply"),
    ("div", DIV, "Div", "div divide true_divide floor_divide"),
    ("neg", ADD, "Neg", "neg negative"),
    ("reciprocal", DIV, "Reciprocal", "reciprocal"),
    ("square", MUL, "", "square"),
    ("mod", REMAINDER, "Mod", "remainder fmod"),
    ("abs", CMP, "Abs", "abs absolute"),
    ("sign", CMP, "Sign", "sign sgn signbit"),
    ("floor", CMP, "Floor", "floor"),
    ("ceil", CMP, "Ceil", "ceil"),
    ("round", CMP, "Round", "round"),
    ("trunc", CMP, "", "trunc fix"),
    ("frac", Work(cmp=1, add=1), "", "frac"),
    ("where", CMP, "Where", "where masked_fill"),
    ("nan_to_num", Work(cmp=3), "", "nan_to_num"),
    ("heaviside", CMP, "", "heaviside"),
    ("copysign", CMP, "", "copysign nextafter"),
    ("ldexp", MUL, "", "ldexp frexp"),
    ("cross", Work(mul=2, add=1), "", "linalg_cross cross"),
    ("complex", Work(), "", "complex"),
    # functions
    ("exp", FUN, "Exp", "exp"),
    ("exp2", FUN, "", "exp2 special_exp2"),
    ("expm1", FUN, "", "expm1 special_expm1"),
    ("log", FUN, "Log", "log"),
    ("log2", FUN, "", "log2"),
    ("log10", FUN, "", "log10"),
    ("log1p", FUN, "", "log1p special_log1p"),
    ("sqrt", FUN, "Sqrt", "sqrt"),
    ("rsqrt", FUN, "", "rsqrt"),
    ("pow", FUN, "Pow", "pow float_power __pow__"),
    ("sin", FUN, "Sin", "sin"),
    ("cos", FUN, "Cos", "cos"),
    ("tan", FUN, "Tan", "tan"),
    ("asin", FUN, "Asin", "asin arcsin"),
    ("acos", FUN, "Acos", "acos arccos"),
    ("atan", FUN, "Atan", "atan arctan"),
    ("sinh", FUN, "Sinh", "sinh"),
    ("cosh", FUN, "Cosh", "cosh"),
    ("asinh", FUN, "Asinh", "asinh arcsinh"),
    ("acosh", FUN, "Acosh", "acosh arccosh"),
    ("atanh", FUN, "Atanh", "atanh arctanh"),
    ("erf", FUN, "Erf", "erf special_erf"),
    ("erfc", FUN, "", "erfc special_erfc"),
    ("erfinv", FUN, "", "erfinv special_erfinv"),
    ("lgamma", FUN, "", "lgamma special_gammaln"),
    ("digamma", FUN, "", "digamma special_digamma"),
    ("polygamma", FUN, "", "polygamma"),
    ("sinc", Work(mul=1, div=1, transcendental=1), "", "sinc special_sinc"),
    ("bessel", FUN, "", "i0 special_i0 special_i0e special_i1 special_i1e"),
    (
        "special_function",  # one evaluation of a series or a continued fraction
        FUN,
        "",
        "igamma igammac mvlgamma special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 "
        "special_bessel_y1 special_entr special_erfcx special_log_ndtr special_ndtri special_ndtr special_zeta "
        "special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0 "
        "special_modified_bessel_k1 special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 "
        "special_spherical_bessel_j0 special_hermite_polynomial_h special_hermite_polynomial_he "
        "special_laguerre_polynomial_l special_legendre_polynomial_p special_chebyshev_polynomial_t "
        "special_chebyshev_polynomial_u special_chebyshev_polynomial_v special_chebyshev_polynomial_w",
    ),
    ("atan2", Work(div=1, transcendental=1), "", "atan2 arctan2 angle"),
    ("polar", Work(mul=2, transcendental=2), "", "polar"),  # r·cos φ, r·sin φ
    ("hypot", Work(mul=2, add=1, transcendental=1), "", "hypot"),
    ("logaddexp", Work(cmp=1, add=3, transcendental=2), "", "logaddexp logaddexp2"),
    ("xlogy", Work(mul=1, transcendental=1), "", "xlogy special_xlogy special_xlog1py"),
    ("logit", Work(add=1, div=1, transcendental=1), "", "logit special_logit"),
    # fused
    ("lerp", Work(add=2, mul=1), "", "lerp"),
    ("addcmul", Work(mul=2, add=1), "", "addcmul"),
    ("addcdiv", Work(mul=1, div=1, add=1), "", "addcdiv"),
    ("deg2rad", MUL, "", "deg2rad rad2deg"),
    # comparisons and logic
    ("equal", CMP, "Equal", "eq"),
    ("not_equal", CMP, "", "ne not_equal"),
    ("greater", CMP, "Greater", "gt greater"),
    ("greater_equal", CMP, "GreaterOrEqual", "ge greater_equal"),
    ("less", CMP, "Less", "lt less"),
    ("less_equal", CMP, "LessOrEqual", "le less_equal"),
    ("is_nan", CMP, "IsNaN", "isnan"),
    ("is_inf", CMP, "IsInf", "isinf isposinf isneginf isfinite"),
    ("is_close", Work(add=2, mul=1, cmp=3), "", "isclose"),
    ("logical_and", CMP, "And", "logical_and"),
    ("logical_or", CMP, "Or", "logical_or"),
    ("logical_xor", CMP, "Xor", "logical_xor"),
    ("logical_not", CMP, "Not", "logical_not"),
    ("bitwise_and", CMP, "BitwiseAnd", "bitwise_and __and__ __iand__"),
    ("bitwise_or", CMP, "BitwiseOr", "bitwise_or __or__ __ior__"),
    ("bitwise_xor", CMP, "BitwiseXor", "bitwise_xor __xor__ __ixor__"),
    ("bitwise_not", CMP, "BitwiseNot", "bitwise_not"),
    (
        "bit_shift",
        CMP,
        "BitShift",
        "bitwise_left_shift bitwise_right_shift __lshift__ __rshift__ __ilshift__ __irshift__",
    ),
    ("gcd", REMAINDER, "", "gcd lcm"),  # at least one step of Euclid's algorithm
    ("conj", ADD, "", "_conj_physical conj_physical"),
)


# -- addition and subtraction: ATen scales the second operand by alpha ------------------------------


def _sum_work(call: Call) -> Work:
    return Work(add=1, mul=1 if "alpha" in call.attributes else 0) * call.out_elements()


def _from_aten_sum(call: Call) -> Call:
    alpha = call.get("alpha", 1)
    return call.with_attributes({} if alpha == 1 else {"alpha": alpha})


# -- any number of operands: n − 1 operations an output ------------------------------------------------


def _operands(call: Call) -> int:
    return sum(tensor is not None for tensor in call.inputs)


def _add_n_work(call: Call) -> Work:
    return Work(add=_operands(call) - 1) * call.out_elements()


def _mean_n_work(call: Call) -> Work:
    return Work(add=_operands(call) - 1, div=1) * call.out_elements()


def _extreme_work(call: Call) -> Work:
    return Work(cmp=_operands(call) - 1) * call.out_elements()


# -- copies --------------------------------------------------------------------------------------------


def _from_copy(call: Call) -> Call:
    """``copy_(self, src)`` overwrites self: only src is read."""
    return call.with_attributes({}, inputs=call.inputs[1:2])


def _pair(call: Call) -> bool:
    return len(call.inputs) == 2


def _not_pair(call: Call) -> bool:
    return not _pair(call)


SPECS: tuple[OpSpec, ...] = (
    *(
        pointwise(kind, unit, onnx(onnx_names, without_attributes), aten(aten_names, without_attributes))
        for kind, unit, onnx_names, aten_names in _ROWS
    ),
    pointwise(
        "add",
        _sum_work,
        onnx("Add", without_attributes),
        onnx("Sum", without_attributes, _pair),
        aten("add", _from_aten_sum),
    ),
    pointwise("sub", _sum_work, onnx("Sub", without_attributes), aten("sub subtract rsub", _from_aten_sum)),
    pointwise("add_n", _add_n_work, onnx("Sum", None, _not_pair)),
    pointwise("mean_n", _mean_n_work, onnx("Mean")),
    pointwise("maximum", _extreme_work, onnx("Max"), aten("maximum fmax max.other")),
    pointwise("minimum", _extreme_work, onnx("Min"), aten("minimum fmin min.other")),
    pointwise("complex_mul", Work(mul=2, add=1), microsoft("ComplexMul ComplexMulConj", without_attributes)),
    moving(
        "identity",
        pointwise_window,
        onnx("Identity", without_attributes),
        microsoft("SampleOp", without_attributes),
        aten(
            "alias detach lift_fresh lift positive conj _conj resolve_conj resolve_neg _neg_view real imag",
            without_attributes,
        ),
        memory=Memory.VIEW,
        shapes=lambda call: (call.shape(0),),
    ),
    moving(
        "bit_cast",
        pointwise_window,
        onnx("BitCast", without_attributes),
        aten("view.dtype", without_attributes),
        memory=Memory.VIEW,
        shapes=lambda call: (call.shape(0),),
    ),
    moving(
        "cast",
        lambda call, output: (*pointwise_window(call, output)[:1], *(None for _ in call.inputs[1:])),
        onnx("Cast CastLike", without_attributes),
        aten("_to_copy to type_as", without_attributes),
        shapes=lambda call: (call.shape(0),),
        formula=linear_formula,
        work=free,
    ),
    moving(
        "copy",
        pointwise_window,
        aten("clone contiguous alias_copy detach_copy lift_fresh_copy pin_memory _pin_memory", without_attributes),
        (Spelling("aten:copy_", _from_copy), Spelling("aten:copy", _from_copy)),
        shapes=lambda call: (call.shape(0),),
        formula=linear_formula,
        work=free,
    ),
)
