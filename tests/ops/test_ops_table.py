"""Laws of the whole operator table, and of every row in the families' case tables (``CASES``)."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from calls import canonical

from cnnprof.ir.tensor import Role, Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import Call, Formula, OpSpec, UncountableError
from cnnprof.ops.window import All, Axes, Chain, DataDependent, Fixed, Lookup, Reshape, Same, Slide, Spread
from cnnprof.ops.work import Work

HERE = Path(__file__).parent
# The files with a table of (kind, spelling, inputs, output shapes, attributes, work); together they hold every kind.
TABLES = (
    *("conv", "linear", "pool", "norm", "attention", "recurrent", "quantize", "experts"),
    *("elementwise", "moving", "reduce", "signal", "training"),
)
# roi_pool only ever says that it can't be counted: how many elements a bin holds depends on the boxes.
NEVER_COUNTED = {"roi_pool"}


def _cases(family):
    path = HERE / f"test_ops_{family}.py"
    spec = importlib.util.spec_from_file_location(f"_cases_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


ROWS = [row for family in TABLES for row in _cases(family)]
ROW_IDS = [f"{row[0]}-{row[1]}-{index}" for index, row in enumerate(ROWS)]
FAMILIES = {family.__name__.rpartition(".")[2]: family for family in table.FAMILIES}


@pytest.mark.parametrize("kind", sorted(table.specs()))
def test_every_kind_has_a_name_abroad(kind):
    spec = table.spec(kind)
    assert spec.kind == kind
    assert len(spec.spellings) >= 1
    for spelling in spec.spellings:
        domain, _, name = spelling.name.partition(":")
        assert domain in {
            *("onnx", "com.microsoft", "aten", "torch", "torchvision", "ai.onnx.ml", "ai.onnx.preview"),
            "ai.onnx.preview.training",
        }
        assert name


def test_kinds_are_unique():
    kinds = [spec.kind for family in table.FAMILIES for spec in family.SPECS]
    assert len(kinds) == len(set(kinds))


def test_a_kind_in_two_families_is_refused():
    class Again:
        SPECS = (OpSpec(kind="conv", work=None),)

    with pytest.raises(ValueError, match="'conv' stands in two families"):
        table._index((*table.FAMILIES, Again))


def test_the_same_spelling_twice_is_refused():
    from cnnprof.ops.spec import Spelling

    class Again:
        SPECS = (OpSpec(kind="conv_again", work=None, spellings=(Spelling("onnx:Conv"),)),)

    with pytest.raises(ValueError, match="'onnx:Conv' stands twice"):
        table._index((*table.FAMILIES, Again))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_countable_kind_has_a_case(family):
    with_cases = {row[0] for row in ROWS}
    countable = {spec.kind for spec in FAMILIES[family].SPECS if spec.work is not None}
    assert countable - with_cases - NEVER_COUNTED == set()


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
def test_nothing_is_negative_and_the_formula_is_one_line(row):
    _, name, inputs, outputs, attributes, _ = row
    spec, call = canonical(name, inputs, outputs, **attributes)
    work = spec.work(call)
    assert min(work.to_dict().values()) >= 0
    assert all(type(count) is int for count in work.to_dict().values())
    if spec.formula is not None:
        formula = spec.formula(call)
        assert isinstance(formula, Formula)
        assert formula.symbols.startswith("O(")
        assert formula.symbols.count("(") == formula.symbols.count(")")
        assert formula.numbers


def _maps_fit(relation, shape, out):
    match relation:
        case Axes(maps):
            assert len(maps) == len(shape)
            for axis_map in maps:
                match axis_map:
                    case Lookup(axis, lookup):
                        assert len(lookup) == out[axis]
                    case Same(axis) | Slide(axis) | Spread(axis):
                        assert 0 <= axis < len(out)
                    case All() | Fixed():
                        pass
        case Reshape() | Chain() | DataDependent():
            pass
        case _:
            pytest.fail(f"{relation!r} is no relation")


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
def test_windows_fit_their_tensors(row):
    _, name, inputs, outputs, attributes, _ = row
    spec, call = canonical(name, inputs, outputs, **attributes)
    if spec.window is None:
        return
    for index, out in enumerate(outputs):
        if out is None:
            continue
        relations = spec.window(call, index)
        assert len(relations) == len(call.inputs)
        for tensor, relation in zip(call.inputs, relations, strict=True):
            if relation is not None:
                assert tensor is not None
                _maps_fit(relation, tensor.shape, out)


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
def test_shape_rules_agree_with_the_cases(row):
    _, name, inputs, outputs, attributes, _ = row
    spec, call = canonical(name, inputs, outputs, **attributes)
    if spec.shapes is None:
        return
    for expected, found in zip(outputs, spec.shapes(call), strict=False):
        if expected is not None and found is not None and 0 not in expected:
            assert found == tuple(expected)


# Twice the first axis of the data is twice the work, of every kind but these (or of these spellings), each
# group with its reason.
NOT_BY_BATCH = {
    "sums over the batch, or one number of all: n results cost n − 1": {
        *("linear_backward", "deform_conv_backward", "batch_norm", "mean_variance_norm", "all_equal", "min_max"),
        *("aten:convolution_backward", "aten:max", "count_nonzero", "trace", "squared_error", "absolute_error"),
        *("huber_loss", "binary_cross_entropy", "binary_cross_entropy_logits", "divergence", "margin_loss"),
        *("soft_margin_loss", "negative_log_likelihood", "cross_entropy", "reduce_mean_quantized"),
    },
    "the first axis is contracted, transposed, searched or transformed: it is no batch": {
        *("onnx:Gemm", "com.microsoft:FusedMatMul", "einsum", "determinant", "cumsum", "fft", "unique"),
        *("median", "search", "weight_norm", "weight_norm_backward"),
    },
    "works on a table or a fixed number of places, whatever the batch": {
        *("matmul_blockwise", "matmul_blockwise_shared", "mixture_of_experts_quantized"),
        *("embedding_bag", "roi_align", "crop_and_resize", "scatter_reduce", "add_quantized"),
        *("cosine_window", "blackman_window", "mel_weight_matrix", "random_uniform"),
    },
}
EXCEPTIONS = frozenset().union(*NOT_BY_BATCH.values())


def _doubled(shape, axis):
    return tuple(size * 2 if position == axis else size for position, size in enumerate(shape))


def _by_batch(row):
    """Rows with a batch to double: no optimizer's lists, no packed sequence, no unbatched image."""
    kind, name, _, outputs, _, expected = row
    if FAMILY_OF[kind] == "optimizer" or name.endswith(".data") or expected == Work():
        return False
    unbatched = name.startswith("aten:max_pool2d") and len(outputs[0]) == 3
    return not unbatched and not {kind, name} & EXCEPTIONS


