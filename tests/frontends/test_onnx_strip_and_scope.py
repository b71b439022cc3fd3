"""Skeletons, digests, scopes, and what loading brings into the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import built, loaded, parsed, weight

from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.scope import module_of, scope_of
from cnnprof.frontends.onnx.strip import strip


def net(fill: float = 0.0, channels: int = 64, dtype: type = np.float32) -> bytes:
    """A convolution with its weights in an initializer, one in a Constant node, sizes that steer a reshape."""
    w = numpy_helper.from_array(np.full((channels, 3, 5, 5), fill, dtype), "w")
    sizes = numpy_helper.from_array(np.array([1, -1], np.int64), "sizes")
    scale = numpy_helper.from_array(np.full((channels, 1, 1), fill, np.float32))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/body/body.0/Conv"),
        helper.make_node("Constant", [], ["s"], value=scale),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Reshape", ["m", "sizes"], ["y"]),
    ]
    return built(nodes, {"x": (1, 3, 9, 9)}, ["y"], [w, sizes])


def test_a_skeleton_gives_the_same_graph_from_a_fraction_of_the_bytes() -> None:
    full = net()
    skeleton = strip(full)
    assert len(skeleton) < len(full) / 20
    assert loaded(skeleton) == loaded(full)
    assert loaded(skeleton).tensors["y"].shape == (1, 1600)  # 64·5·5
    onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(skeleton))  # other readers can read it


def test_light_networks_survive_stripping(light_models: Path) -> None:
    for file in sorted(light_models.glob("*.onnx")):
        assert load_onnx(strip(file), reference=str(file)) == load_onnx(file)


def test_stripping_reaches_subgraphs_and_functions() -> None:
    text = """m (bool c, float[2,40] x) => (y) {
        y = If (c) <
            then_branch = a () => (p) { k = Constant <value = float[40] {%s}> () p = Add (x, k) },
            else_branch = b () => (q) { q = local.f (x) }
        >
    }
    <domain: "local", opset_import: ["" : 18]>
    f (a) => (b) { k = Constant <value = float[40] {%s}> () b = Add (a, k) }
    """
    zeros = ",".join(["0.5"] * 40)
    full = parsed(text % (zeros, zeros))
    skeleton = strip(full)
    assert len(skeleton) < len(full) - 2 * 100
    assert loaded(skeleton) == loaded(full)
    assert np.float32(0.5).tobytes() * 2 not in skeleton


def test_the_digest_is_of_structure_and_shapes_not_of_values() -> None:
    digest = loaded(net()).source.digest
    assert len(digest) == 64
    assert loaded(net(fill=1.5)).source.digest == digest
    assert loaded(strip(net())).source.digest == digest
    assert loaded(net(channels=32)).source.digest != digest
    assert loaded(net(dtype=np.float16)).source.digest != digest
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    other = helper.make_node("Conv", ["x", "w"], ["y"], strides=[1, 1])
    models = [built([n], {"x": (1, 3, 9, 9)}, ["y"], [weight("w", 4, 3, 3, 3)]) for n in (node, other)]
    assert loaded(models[0]).source.digest != loaded(models[1]).source.digest


def test_the_digest_tells_apart_what_steers_shapes() -> None:
    def reshaped(*sizes: int) -> bytes:
        constant = numpy_helper.from_array(np.array(sizes, np.int64), "sizes")
        return built([helper.make_node("Reshape", ["x", "sizes"], ["y"])], {"x": (4, 6)}, ["y"], [constant])

    assert loaded(reshaped(2, 12)).source.digest != loaded(reshaped(12, 2)).source.digest


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1/0/conv1"),
        ("/layer1/layer1.0/downsample/downsample.0/Conv", "layer1/0/downsample/0"),
        ("/features/features.3/conv/conv.0/conv.0.0/Conv", "features/3/conv/0/0"),
        ("/Relu", ""),
        ("Conv_12", ""),
        ("resnet/conv2d/Conv2D", "resnet/conv2d"),
        ("", ""),
        ("a//b/Add", "a/b"),
    ],
)
def test_scopes_in_node_names(name: str, scope: str) -> None:
    assert scope_of(name) == scope


@pytest.mark.parametrize(
    ("key", "value", "module"),
    [
        ("pkg.torch.onnx.name_scopes", "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d']", "layer1/0/conv1"),
        ("pkg.torch.onnx.name_scopes", "['']", ""),
        ("namespace", ": torchvision.ResNet/layer1: Sequential/layer1.0: Block/relu: aten.relu.default", "layer1/0"),
        ("namespace", ": torchvision.ResNet/relu: aten.relu.default", ""),
        ("pkg.torch.onnx.stack_trace", "File 'x'", ""),
    ],
)
def test_scopes_in_metadata(key: str, value: str, module: str) -> None:
    assert module_of(onnx.StringStringEntryProto(key=key, value=value).SerializeToString()) == module
    long = value + " " * 300  # the length takes two bytes
    assert module_of(onnx.StringStringEntryProto(key=key, value=long).SerializeToString()).startswith(module)


def test_the_exporters_metadata_becomes_the_scope() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="node_relu")
    entry = node.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'stem', 'stem.act', 'relu']"
    op = loaded(built([node], {"x": (2,)}, ["y"])).ops[0]
    assert (op.name, op.scope) == ("node_relu", "stem/act")


def test_unnamed_nodes_get_names_and_no_two_are_alike() -> None:
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(3)]
    assert [op.name for op in loaded(built(nodes, {"t0": (2,)}, ["t3"]))] == ["Relu_0", "Relu_1", "Relu_2"]


def test_loading_imports_neither_torch_nor_numpy_nor_the_onnx_package(light_resnet50: str) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cnnprof.frontends.onnx.load import load_onnx\n"
        f"graph = load_onnx(Path({light_resnet50!r}))\n"
        "assert len(graph) == 176, len(graph)\n"
        "print(sorted({'torch', 'numpy', 'onnx', 'google.protobuf', 'networkx'} & set(sys.modules)))\n"
        "import onnx, onnx.reference, onnx.checker, onnx.inliner\n"
        "model = onnx.load(sys.argv[1])\n"
        "onnx.checker.check_model(model)\n"
        "print(len(onnx.shape_inference.infer_shapes(model).graph.value_info) > 400)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, light_resnet50], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\nTrue\n", done.stderr
