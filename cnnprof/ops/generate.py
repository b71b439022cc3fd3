"""Operators that make data: constants, ranges, identity matrices, random numbers; and checks that make none.

Filling memory from indices costs nothing by definition (its bytes count). Random numbers cost the transform
that is applied to the generator's bits, whose own integer arithmetic is not counted: uniform, scale and
shift; normal, a transcendental more; Bernoulli, a comparison; multinomial, a running sum over the classes and
a binary search for each draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, microsoft, moving, onnx
from cnnprof.ops.relations import first_only, no_data, same, unpredictable
from cnnprof.ops.rules import linear_formula, same_shape
from cnnprof.ops.spec import Call, Memory, OpSpec, Spelling, WorkRule
from cnnprof.ops.window import All, Axes, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

Shapes = tuple[Shape | None, ...]


def _overwritten(call: Call) -> Call:
    """In-place generators write self without reading it; a tensor value may follow it."""
    return call.with_attributes({}, inputs=call.inputs[1:])


def _in_place(names: str) -> tuple[Spelling, ...]:
    return tuple(Spelling(f"aten:{name}", _overwritten) for name in names.split())


def _shape_only(call: Call) -> Call:
    return call.with_attributes({})


# -- shapes ---------------------------------------------------------------------------------------------


def _filled(call: Call) -> Shapes:
    return (call.value(0),) if call.op_type.startswith("onnx:") else (None,)


def _stated(call: Call) -> Shapes:
    shape = call.get("shape")
    return (None if shape is None else tuple(shape),)


def _range(call: Call) -> Shapes:
    ends = [call.numbers(i) if i < 2 or call.has(i) else (1.0,) for i in range(3)]  # com.microsoft: a step of 1
    if any(not end for end in ends):
        return (None,)
    start, limit, delta = (end[0] for end in ends if end)
    return ((max(0, math.ceil((limit - start) / delta)),),) if delta else (None,)


def _draws(call: Call) -> Shapes:
    return ((call.shape(0)[0], call.get("sample_size", 1)),)


# -- work --------------------------------------------------------------------------------------------------


def _unit(work: Work) -> WorkRule:
    return lambda call: work * call.out_elements()


def _multinomial_work(call: Call) -> Work:
    """Draws a row at a time: sums over the classes, then a search for each draw."""
    return Work(add=call.elements(0), cmp=call.out_elements() * call.shape(0)[-1].bit_length())


def _multinomial_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    rank = len(call.shape(0))
    return first_only(call, Axes((*(Same(axis) for axis in range(rank - 1)), All())))


def _in_place_window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    return first_only(call, same(len(call.shape(0))))


def _random(kind: str, unit: Work, *spellings: Iterable[Spelling]) -> OpSpec:
    return moving(
        kind,
        no_data,
        *spellings,
        work=_unit(unit),
        formula=linear_formula,
        shapes=lambda call: same_shape(call) if call.has(0) else _stated(call),
    )


_UNIFORM = Work(mul=1, add=1)
_NORMAL = Work(mul=1, add=1, transcendental=1)

SPECS: tuple[OpSpec, ...] = (
    moving("constant", no_data, onnx("Constant")),
    moving(
        "fill",
        no_data,
        onnx("ConstantOfShape"),
        aten(
            "zeros ones empty full zeros_like ones_like empty_like full_like new_zeros new_ones new_empty "
            "new_full new_empty_strided empty_strided empty_permuted scalar_tensor _efficientzerotensor "
            "new_tensor _zeros",
            _shape_only,
        ),
        _in_place("fill_ zero_ fill zero fill_diagonal_"),
        shapes=_filled,
    ),
    moving("range", no_data, onnx("Range"), microsoft("Range"), aten("arange linspace logspace range"), shapes=_range),
    moving("eye", no_data, onnx("EyeLike"), aten("eye tril_indices triu_indices"), shapes=same_shape),
    _random(
        "random_uniform",
        _UNIFORM,
        onnx("RandomUniform RandomUniformLike"),
        aten("rand rand_like randint randint_like randperm"),
        _in_place("uniform_ random_ uniform random"),
    ),
    _random(
        "random_normal",
        _NORMAL,
        onnx("RandomNormal RandomNormalLike"),
        aten("randn randn_like normal_functional poisson binomial _standard_gamma"),
        (Spelling("aten:normal"),),
        _in_place("normal_ exponential_ log_normal_ cauchy_ geometric_ exponential log_normal cauchy geometric"),
    ),
    OpSpec(
        kind="bernoulli",
        work=_unit(Work(cmp=1)),
        formula=linear_formula,
        window=_in_place_window,
        shapes=same_shape,
        spellings=(*onnx("Bernoulli"), Spelling("aten:bernoulli"), *_in_place("bernoulli_")),
    ),
    OpSpec(
        kind="multinomial",
        work=_multinomial_work,
        formula=linear_formula,
        window=_multinomial_window,
        shapes=_draws,
        spellings=(*onnx("Multinomial"), *aten("multinomial")),
    ),
    moving("item", unpredictable, aten("_local_scalar_dense item is_nonzero")),
    moving(
        "check",
        no_data,
        aten(
            "_assert_async _assert_scalar _assert_tensor_metadata sym_size sym_stride "
            "sym_storage_offset sym_constrain_range sym_constrain_range_for_size is_same_size "
            "_has_compatible_shallow_copy_type"
        ),
        memory=Memory.METADATA,
    ),
    moving("set_storage", no_data, aten("set_ resize_ resize_as_ record_stream")),
)
