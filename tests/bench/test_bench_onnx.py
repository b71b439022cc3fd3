"""Speed and memory of reading ONNX; run with ``make bench``.

Ratios are asserted where they are the promise: size of the weights costs nothing, a hundred thousand nodes stay
linear, and an analysis takes at most half of ``onnx.load`` plus ``infer_shapes``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.wire import varint_bytes

pytestmark = pytest.mark.bench

MEASURE = """
import json, sys, time
from pathlib import Path
from cnnprof.frontends.onnx.load import load_onnx
times = []
for _ in range(7):
    start = time.perf_counter()
    graph = load_onnx(Path(sys.argv[1]))
    times.append(time.perf_counter() - start)
parameters = sum(t.elements or 0 for t in graph.tensors.values() if t.is_weight)
# Not ru_maxrss: across fork and exec it keeps the parent's peak, and a pytest with torch loaded is large.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([min(times), peak * 1024, parameters]))
"""


def measured(file: Path) -> tuple[float, int, int]:
    """(best load time in seconds, peak resident bytes, weight elements) of a fresh process."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=True)
    seconds, peak_bytes, parameters = json.loads(done.stdout)
    return float(seconds), int(peak_bytes), int(parameters)


def sized(path: Path, total: int, layers: int = 50) -> Path:
    """A chain of ``layers`` matrix products with ``total`` bytes of embedded weights, written sparse."""
    rows, width = total // (layers * 4 * 1024), 1024

    def block(number: int, body: bytes) -> bytes:
        return varint_bytes(number << 3 | 2) + varint_bytes(len(body)) + body

    nodes = b""
    heads: list[bytes] = []
    for i in range(layers):
        node = helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], name=f"/layers/layers.{i}/MatMul")
        nodes += block(1, node.SerializeToString())
        tensor = onnx.TensorProto(dims=[width, rows], data_type=TensorProto.FLOAT, name=f"w{i}")
        data = width * rows * 4
        payload = tensor.SerializeToString() + varint_bytes(9 << 3 | 2) + varint_bytes(data)
        heads.append(varint_bytes(5 << 3 | 2) + varint_bytes(len(payload) + data) + payload)
    graph = nodes
    graph += block(11, helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width]).SerializeToString())
    graph += block(12, onnx.ValueInfoProto(name="y0").SerializeToString())
    data = width * rows * 4
    size = len(graph) + sum(len(head) + data for head in heads)
    with path.open("wb") as file:
        file.write(b"\x08\x09" + block(8, b"\x0a\x00\x10\x12"))
        file.write(varint_bytes(7 << 3 | 2) + varint_bytes(size) + graph)
        for head in heads:
            file.write(head)
            file.seek(data, 1)  # a hole: the weights are zero and take no disk
        file.truncate(file.tell())
    return path


def external(path: Path, total: int, layers: int = 50) -> Path:
    """The same chain, its weights in a file beside it (sparse too)."""
    rows, width = total // (layers * 4 * 1024), 1024
    weights, nodes = [], []
    for i in range(layers):
        tensor = onnx.TensorProto(dims=[width, rows], data_type=TensorProto.FLOAT, name=f"w{i}")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{path.name}.data")
        tensor.external_data.add(key="offset", value=str(i * width * rows * 4))
        weights.append(tensor)
        nodes.append(helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [onnx.ValueInfoProto(name="y0")],
        weights,
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())
    with Path(f"{path}.data").open("wb") as file:
        file.truncate(total)
    return path


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("weights")
    files = {
        f"{make.__name__} {total}": make(folder / f"{make.__name__}{total}.onnx", total)
        for make in (sized, external)
        for total in (100_000_000, 2_000_000_000)
    }
    yield files
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("where", ["sized", "external"])
def test_weights_cost_neither_time_nor_memory(where: str, sizes: dict[str, Path]) -> None:
    small = measured(sizes[f"{where} 100000000"])
    large = measured(sizes[f"{where} 2000000000"])
    print(
        f"\n{where}: 100 MB {small[0] * 1e3:.1f} ms {small[1] >> 20} MiB; "
        f"2 GB {large[0] * 1e3:.1f} ms {large[1] >> 20} MiB"
    )
    assert large[2] > 19 * small[2]
    assert large[1] < 150 * 2**20
    assert small[1] < 150 * 2**20
    assert large[0] < 3 * small[0] + 0.005
    assert large[0] < 0.1