FAMILY_OF = {spec.kind: name for name, family in FAMILIES.items() for spec in family.SPECS}
BY_BATCH = [(row, name) for row, name in zip(ROWS, ROW_IDS, strict=True) if _by_batch(row)]


@pytest.mark.parametrize("row", [row for row, _ in BY_BATCH], ids=[name for _, name in BY_BATCH])
def test_work_is_linear_in_the_batch(row):
    kind, name, inputs, outputs, attributes, expected = row
    recurrent = kind in {"lstm", "gru", "rnn"}
    batch_first = bool(attributes.get("layout") or attributes.get("batch_first"))
    data = next(t for t in inputs if t is not None and not t.is_weight and t.shape)
    size = data.shape[0]

    def wide(tensor):
        if tensor is None or tensor.is_weight or tensor.role is Role.CONSTANT:
            return tensor
        if recurrent:  # (time, batch, features) or batch first; the states are (layers, batch, hidden)
            axis = 1 if tensor is not inputs[0] or not batch_first else 0
            return replace(tensor, shape=_doubled(tensor.shape, axis))
        batched = tensor.shape and tensor.shape[0] == size  # what has another first size broadcasts
        return replace(tensor, shape=_doubled(tensor.shape, 0)) if batched else tensor

    def wide_out(shape):
        if shape is None or not shape:
            return shape
        if recurrent:
            return _doubled(shape, 0 if batch_first else 1 if len(outputs[0]) == 3 else 2)
        return _doubled(shape, 0) if shape[0] == size else shape

    spec, call = canonical(name, [wide(t) for t in inputs], [wide_out(out) for out in outputs], **attributes)
    assert spec.work(call) == expected * 2


def test_exceptions_are_kinds_or_spellings_of_cases():
    names = {row[0] for row in ROWS} | {row[1] for row in ROWS}
    assert EXCEPTIONS - names == frozenset()
    assert len({row[0] for row, _ in BY_BATCH}) > 250


@pytest.mark.parametrize("row", ROWS, ids=ROW_IDS)
def test_unknown_shapes_are_uncountable_never_zero(row):
    """Without any shape a rule says so, whatever the operator; only what is free by definition stays free."""
    _, name, inputs, outputs, attributes, expected = row
    blank = tuple(None if t is None else replace(t, shape=None) for t in inputs)
    outs = tuple(Tensor(f"y{i}", None) for i, _ in enumerate(outputs))
    if expected == Work():
        return
    with pytest.raises(UncountableError):
        spec, call = table.resolve(name, Call(name, blank, outs, attributes))
        spec.work(call)


def test_weight_slots_are_roles_of_constants():
    for spec in table.specs().values():
        for index, role in spec.roles.items():
            assert index >= 0
            assert role in {Role.PARAMETER, Role.BUFFER, Role.CONSTANT}
