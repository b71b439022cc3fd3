"""The builder refuses what can't be a dataflow graph; the graph answers structural questions."""

import networkx as nx
import pytest
from graphs import Net, chain, diamond, same_input_twice, unused_output

from cnnprof.errors import GraphError
from cnnprof.ir import DType, GraphBuilder, ModelSource, Op, Role, Tensor


def _builder() -> GraphBuilder:
    return GraphBuilder(ModelSource("m", "m", "test"))


def test_an_undefined_input_is_refused_by_name() -> None:
    builder = _builder()
    with pytest.raises(GraphError, match=r"op 'a' .* reads 'nowhere'"):
        builder.add_op(Op("a", "relu", "onnx:Relu", ("nowhere",), ("y",)), [Tensor("y", (1,))])


def test_a_cycle_cannot_be_built() -> None:
    builder = _builder()
    builder.add_tensor(Tensor("x", (1,), role=Role.INPUT))
    with pytest.raises(GraphError, match="cycle"):
        builder.add_op(Op("a", "add", "onnx:Add", ("x", "later"), ("y",)), [Tensor("y", (1,))])


def test_names_are_unique() -> None:
    builder = _builder()
    builder.add_tensor(Tensor("x", (1,), role=Role.INPUT))
    builder.add_op(Op("a", "relu", "onnx:Relu", ("x",), ("y",)), [Tensor("y", (1,))])
    with pytest.raises(GraphError, match="tensor 'x' is defined twice"):
        builder.add_tensor(Tensor("x", (2,)))
    with pytest.raises(GraphError, match="op 'a' is defined twice"):
        builder.add_op(Op("a", "relu", "onnx:Relu", ("x",), ("z",)), [Tensor("z", (1,))])
    with pytest.raises(GraphError, match="tensor 'y' is defined twice"):
        builder.add_op(Op("b", "relu", "onnx:Relu", ("x",), ("y",)), [Tensor("y", (1,))])


def test_outputs_need_their_records() -> None:
    builder = _builder()
    builder.add_tensor(Tensor("x", (1,), role=Role.INPUT))
    with pytest.raises(GraphError, match=r"expected records of \['y'\], got \[\]"):
        builder.add_op(Op("a", "relu", "onnx:Relu", ("x",), ("y",)), [])


def test_graph_outputs_must_exist_and_inputs_must_be_inputs() -> None:
    builder = _builder()
    builder.add_tensor(Tensor("x", (1,), role=Role.INPUT))
    builder.add_tensor(Tensor("w", (1,), role=Role.PARAMETER))
    with pytest.raises(GraphError, match="'y' is never defined"):
        builder.build(["x"], ["y"])
    with pytest.raises(GraphError, match="'w' has role parameter"):
        builder.build(["w"], ["x"])


def test_unique_names_count_on_and_stay_linear() -> None:
    net = Net()
    x = net.input("x", (1,))
    names = [net.op("relu", (x,), (1,)) for _ in range(3)]
    assert names == ["relu:0", "relu.2:0", "relu.3:0"]


def test_digraph_keeps_both_uses_of_one_tensor() -> None:
    graph = same_input_twice()
    assert graph.digraph.number_of_nodes() == 1
    net = Net()
    x = net.input("x", (1, 2, 5, 3))
    y = net.op("relu", (x,), (1, 2, 5, 3), "act")
    double = net.build(net.op("add", (y, y), (1, 2, 5, 3), "sum"))
    assert sorted(double.digraph.edges(keys=True)) == [
        ("act", "sum", ("act:0", 0)),
        ("act", "sum", ("act:0", 1)),
    ]


def test_digraph_is_a_frozen_multidigraph_with_ops_and_tensors() -> None:
    digraph = diamond().digraph
    assert isinstance(digraph, nx.MultiDiGraph)
    assert nx.is_frozen(digraph)
    assert digraph.nodes["join"]["op"].kind == "add"
    assert digraph.edges["a", "b", ("a:0", 0)]["tensor"].shape == (1, 4, 16, 10)
    assert next(iter(nx.topological_sort(digraph))) == "a"
    assert nx.immediate_dominators(digraph, "a")["join"] == "a"


def test_consumers_and_producers() -> None:
    graph = diamond()
    assert [op.name for op in graph.consumers["a:0"]] == ["b", "c"]
    assert graph.producer["join:0"].name == "join"
    assert "x" not in graph.producer
    assert [op.name for op in same_input_twice().consumers["x"]] == ["sum"]
    assert "lost:0" not in unused_output().consumers


def test_storages_take_the_largest_tensor_or_what_is_stated() -> None:
    builder = _builder()
    builder.add_tensor(Tensor("x", (4, 4), role=Role.INPUT))
    builder.add_op(Op("v", "slice", "aten:slice.Tensor", ("x",), ("y",)), [Tensor("y", (2, 4), storage="x")])
    builder.add_op(Op("e", "expand", "aten:expand", ("y",), ("z",)), [Tensor("z", (8, 2, 4), storage="x")])
    builder.set_storage_bytes("x", 64)
    assert builder.build(["x"], ["z"]).storages == {"x": 64}


@pytest.mark.parametrize(
    ("dtype", "elements", "nbytes"),
    [
        (DType.FLOAT32, 3, 12),
        (DType.INT4, 3, 2),  # 12 bits
        (DType.BOOL, 3, 3),
        (DType.FLOAT8, 5, 5),
        (DType.COMPLEX128, 1, 16),
        (DType.UINT2, 5, 2),  # 10 bits
    ],
)
def test_bytes_of_packed_types(dtype: DType, elements: int, nbytes: int) -> None:
    assert dtype.nbytes(elements) == nbytes


def test_unknown_shapes_have_no_size() -> None:
    assert Tensor("t", None).elements is None
    assert Tensor("t", None).nbytes is None
    assert Tensor("t", ()).elements == 1
    assert chain().tensors["a.weight"].is_weight