def resnet50(light_models: Path, path: Path) -> Path:
    """The light ResNet-50 with real, embedded weights: 102 MB."""
    model = onnx.load(light_models / "light_resnet50.onnx")
    graph = model.graph
    shapes = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            dims = shapes[node.input[0]]
            count = 4
            for dim in dims:
                count *= dim
            graph.initializer.append(
                helper.make_tensor(node.output[0], TensorProto.FLOAT, dims, bytes(count), raw=True)
            )
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    onnx.save(model, path)
    return path


def best(run: Callable[[], object], times: int = 5) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def test_resnet50_with_weights_against_onnx(light_models: Path, tmp_path: Path) -> None:
    file = resnet50(light_models, tmp_path / "resnet50.onnx")
    assert file.stat().st_size > 100_000_000
    assert complexity(load_onnx(file)).macs == 4_089_184_256
    ours = best(lambda: complexity(load_onnx(file)))
    theirs = best(lambda: onnx.shape_inference.infer_shapes(onnx.load(file)), 3)
    print(
        f"\nload and cost: {ours * 1e3:.1f} ms; onnx.load + infer_shapes: {theirs * 1e3:.1f} ms; ratio {ours / theirs:.3f}"
    )
    assert ours < theirs / 2


def test_resnet50_in_a_fresh_process(light_models: Path, tmp_path: Path) -> None:
    """The whole command against the two onnx calls, imports included on both sides."""
    file = resnet50(light_models, tmp_path / "resnet50.onnx")

    # Compiled modules are cached on both sides, as they are in an installed package.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "cache")

    def cpu_s(*words: str) -> float:
        """Processor time of a fresh process: the wall clock of a shared machine tells little."""
        found = []
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(found)

    ours = cpu_s("-m", "cnnprof", "analyze", str(file), "--format", "json")
    theirs = cpu_s("-c", f"import onnx; onnx.shape_inference.infer_shapes(onnx.load({str(file)!r}))")
    print(f"\ncnnprof analyze: {ours:.3f} s; onnx: {theirs:.3f} s; ratio {ours / theirs:.2f}")
    assert ours < theirs / 2


def chain(path: Path, count: int) -> Path:
    """``count`` nodes: convolution, activation, residual addition, over and over."""
    nodes, weights, x = [], [], "input"
    for i in range(count // 3):
        scope = f"/blocks/blocks.{i}"
        weights.append(helper.make_tensor(f"{scope}.weight", TensorProto.FLOAT, [8, 8, 3, 3], bytes(2304), raw=True))
        weights.append(helper.make_tensor(f"{scope}.bias", TensorProto.FLOAT, [8], bytes(32), raw=True))
        names = [f"{scope}/{kind}_output_0" for kind in ("conv/Conv", "act/Relu", "Add")]
        attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1}
        nodes.append(
            helper.make_node(
                "Conv", [x, f"{scope}.weight", f"{scope}.bias"], names[:1], name=f"{scope}/conv/Conv", **attributes
            )
        )
        nodes.append(helper.make_node("Relu", names[:1], names[1:2], name=f"{scope}/act/Relu"))
        nodes.append(helper.make_node("Add", [names[1], x], names[2:], name=f"{scope}/Add"))
        x = names[2]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 8, 32, 32])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 8, 32, 32])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_a_hundred_thousand_nodes_stay_linear(tmp_path: Path) -> None:
    taken: dict[int, float] = {}
    for count in (999, 9_999, 99_999):
        file = chain(tmp_path / f"{count}.onnx", count)
        # every convolution: 32·32·9·8·8
        assert complexity(load_onnx(file)).macs == count // 3 * 589_824
        start = time.process_time()
        complexity(load_onnx(file))
        taken[count] = time.process_time() - start
    print("\n" + "; ".join(f"{n} nodes {t:.2f} s, {t / n * 1e6:.0f} us each" for n, t in taken.items()))
    assert taken[99_999] < 10
    assert taken[99_999] < 2.5 * 10 * taken[9_999]


def test_bench_load_resnet50(benchmark: Callable[..., object], light_models: Path) -> None:
    benchmark(load_onnx, light_models / "light_resnet50.onnx")


def test_bench_load_densenet121(benchmark: Callable[..., object], light_models: Path) -> None:
    benchmark(load_onnx, light_models / "light_densenet121.onnx")
