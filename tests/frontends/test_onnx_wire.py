"""The protobuf walker against the protobuf library, and against anything at all."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cnnprof.errors import CnnprofError, ModelError
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.records import AttrKind
from cnnprof.frontends.onnx.values import tensor_value, value_proto
from cnnprof.frontends.onnx.walker import MAX_PAYLOAD, Walker, walk_model
from cnnprof.frontends.onnx.wire import damaged, scan, signed, varint, varint_bytes

NAMES = st.text(min_size=0, max_size=12)
SIZES = st.integers(0, 2**40)
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@given(st.integers(0, 2**64 - 1))
def test_varints_survive_the_round_trip(value: int) -> None:
    data = varint_bytes(value)
    assert varint(data, 0, len(data)) == (value, len(data))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers_too(value: int) -> None:
    data = varint_bytes(value)
    assert signed(varint(data, 0, len(data))[0]) == value


def test_a_number_that_never_ends() -> None:
    with pytest.raises(ModelError, match="byte 0: a number is longer than 10 bytes"):
        varint(b"\xff" * 20, 0, 20)
    with pytest.raises(ModelError, match="byte 0: the file ends inside a number"):
        varint(b"\xff\xff", 0, 2)


def test_errors_say_where() -> None:
    data = b"\x08\x01" + b"\x0a\x7f" + b"abc"
    with pytest.raises(ModelError, match="byte 2: expected 127 more bytes in its message, got 3"):
        list(scan(data, 0, len(data)))
    assert str(damaged(7, "x")).startswith("byte 7: x; ")


@given(st.lists(SIZES, max_size=6), st.sampled_from(list(range(1, 23))), NAMES)
@fuzz
def test_tensors_read_as_protobuf_reads_them(dims: list[int], elem: int, name: str) -> None:
    proto = TensorProto(dims=dims, data_type=elem, name=name)
    data = proto.SerializeToString()
    tensor = Walker(data).tensor(0, len(data))
    assert (tensor.name, tensor.elem, tensor.dims) == (name, elem, tuple(dims))


ATTRIBUTES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False),
    st.text(max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6),
    st.lists(st.text(max_size=6), min_size=1, max_size=4),
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), ATTRIBUTES, max_size=5), st.lists(NAMES, max_size=4))
@fuzz
def test_nodes_read_as_protobuf_reads_them(attributes: dict[str, object], names: list[str]) -> None:
    node = onnx.NodeProto(op_type="Op", name="n", input=names, output=["y"], domain="d")
    for key, value in attributes.items():
        node.attribute.append(helper.make_attribute(key, value))
    data = node.SerializeToString()
    found = Walker(data).node(0, len(data), {}, 0)
    assert (found.op_type, found.name, found.domain) == ("Op", "n", "d")
    assert found.inputs == names
    for key, value in attributes.items():
        assert found.plain(key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    "elem",
    [
        TensorProto.INT64,
        TensorProto.INT32,
        TensorProto.FLOAT,
        TensorProto.BOOL,
        TensorProto.DOUBLE,
        TensorProto.UINT8,
        TensorProto.FLOAT16,
        TensorProto.UINT64,
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_small_constants_are_decoded_from_every_field(elem: int, raw: bool) -> None:
    import numpy as np

    array = np.array([[0, 1], [1, 0]], helper.tensor_dtype_to_np_dtype(elem))
    data = array.tobytes() if raw else array.reshape(-1).tolist()
    proto = helper.make_tensor("t", elem, array.shape, data, raw=raw).SerializeToString()
    value = tensor_value(Walker(proto).tensor(0, len(proto)))
    assert value is not None
    assert (value.shape, tuple(map(float, value.data))) == ((2, 2), (0.0, 1.0, 1.0, 0.0))
    back = onnx.TensorProto.FromString(value_proto("t", value))
    assert onnx.numpy_helper.to_array(back).tolist() == array.tolist()


def test_large_payloads_are_not_read() -> None:
    class Watched(bytes):
        """Bytes that remember how much of them was looked at."""

        touched = 0

        def __getitem__(self, key: object) -> object:  # type: ignore[override]
            got = super().__getitem__(key)  # type: ignore[index]
            Watched.touched += len(got) if isinstance(got, bytes) else 1
            return got

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1000, 1000], bytes(4_000_000), raw=True)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1000])],
        [onnx.ValueInfoProto(name="y")],
        [weight],
    )
    model = walk_model(Watched(helper.make_model(graph).SerializeToString()))
    assert model.graph.initializers[0].dims == (1000, 1000)
    assert Watched.touched < 2 * MAX_PAYLOAD


def test_repeated_attributes_are_read_once() -> None:
    nodes = [helper.make_node("Relu", ["x"], [f"y{i}"], pads=[1, 2]) for i in range(3)]
    data = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    found = walk_model(data).graph.nodes
    assert found[0].attrs["pads"] is found[2].attrs["pads"]
    assert found[0].attrs["pads"].kind == AttrKind.INTS


# -- fuzz: about 10 seconds -----------------------------------------------------------------------------------


def quiet(read: Callable[[bytes], object], data: bytes) -> None:
    try:
        read(data)
    except CnnprofError as error:
        assert "\n" not in error.message


@given(st.binary(max_size=400))
@settings(max_examples=400, deadline=None)
def test_any_bytes(data: bytes) -> None:
    quiet(walk_model, data)
    quiet(load_onnx, data)


FIELD = st.tuples(
    st.integers(1, 30), st.sampled_from([0, 1, 2, 2, 2, 5]), st.binary(max_size=12), st.integers(0, 2**64)
)


def encoded(fields: list[tuple[int, int, bytes, int]]) -> bytes:
    out = b""
    for number, wire, body, value in fields:
        out += varint_bytes(number << 3 | wire)
        if wire == 0:
            out += varint_bytes(value)
        elif wire == 2:
            out += varint_bytes(len(body)) + body
        else:
            out += bytes(8 if wire == 1 else 4)
    return out


@given(st.lists(FIELD, max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_well_formed_message(fields: list[tuple[int, int, bytes, int]]) -> None:
    data = encoded(fields)
    walker = Walker(data)
    size = len(data)
    quiet(lambda _: list(scan(data, 0, size)), data)
    quiet(lambda _: walker.graph(0, size, {}, 0), data)
    quiet(lambda _: walker.node(0, size, {}, 0), data)
    quiet(lambda _: walker.attribute(0, size, {}, 0), data)
    quiet(lambda _: walker.tensor(0, size), data)
    quiet(lambda _: walker.function(0, size), data)
    quiet(lambda _: walker.value(0, size), data)
    head = varint_bytes(8) + b"\x09" + b"\x42\x04\x0a\x00\x10\x12"
    quiet(walk_model, head + b"\x3a" + varint_bytes(size) + data)
