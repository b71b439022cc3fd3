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
# The families with a table of (kind, spelling, inputs, output shapes, attributes, work).
TABLES = ("conv", "linear", "pool", "norm", "attention", "recurrent", "quantize")


def _cases(family):
    path = HERE / f"test_ops_{family}.py"
    spec = importlib.util.spec_from_file_location(f"_cases_{family}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


ROWS = [row for family in TABLES for row in _cases(family)]
ROW_IDS = [f"{row[0]}-{row[1]}-{index}" for index, row in enumerate(ROWS)]
FAMILIES = {family.__name__.rpartition(".")[2]: family for family in table.FAMILIES}
COVERED = {
    name
    for name in FAMILIES
    for prefix in (*TABLES, "einsum", "embedding", "bilinear", "batch_norm")
    if name.startswith(prefix)
}


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


@pytest.mark.parametrize("family", sorted(COVERED))
def test_every_countable_kind_has_a_case(family):
    with_cases = {row[0] for row in ROWS}
    countable = {spec.kind for spec in FAMILIES[family].SPECS if spec.work is not None}
    assert countable - with_cases - {"roi_pool"} == set()  # roi_pool only ever says that it can't be counted


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


# Kinds whose work is a sum over the batch: twice the batch, twice the work.
LINEAR_IN_BATCH = {
    *("conv", "conv_transpose", "conv_integer", "conv_quantized", "deform_conv", "conv_causal"),
    *("max_pool", "average_pool", "lp_pool", "global_average_pool", "global_max_pool", "global_lp_pool"),
    *("adaptive_average_pool", "adaptive_max_pool", "instance_norm", "group_norm", "local_response_norm"),
    *("lstm", "gru", "rnn", "quantize", "dequantize", "dynamic_quantize", "fake_quantize"),
    *("rotary_embedding", "attention"),
}


def _doubled(shape, axis):
    return tuple(size * 2 if position == axis else size for position, size in enumerate(shape))


def _batched(row):
    """Packed sequences and unbatched images have no batch axis to double."""
    unbatched = row[1].startswith("aten:max_pool2d") and len(row[3][0]) == 3
    return row[0] in LINEAR_IN_BATCH and not row[1].endswith(".data") and not unbatched


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if _batched(row)],
    ids=[name for row, name in zip(ROWS, ROW_IDS, strict=True) if _batched(row)],
)
def test_work_is_linear_in_the_batch(row):
    kind, name, inputs, outputs, attributes, expected = row
    size = next(t for t in inputs if t is not None).shape[0]
    axis = 0
    if kind in {"lstm", "gru", "rnn"} and not attributes.get("layout") and not attributes.get("batch_first"):
        axis = 1
    states = kind in {"lstm", "gru", "rnn"}

    def wide(tensor):
        if tensor is None or tensor.is_weight:
            return tensor
        along = 1 if states and tensor is not inputs[0] else axis
        first = tensor.shape[along] if len(tensor.shape) > along else None
        if not states and first != size:
            return tensor  # a mask that broadcasts
        return replace(tensor, shape=_doubled(tensor.shape, along))

    out_axis = {"lstm": 2, "gru": 2, "rnn": 2}.get(kind, 0)
    if states and (attributes.get("layout") or attributes.get("batch_first")):
        out_axis = 0
    elif states and len(outputs[0]) == 3:
        out_axis = 1
    wider = [None if out is None else _doubled(out, out_axis) for out in outputs]
    spec, call = canonical(name, [wide(t) for t in inputs], wider, **attributes)
    assert spec.work(call) == expected * 2


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
