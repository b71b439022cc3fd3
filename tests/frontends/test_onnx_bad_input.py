"""Whatever is in the file: a one-line error or an analysis, in bounded time, and nothing else touched."""

from __future__ import annotations

import builtins
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import built, loaded, parameters, weight

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError, GraphError, ModelError
from cnnprof.frontends.onnx.load import load_onnx


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Bounded time, whatever happens."""

    def stop(*_: object) -> None:
        raise TimeoutError("this took more than 60 s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def survives(data: bytes) -> bool:
    """True if it was analysed; a clean, one-line error is the other allowed end."""
    try:
        complexity(load_onnx(data))
    except CnnprofError as error:
        assert "\n" not in error.message
        assert error.exit_code == 3
        return False
    return True


def small() -> bytes:
    """A net with most field kinds: weights, attributes, a subgraph, a function's domain, documentation."""
    then = helper.make_graph([helper.make_node("Relu", ["h"], ["t"])], "then", [], [onnx.ValueInfoProto(name="t")])
    other = helper.make_graph([helper.make_node("Tanh", ["h"], ["e"])], "else", [], [onnx.ValueInfoProto(name="e")])
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], name="conv", pads=[1, 1, 1, 1], doc_string="why"),
        helper.make_node("ReduceSum", ["h"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    return built(nodes, {"x": ("batch", 3, 8, 8)}, ["y"], [weight("w", 4, 3, 3, 3), weight("b", 4)])


def test_the_sound_model_is_analysed() -> None:
    assert survives(small())


@pytest.mark.parametrize(
    "data",
    [b"", b"hello, this is no model at all\n" * 40, b"\x00" * 64, b"\xff" * 64, b"{}"],
    ids=["empty", "text", "zeros", "ones", "json"],
)
def test_empty_text_and_noise(data: bytes, tmp_path: Path) -> None:
    assert not survives(data)
    file = tmp_path / "m.onnx"
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        load_onnx(file)


def test_directories_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="directory"):
        load_onnx(tmp_path)
    with pytest.raises(ModelError, match="can't be read"):
        load_onnx(tmp_path / "none.onnx")


def test_truncated_at_every_one_of_200_points(light_models: Path) -> None:
    data = (light_models / "light_squeezenet.onnx").read_bytes()
    for step in range(200):
        assert not survives(data[: len(data) * step // 200])


def test_bits_flipped() -> None:
    """In a child process, since onnx's C++ must not bring ours down; 600 different single flips."""
    script = (
        "import random, sys\n"
        "from cnnprof.frontends.onnx.load import load_onnx\n"
        "from cnnprof.errors import CnnprofError\n"
        "data = sys.stdin.buffer.read()\n"
        "rng = random.Random(7)\n"
        "for _ in range(600):\n"
        "    bad = bytearray(data)\n"
        "    bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)\n"
        "    try:\n"
        "        load_onnx(bytes(bad))\n"
        "    except CnnprofError:\n"
        "        pass\n"
        "print('survived')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=small(), capture_output=True, timeout=55, check=False)
    assert done.stdout == b"survived\n", done.stderr[-2000:]


def test_a_cycle_is_named() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(GraphError, match=r"'first' \(Add\) waits for its own result"):
        loaded(built(nodes, {"x": (2,)}, ["b"]))


def test_an_undefined_input_is_named() -> None:
    with pytest.raises(GraphError, match="reads 'nowhere', which nothing makes"):
        loaded(built([helper.make_node("Add", ["x", "nowhere"], ["y"])], {"x": (2,)}, ["y"]))
    with pytest.raises(GraphError, match="output 'z' is never made"):
        loaded(built([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["z"]))


def test_duplicate_names() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"], name="same")
    with pytest.raises(GraphError, match="'y' is defined twice"):
        loaded(built([relu, relu], {"x": (2,)}, ["y"]))
    with pytest.raises(GraphError, match="'w' is defined twice"):
        loaded(built([relu], {"x": (2,)}, ["y"], [weight("w", 2), weight("w", 2)]))
    # two operators of one name are legal: the second gets another
    again = helper.make_node("Relu", ["y"], ["z"], name="same")
    assert [op.name for op in loaded(built([relu, again], {"x": (2,)}, ["z"]))] == ["same", "same.2"]


def test_impossible_sizes() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert not survives(built([relu], {"x": (1, -5, 3)}, ["y"]))
    broken = weight("w", 2)
    broken.dims[0] = -2
    with pytest.raises(GraphError, match="'w': expected sizes of 0 or more"):
        loaded(built([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (2,)}, ["y"], [broken]))
    huge = weight("w", 2)
    huge.dims[0] = 2**40
    graph = loaded(built([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (1,)}, ["y"], [huge]))
    assert parameters(graph) == 2**40
    assert not survives(built([relu], {"x": (2**41,)}, ["y"]))


def test_kernels_strides_and_groups_that_make_no_sense() -> None:
    for attributes in (
        {"strides": [0, 0]},
        {"group": 0},
        {"group": -1},
        {"dilations": [0, 0]},
        {"kernel_shape": [0, 0]},
        {"kernel_shape": [9, 9]},
        {"pads": [-5, -5, -5, -5]},
        {"strides": [2**62, 1]},
        {"pads": [1]},
        {"auto_pad": "SIDEWAYS"},
    ):
        node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
        survives(built([node], {"x": (1, 3, 4, 4)}, ["y"], [weight("w", 4, 3, 3, 3)]))


def nested(depth: int) -> bytes:
    """If in If in If, as bytes: protobuf itself refuses to write so deep."""

    def block(tag: int, body: bytes) -> bytes:
        size, length = len(body), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([tag]) + length + bytes([size]) + body

    name = block(10, b"then_branch")
    graph = b""
    for _ in range(depth):
        attribute = name + block(50, graph) + b"\xa0\x01\x05"
        node = block(10, b"c") + block(18, b"y") + block(34, b"If") + block(42, attribute)
        graph = block(10, node)
    return b"\x08\x09" + block(66, block(10, b"") + b"\x10\x12") + block(58, graph)


@pytest.mark.parametrize("depth", [60, 3000])
def test_a_deep_nest_of_subgraphs(depth: int) -> None:
    with pytest.raises(ModelError, match="nested deeper than 48"):
        loaded(nested(depth))


@pytest.mark.slow
def test_a_10000_deep_nest_of_subgraphs() -> None:
    with pytest.raises(ModelError, match="nested deeper than 48"):
        loaded(nested(10_000))


def test_external_data_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = weight("w", 4, 4)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    file = tmp_path / "m.onnx"
    file.write_bytes(built([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (2, 4)}, ["y"], [outside]))
    load_onnx(file)  # everything that is imported lazily is, from here on
    opened: list[str] = []
    real_open, real_io = builtins.open, os.open

    def watch(path: object, *args: object, **kwargs: object) -> object:
        opened.append(str(path))
        return real_open(path, *args, **kwargs)  # type: ignore[call-overload]

    def watch_low(path: object, *args: object, **kwargs: object) -> object:
        opened.append(str(path))
        return real_io(path, *args, **kwargs)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(builtins, "open", watch)
    monkeypatch.setattr(os, "open", watch_low)
    graph = load_onnx(file)
    assert parameters(graph) == 16
    assert not [path for path in opened if "passwd" in path]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]


def test_a_string_attribute_of_100_megabytes() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], note="x" * 100_000_000)
    model = built([node], {"x": (2,)}, ["y"])
    start = time.perf_counter()
    graph = loaded(model)
    assert graph.tensors["y"].shape == (2,)
    assert time.perf_counter() - start < 30
    assert sum(len(str(value)) for value in graph.ops[0].attributes.values()) < 10_000


def test_names_are_data() -> None:
    name = '\x1b[31m<script>alert("x")</script>\n'
    graph = loaded(built([helper.make_node("Relu", ["x"], ["y"], name=name)], {"x": (2,)}, ["y"]))
    assert graph.ops[0].name == name


def test_a_name_that_is_no_text() -> None:
    model = small().replace(b"conv", b"\xff\xfe\xfd\xfc")
    with pytest.raises(ModelError, match="not valid UTF-8"):
        loaded(model)


def test_a_model_without_operator_set() -> None:
    graph = helper.make_graph([], "g", [], [])
    with pytest.raises(ModelError, match="no operator set"):
        loaded(onnx.ModelProto(ir_version=9, graph=graph).SerializeToString())


def test_random_bytes_behind_a_valid_head() -> None:
    rng = random.Random(3)
    head = b"\x08\x09\x42\x04\x0a\x00\x10\x12\x3a"
    for _ in range(300):
        body = rng.randbytes(rng.randrange(1, 120))
        survives(head + bytes([len(body)]) + body)


def test_constants_of_two_types_in_one_shape_are_not_mixed() -> None:
    """A float NaN must not end up among integers."""
    nodes = [
        helper.make_node("Constant", [], ["nan"], value_floats=[float("nan")]),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Concat", ["one", "nan"], ["sizes"], axis=0),
        helper.make_node("Add", ["one", "nan"], ["sum"]),
        helper.make_node("Reshape", ["x", "sizes"], ["a"]),
        helper.make_node("Reshape", ["a", "sum"], ["y"]),
    ]
    assert loaded(built(nodes, {"x": (2, 3)}, ["y"])).tensors["sizes"].value is None
