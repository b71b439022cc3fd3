"""Operators and graphs that cost models often get wrong; every number is worked out beside it."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import built, costed, loaded, macs, note, notes, parameters, parsed, shape, weight

from cnnprof.ir import Role


def conv(weights: tuple[int, ...], data: tuple[int, ...], op: str = "Conv", **attributes: object) -> bytes:
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    return built([node], {"x": data}, ["y"], [weight("w", *weights)])


# -- convolutions ---------------------------------------------------------------------------------------------


def test_conv_takes_its_kernel_from_the_weights() -> None:
    model = conv((8, 3, 3, 5), (1, 3, 10, 12))
    # out (10-3+1) x (12-5+1) = 8x8; 8·8·8·3·3·5
    assert shape(model, "y") == (1, 8, 8, 8)
    assert macs(model) == 23_040


@pytest.mark.parametrize(
    ("auto_pad", "out"),
    [
        ("SAME_UPPER", (4, 3)),  # ceil(7/2), ceil(5/2)
        ("SAME_LOWER", (4, 3)),
        ("VALID", (3, 2)),  # (7-3)//2+1, (5-3)//2+1
    ],
)
def test_auto_pad_with_strides(auto_pad: str, out: tuple[int, int]) -> None:
    model = conv((4, 2, 3, 3), (1, 2, 7, 5), auto_pad=auto_pad, strides=[2, 2])
    assert shape(model, "y") == (1, 4, *out)
    assert macs(model) == 4 * out[0] * out[1] * 2 * 9


def test_auto_pad_puts_the_odd_row_where_it_says() -> None:
    # 8 wide, kernel 3, stride 2: out 4, total padding (4-1)·2+3-8 = 1
    for auto_pad, padding in (("SAME_UPPER", (0, 1)), ("SAME_LOWER", (1, 0))):
        graph = loaded(conv((1, 1, 3), (1, 1, 8), auto_pad=auto_pad, strides=[2]))
        assert graph.ops[0].attributes["padding"] == (padding,)


def test_grouped_and_depthwise_convolution() -> None:
    # groups 2: 6·4·4·(4/2)·9; depthwise with multiplier 2: 8·4·4·1·9
    assert macs(conv((6, 2, 3, 3), (1, 4, 6, 6), group=2)) == 1728
    assert macs(conv((8, 1, 3, 3), (1, 4, 6, 6), group=4)) == 1152


def test_transposed_convolution_counts_the_input_side() -> None:
    # 3 → 1 channels, kernel 2, stride 2, 2x2 input: 3·2·2 · 1·2·2 = 48
    model = conv((3, 1, 2, 2), (1, 3, 2, 2), "ConvTranspose", strides=[2, 2])
    assert macs(model) == 48
    assert shape(model, "y") == (1, 1, 4, 4)
    # groups 2: 4·3·3 inputs, each 2/2... C_out/g = 3, kernel 9: 36·3·9
    assert macs(conv((4, 3, 3, 3), (1, 4, 3, 3), "ConvTranspose", group=2)) == 972


def test_one_and_three_dimensional_convolutions() -> None:
    # out 10-3+1 = 8: 5·8·2·3
    assert macs(conv((5, 2, 3), (1, 2, 10))) == 240
    # out 3x4x5: 2·60·3·8
    assert macs(conv((2, 3, 2, 2, 2), (1, 3, 4, 5, 6))) == 2880


def test_deform_conv_costs_the_convolution_and_reads_its_offsets() -> None:
    node = helper.make_node("DeformConv", ["x", "w", "o"], ["y"], kernel_shape=[3, 3])
    data = built([node], {"x": (1, 2, 5, 5), "o": (1, 18, 3, 3)}, ["y"], [weight("w", 3, 2, 3, 3)], 19)
    # 3·3·3·2·9 as the plain convolution
    assert macs(data) == 486
    assert costed(data).flops > 2 * 486


# -- products ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_gemm_transposed_either_way(trans_a: int, trans_b: int) -> None:
    a = (3, 2) if trans_a else (2, 3)
    b = (4, 3) if trans_b else (3, 4)
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transA=trans_a, transB=trans_b)
    model = built([node], {"a": a}, ["y"], [weight("b", *b)])
    assert shape(model, "y") == (2, 4)
    assert macs(model) == 24  # 2·3·4


@pytest.mark.parametrize(
    ("a", "b", "expected", "out"),
    [
        ((2, 1, 4, 8), (3, 8, 5), 960, (2, 3, 4, 5)),  # batches 2x3: 6·4·8·5
        ((8,), (8,), 8, ()),
        ((8,), (8, 3), 24, (3,)),
        ((2, 4, 8), (8,), 64, (2, 4)),
        ((5, 1, 8), (8, 2), 80, (5, 1, 2)),
    ],
)
def test_matmul_of_vectors_and_batches(
    a: tuple[int, ...], b: tuple[int, ...], expected: int, out: tuple[int, ...]
) -> None:
    model = built([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": a, "b": b}, ["y"])
    assert macs(model) == expected
    assert shape(model, "y") == out


def test_einsum() -> None:
    # b i j k = 2·3·4·5
    node = helper.make_node("Einsum", ["a", "b"], ["y"], equation="bij,bjk->bik")
    model = built([node], {"a": (2, 3, 4), "b": (2, 4, 5)}, ["y"])
    assert macs(model) == 120
    assert shape(model, "y") == (2, 3, 5)


# -- recurrent layers and attention ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_recurrent_layers(kind: str, gates: int, direction: str) -> None:
    dirs = 2 if direction == "bidirectional" else 1
    steps, batch, width, hidden = 7, 2, 5, 4
    node = helper.make_node(kind, ["x", "w", "r"], ["", "h"], hidden_size=hidden, direction=direction)
    model = built(
        [node],
        {"x": (steps, batch, width)},
        ["h"],
        [weight("w", dirs, gates * hidden, width), weight("r", dirs, gates * hidden, hidden)],
    )
    # T·batch·dirs·G·H·(I + H), with the first, optional, output absent
    assert macs(model) == 7 * 2 * dirs * gates * 4 * (5 + 4)
    assert shape(model, "h") == (dirs, 2, 4)
    assert parameters(loaded(model)) == dirs * gates * 4 * (5 + 4)


def test_attention_of_opset_23() -> None:
    # 1·2 heads, Lq 3, Lk 5, d 4 for queries, keys and values: 2·3·5·(4+4)
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    inputs = {"q": (1, 2, 3, 4), "k": (1, 2, 5, 4), "v": (1, 2, 5, 4)}
    model = built([node], inputs, ["y"], opset=23)
    assert macs(model) == 240
    assert shape(model, "y") == (1, 2, 3, 4)


# -- quantised operators -----------------------------------------------------------------------------------------


def quantised(text: str) -> bytes:
    return parsed(text, 19)


def test_integer_products() -> None:
    text = "m (int8[4,6] a, int8[6,5] b) => (int32[4,5] y) { y = MatMulInteger (a, b) }"
    assert macs(quantised(text)) == 120  # 4·6·5


def test_quantised_convolution() -> None:
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (1, 3, 6, 6))],
        [onnx.ValueInfoProto(name="y")],
        [scale, zero, weight("w", 4, 3, 3, 3, elem=TensorProto.INT8), weight("b", 4, elem=TensorProto.INT32)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]).SerializeToString()
    assert macs(model) == 4 * 4 * 4 * 3 * 9
    assert shape(model, "y") == (1, 4, 4, 4)
    found = loaded(model)
    assert {t.name for t in found.role(Role.PARAMETER)} == {"w", "b"}
    assert {t.name for t in found.role(Role.CONSTANT)} == {"s", "z"}


def test_contributed_gemm() -> None:
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    zero = numpy_helper.from_array(np.uint8(0), "z")
    node = helper.make_node("QGemm", ["a", "s", "z", "b", "s", "z"], ["y"], domain="com.microsoft", transB=1)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["y"], ["r"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, (2, 6))],
        [onnx.ValueInfoProto(name="r")],
        [scale, zero, weight("b", 5, 6, elem=TensorProto.UINT8)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets).SerializeToString()
    assert macs(model) == 60  # 2·6·5
    assert shape(model, "y") == (2, 5)
    assert shape(model, "r") == (2, 5)  # onnx's inference goes on behind an operator it doesn't know


def test_convolution_between_quantise_pairs_is_an_integer_one() -> None:
    scale = numpy_helper.from_array(np.float32(0.5), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="inside"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"], name="outside"),
    ]
    weights = [weight("wq", 4, 3, 3, 3, elem=TensorProto.INT8), weight("w", 2, 4, 1, 1), scale, zero]
    graph = loaded(built(nodes, {"x": (1, 3, 5, 5)}, ["y"], weights, 19))
    assert graph.op_by_name["inside"].attributes["compute_dtype"] == "int8"
    assert "compute_dtype" not in graph.op_by_name["outside"].attributes
    assert {t.name for t in graph.role(Role.PARAMETER)} == {"wq", "w"}
    # 4·9·3·9 and 2·9·4
    assert costed(built(nodes, {"x": (1, 3, 5, 5)}, ["y"], weights, 19)).macs == 972 + 72


# -- weights ---------------------------------------------------------------------------------------------------


def test_a_weight_shared_by_two_layers_counts_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    found = costed(built(nodes, {"x": (2, 4)}, ["y"], [weight("w", 4, 4)]))
    assert found.parameters == 16
    assert found.macs == 64  # 2 · 2·4·4


def test_the_same_tensor_twice_in_one_operator() -> None:
    model = built([helper.make_node("MatMul", ["x", "x"], ["y"])], {"x": (3, 3)}, ["y"])
    assert macs(model) == 27
    graph = loaded(model)
    assert graph.ops[0].inputs == ("x", "x")
    model = built(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Add", ["a", "a"], ["y"])], {"x": (3,)}, ["y"]
    )
    assert len(loaded(model).digraph.edges) == 2


def test_weights_in_constant_nodes_and_constant_of_shape() -> None:
    sizes = numpy_helper.from_array(np.array([4, 3, 1, 1], np.int64), "sizes")
    nodes = [
        helper.make_node("Constant", [], ["w1"], value=weight("", 4, 4)),
        helper.make_node("ConstantOfShape", ["sizes"], ["w2"]),
        helper.make_node("Conv", ["x", "w2"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w1"], ["y"]),
    ]
    model = built(nodes, {"x": (1, 3, 5, 5)}, ["y"], [sizes])
    graph = loaded(model)
    assert parameters(graph) == 16 + 12
    assert graph.ops[0].kind == "conv"  # neither constant is an operator
    assert macs(model) == 4 * 25 * 3 + 16


def test_weights_behind_moves_and_casts_are_still_weights() -> None:
    nodes = [
        helper.make_node("Identity", ["w"], ["w1"]),
        helper.make_node("Transpose", ["w1"], ["w2"]),
        helper.make_node("Cast", ["w2"], ["w3"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["w3", "sizes"], ["w4"]),
        helper.make_node("MatMul", ["x", "w4"], ["y"]),
    ]
    sizes = numpy_helper.from_array(np.array([4, 6], np.int64), "sizes")
    graph = loaded(built(nodes, {"x": (2, 4)}, ["y"], [weight("w", 3, 8, elem=TensorProto.FLOAT16), sizes]))
    assert [t.name for t in graph.role(Role.PARAMETER)] == ["w"]
    assert [t.name for t in graph.role(Role.CONSTANT)] == ["sizes"]


def test_what_is_a_parameter_and_what_a_constant() -> None:
    half = numpy_helper.from_array(np.float32(0.5), "half")
    zero = numpy_helper.from_array(np.float32(0), "zero")
    factors = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors")
    nodes = [
        helper.make_node("Add", ["x", "positions"], ["a"]),  # an embedding: a parameter
        helper.make_node("Mul", ["a", "half"], ["b"]),  # one element: a constant
        helper.make_node("Clip", ["b", "zero"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g", "s", "m", "v"], ["d"]),
        helper.make_node("Resize", ["d", "", "factors"], ["e"]),
        helper.make_node("PRelu", ["e", "slope"], ["y"]),  # one element, but a weight slot
    ]
    weights = [weight("positions", 1, 3, 4, 4), half, zero, factors, weight("slope", 1)]
    weights += [weight(name, 3) for name in "gsmv"]
    graph = loaded(built(nodes, {"x": (1, 3, 4, 4)}, ["y"], weights))
    assert {t.name for t in graph.role(Role.PARAMETER)} == {"positions", "g", "s", "slope"}
    assert {t.name for t in graph.role(Role.BUFFER)} == {"m", "v"}
    assert {t.name for t in graph.role(Role.CONSTANT)} == {"half", "zero", "factors"}
    assert graph.tensors["factors"].numbers == (1.0, 1.0, 2.0, 2.0)
    assert graph.tensors["y"].shape == (1, 3, 8, 8)


def test_an_embedding_table_is_a_parameter_and_an_index_table_is_not() -> None:
    text = "m (int64[1,5] ids) => (float[1,5,4] y) { y = Gather (table, ids) }"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]>{text}')
    model.graph.initializer.append(weight("table", 10, 4))
    assert parameters(loaded(model.SerializeToString())) == 40
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((10, 4), np.int64), "table"))
    assert parameters(loaded(model.SerializeToString())) == 0


def test_an_unused_weight_is_not_counted_and_said() -> None:
    model = built([helper.make_node("Relu", ["x"], ["y"])], {"x": (3,)}, ["y"], [weight("w", 5, 5)])
    graph = loaded(model)
    assert parameters(graph) == 0
    assert "w" in note(graph, "unused_initializers").message


def test_an_initializer_that_is_also_a_graph_input_is_a_weight() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = loaded(built([node], {"x": (2, 3), "w": (3, 4)}, ["y"], [weight("w", 3, 4)]))
    assert graph.inputs == ("x",)
    assert parameters(graph) == 12


def test_weights_values_are_never_kept() -> None:
    data = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    graph = loaded(built([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (4,)}, ["y"], [data]))
    assert graph.tensors["w"].role is Role.PARAMETER
    assert graph.tensors["w"].numbers is None
    assert graph.tensors["w"].value is None


# -- other operators and structure ---------------------------------------------------------------------------------


def test_pools_and_norms_without_macs() -> None:
    nodes = [
        helper.make_node("LRN", ["x"], ["a"], size=5),
        helper.make_node("LpPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalMaxPool", ["b"], ["y"]),
    ]
    found = costed(built(nodes, {"x": (1, 3, 8, 6)}, ["y"]))
    assert found.complete
    assert found.macs == 0
    # the maximum of 4x3 values takes 11 comparisons, for each of 3 channels
    assert found.work.cmp >= 33


def test_identity_chains_share_one_storage() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["t0"])]
    nodes += [helper.make_node("Identity", [f"t{i}"], [f"t{i + 1}"]) for i in range(5)]
    graph = loaded(built(nodes, {"x": (4,)}, ["t5"]))
    assert {graph.tensors[f"t{i}"].storage_name for i in range(6)} == {"t0"}


def test_unused_outputs() -> None:
    text = """m (float[1,4,8,8] x) => (float[1,4,4,4] y) {
        y, indices = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)
    }"""
    graph = loaded(parsed(text))
    assert graph.tensors["indices"].shape == (1, 4, 4, 4)
    assert graph.outputs == ("y",)


def test_sequences_and_optionals() -> None:
    text = """m (float[2,3] a, float[2,3] b) => (float[2,3] y) {
        s = SequenceConstruct (a, b)
        i = Constant <value_int=1> ()
        c = SequenceAt (s, i)
        o = Optional (c)
        d = OptionalGetElement (o)
        y = Relu (d)
    }"""
    graph = loaded(parsed(text))
    assert graph.tensors["s"].dtype.value == "opaque"
    assert graph.tensors["s"].shape is None
    assert graph.tensors["y"].shape == (2, 3)
    assert costed(parsed(text)).complete


def test_shapes_behind_shape_gather_concat_chains() -> None:
    text = """m (float[2,3,8,6] x) => (y) {
        s = Shape (x)
        zero = Constant <value_ints=[0]> ()
        n = Gather (s, zero)
        rest = Constant <value_ints=[-1]> ()
        target = Concat <axis=0> (n, rest)
        f = Reshape (x, target)
        two = Constant <value_ints=[2]> ()
        size = Slice (s, two, four)
        half = Div (size, two)
        four = Constant <value_ints=[4]> ()
        y = Expand (f, one)
        one = Constant <value_ints=[1,1]> ()
    }"""
    graph = loaded(parsed(text))
    assert graph.tensors["f"].shape == (2, 144)
    assert graph.tensors["half"].value == (4, 3)
    assert notes(graph) >= {"reordered"}


def test_a_resize_to_half_the_size_computed_in_floats() -> None:
    text = """m (float[1,3,9,7] x) => (y) {
        s = Shape <start=2> (x)
        f = Cast <to=1> (s)
        half = Constant <value_float=0.5> ()
        g = Mul (f, half)
        h = Floor (g)
        hw = Cast <to=7> (h)
        nc = Shape <end=2> (x)
        sizes = Concat <axis=0> (nc, hw)
        y = Resize <mode="nearest"> (x, , , sizes)
    }"""
    assert loaded(parsed(text)).tensors["y"].shape == (1, 3, 4, 3)


def test_rare_shape_operators_go_through_the_reference_evaluator() -> None:
    text = """m (float[2,3,8,6] x) => (y) {
        s = Shape (x)
        axis = Constant <value_int=0> ()
        c = CumSum (s, axis)
        y = ConstantOfShape (c)
    }"""
    # 2, 5, 13, 19
    assert loaded(parsed(text)).tensors["y"].shape == (2, 5, 13, 19)


def test_an_unknown_operator_is_named_and_counted_apart() -> None:
    text = """m (float[1,3,4,4] x) => (y) {
        a = Relu (x)
        b = local.Mystery (a)
        y = Relu (b)
    }"""
    graph = loaded(parsed(text))
    found = costed(parsed(text))
    assert [(g.op_type, g.count) for g in found.unknown if g.op_type == "local:Mystery"] == [("local:Mystery", 1)]
    assert not found.complete
    assert graph.tensors["y"].shape is None  # nobody knows what it makes


def test_what_the_file_declares_helps_behind_an_unknown_operator() -> None:
    text = """m (float[1,3,4,4] x) => (float[1,5,2,2] y) <float[1,5,2,2] b> {
        b = local.Mystery (x)
        y = Relu (b)
    }"""
    graph = loaded(parsed(text))
    assert graph.tensors["y"].shape == (1, 5, 2, 2)
    # but no longer once the input is another one than the file was written for
    assert loaded(parsed(text), "1x3x8x8").tensors["y"].shape is None


def test_wrong_declared_shapes_are_corrected_with_a_warning() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    stale = [helper.make_tensor_value_info("c", TensorProto.FLOAT, (1, 8, 99, 99))]
    model = built(nodes, {"x": (1, 3, 10, 12)}, {"y": (1, 8, 8)}, [weight("w", 8, 3, 3, 3)], value_info=stale)
    graph = loaded(model)
    assert graph.tensors["c"].shape == graph.tensors["y"].shape == (1, 8, 8, 10)
    message = note(graph, "declared_shape").message
    assert message.startswith("2 declared shapes are wrong")
    assert "1x8x8x10" in message
    assert math.prod(graph.tensors["c"].shape or ()) == 640
