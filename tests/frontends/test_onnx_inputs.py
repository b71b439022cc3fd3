"""Input shapes: what the file says, what the caller asks for, and what is said when neither is enough."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper
from onnx_models import built, loaded, note, notes, weight

from cnnprof.errors import ShapeError, UsageError
from cnnprof.frontends.onnx.symbols import evaluate_size

CONV = [helper.make_node("Conv", ["image", "w"], ["y"], pads=[1, 1, 1, 1])]
WEIGHT = [weight("w", 4, 3, 3, 3)]


def conv(*dims: int | str | None) -> bytes:
    return built(CONV, {"image": dims}, ["y"], WEIGHT)


@pytest.mark.parametrize("batch", ["batch", "N", "batch_size", "unk__123", None, "bs"])
def test_an_open_batch_becomes_one_with_a_note(batch: str | None) -> None:
    graph = loaded(conv(batch, 3, 10, 12))
    assert graph.tensors["y"].shape == (1, 4, 10, 12)
    assert "image" in note(graph, "batch_default").message


def test_a_dim_value_of_minus_one_is_open() -> None:
    graph = loaded(conv(-1, 3, 10, 12))
    assert graph.tensors["image"].shape == (1, 3, 10, 12)
    assert "batch_default" in notes(graph)
    with pytest.raises(ShapeError):
        loaded(conv(1, 3, -1, 12))


def test_other_open_sizes_print_the_command_with_what_is_known() -> None:
    with pytest.raises(ShapeError) as caught:
        loaded(conv("batch", 3, None, "width"))
    assert caught.value.message == "input 'image': expected a known shape, got batchx3x?xwidth"
    assert caught.value.hint == "run: cnnprof analyze m.onnx --input image=1x3xHxWIDTH"


def test_the_command_names_every_input_that_needs_a_shape() -> None:
    node = helper.make_node("Add", ["a b", "c"], ["y"])
    model = built([node], {"a b": (1, "k"), "c": None}, ["y"])
    with pytest.raises(ShapeError) as caught:
        loaded(model)
    assert "--input 'a b=1xK' --input c=1x3xHxW" in (caught.value.hint or "")


def test_an_override_replaces_fixed_sizes_and_everything_declared() -> None:
    stale = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 32, 32))]
    model = built(CONV, {"image": (1, 3, 32, 32)}, {"y": (1, 4, 32, 32)}, WEIGHT, value_info=stale)
    assert loaded(model).tensors["y"].shape == (1, 4, 32, 32)
    graph = loaded(model, "2x3x480x640")
    assert graph.tensors["y"].shape == (2, 4, 480, 640)
    assert "declared_shape" not in notes(graph)


def test_an_override_may_change_the_type_and_the_rank() -> None:
    model = built([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 3)}, ["y"])
    graph = loaded(model, "x=float16:2x3x4")
    assert (graph.tensors["y"].shape, graph.tensors["y"].dtype.value) == ((2, 3, 4), "float16")
    assert loaded(model, "scalar").tensors["y"].shape == ()


def test_a_symbol_has_one_size_wherever_it_stands() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    model = built([node], {"a": ("N", "K"), "b": ("K", 5)}, ["y"])
    assert loaded(model, "a=3x7").tensors["y"].shape == (3, 5)
    with pytest.raises(ShapeError, match="size 'K' is 8 here and 7 in another input"):
        loaded(model, "a=3x7", "b=8x5")


def test_sizes_that_are_expressions_of_symbols() -> None:
    node = helper.make_node("Concat", ["a", "b"], ["y"], axis=1)
    model = built([node], {"a": ("batch", "L"), "b": ("batch", "2*L + 1")}, ["y"])
    assert loaded(model, "a=2x10").tensors["y"].shape == (2, 31)
    half = built([node], {"a": (1, "L"), "b": (1, "floor(L/2)")}, ["y"])
    assert loaded(half, "a=1x9").tensors["y"].shape == (1, 13)


@pytest.mark.parametrize(
    ("expression", "size"),
    [
        ("N", 6),
        ("2*N + 1", 13),
        ("N//4", 1),
        ("N/4", None),  # 1.5 is no size
        ("floor(N/4)", 1),
        ("ceil(N/4)", 2),
        ("max(N, 9)", 9),
        ("(N - 7)", None),  # negative
        ("N % 4", 2),
        ("M + 1", None),
        ("__import__('os')", None),
        ("N.real", None),
        ("9**9**9", None),
        ("N if N else 1", None),
        ("((((", None),
        ("1/0", None),
    ],
)
def test_size_expressions(expression: str, size: int | None) -> None:
    assert evaluate_size(expression, {"N": 6}) == size


def test_names_that_the_model_lacks_or_that_are_missing() -> None:
    model = conv(1, 3, 8, 8)
    with pytest.raises(UsageError, match="did you mean image"):
        loaded(model, "imag=1x3x8x8")
    with pytest.raises(UsageError, match="given twice"):
        loaded(model, "image=1x3x8x8", "1x3x8x8")
    two = built([helper.make_node("Add", ["a", "b"], ["y"])], {"a": (2,), "b": (2,)}, ["y"])
    with pytest.raises(UsageError, match="2 inputs, so it needs a name"):
        loaded(two, "3")


def test_a_weight_that_is_listed_as_input_can_not_be_set() -> None:
    model = built(CONV, {"image": (1, 3, 8, 8), "w": (4, 3, 3, 3)}, ["y"], WEIGHT)
    with pytest.raises(UsageError, match="no such input"):
        loaded(model, "w=1x1x1x1")
    assert loaded(model, "1x3x9x9").tensors["y"].shape == (1, 4, 9, 9)
