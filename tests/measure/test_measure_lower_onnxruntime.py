"""The onnxruntime lowering against onnxruntime's own optimised graph, on the networks that the onnx package ships."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest

from cnnprof.analyses.complexity import complexity
from cnnprof.api import load
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.ir import Graph
from cnnprof.measure.onnxruntime_map import covered
from cnnprof.predict.lower import lower

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
# What costs nothing may stand on either side of a boundary.
FREE = {"dropout", "reshape"}


def core(names: tuple[str, ...], graph: Graph, folded: set[str]) -> tuple[str, ...]:
    return tuple(n for n in names if n not in folded and graph.op_by_name[n].kind not in FREE)


# model -> the share of onnxruntime's kernels that must be ours too, op for op. Below 1 where the optimised graph no
# longer tells which concatenation or pooling a blocked node was (inception), or where onnxruntime splits a batch norm
# that follows a concatenation into a scale and a shift of its own (densenet).
AGREE = {
    "bvlc_alexnet": 1.0, "resnet50": 1.0, "shufflenet": 1.0, "squeezenet": 0.97, "vgg19": 1.0, "zfnet512": 1.0,
    "inception_v1": 0.95, "inception_v2": 0.78, "densenet121": 0.6,
}  # fmt: skip


@pytest.mark.parametrize("name", AGREE)
def test_kernels_are_onnxruntimes(name: str, tmp_path: Path) -> None:
    path = LIGHT / f"light_{name}.onnx"
    graph = load(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kernels = lower(graph, "onnxruntime")
    assert sorted(n for k in kernels for n in k.ops) == sorted(op.name for op in graph.ops)
    folded = {n for k in kernels if k.path == "folded" for n in k.ops}
    own = {core(k.ops, graph, folded) for k in kernels} - {()}
    real = {core(ops, graph, folded) for ops in covered(file_nodes(tmp_path / "optimised.onnx"), graph).values()} - {()}
    assert len(own & real) / len(real) >= AGREE[name]
    # Every multiplication is in a kernel of a class that multiplies.
    assert sum(k.flops for k in kernels if k.cls.startswith("conv")) >= 2 * sum(
        row.macs for row, op in zip(complexity(graph).rows, graph.ops, strict=True) if op.kind == "conv"
    )
