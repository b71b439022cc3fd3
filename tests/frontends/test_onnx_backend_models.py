"""Every model of onnx's own backend suite: none may fail in any way but a clean error, and the shapes that we
state must be those that onnx's reference results have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx.backend.test.loader import load_model_tests, load_node_model_tests

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.ir import Graph

Case = tuple[str, bytes, list[object], list[object]]


@pytest.fixture(scope="module")
def node_cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: list[Case] = []
        for case in load_node_model_tests():
            if case.model is None:
                data = (Path(case.model_dir) / "model.onnx").read_bytes()
                results: list[object] = []
                feeds: list[object] = []
            else:
                data = case.model.SerializeToString()
                feeds, results = map(list, case.data_sets[0]) if case.data_sets else ([], [])
            found.append((case.name, data, results, feeds))
    return found


def wrong_shapes(data: bytes, graph: Graph, results: list[object]) -> Iterator[str]:
    model = onnx.ModelProto.FromString(data)
    for declared, result in zip(model.graph.output, results, strict=False):
        shape = graph.tensors[declared.name].shape
        if isinstance(result, np.ndarray) and shape is not None and shape != result.shape:
            yield f"{declared.name}: stated {shape}, is {result.shape}"


def test_every_node_model_loads_analyses_and_has_the_shape_it_computes(node_cases: list[Case]) -> None:
    assert len(node_cases) > 1500
    refused: list[str] = []
    wrong: list[str] = []
    known = stated = 0
    for name, data, results, _ in node_cases:
        try:
            graph = load_onnx(data)
            complexity(graph)
        except CnnprofError as error:
            refused.append(f"{name}: {error}")
            continue
        wrong += [f"{name}: {text}" for text in wrong_shapes(data, graph, results)]
        known += 1
        stated += all(graph.tensors[output].shape is not None for output in graph.outputs)
    assert not wrong
    assert len(refused) <= len(node_cases) // 50, refused
    # What stays open depends on the values of graph inputs (axes, shapes and sizes fed at run time).
    assert stated >= 0.8 * known, (stated, known)


def frozen(data: bytes, feeds: list[object]) -> bytes:
    """The model with its small integer inputs (axes, shapes, sizes) and scales as constants."""
    model = onnx.ModelProto.FromString(data)
    for declared, value in zip(model.graph.input, feeds, strict=False):
        if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.name.startswith(("int4", "uint4", "int2")):
            continue
        if (value.dtype.kind in "iub" and value.size <= 64) or declared.name in _SCALES:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), declared.name))
    return model.SerializeToString()


_SCALES = {"scales", "roi", "start", "limit", "delta"}


def test_with_sizes_known_nearly_every_shape_and_cost_is_known(node_cases: list[Case]) -> None:
    wrong: list[str] = []
    open_shapes: list[str] = []
    unknown: dict[str, int] = {}
    for name, data, results, feeds in node_cases:
        graph = load_onnx(frozen(data, feeds))
        wrong += [f"{name}: {text}" for text in wrong_shapes(data, graph, results)]
        if any(graph.tensors[output].shape is None for output in graph.outputs):
            open_shapes.append(name)
        for group in complexity(graph).unknown:
            unknown[group.op_type] = unknown.get(group.op_type, 0) + group.count
    assert not wrong
    # Sequences, optionals and what depends on the data itself (selected boxes, split strings).
    assert len(open_shapes) <= 0.06 * len(node_cases), open_shapes
    assert sum(unknown.values()) <= 0.05 * len(node_cases), unknown


@pytest.mark.parametrize("kind", ["simple", "pytorch-converted", "pytorch-operator"])
def test_the_models_on_disk(kind: str) -> None:
    cases = load_model_tests(kind=kind)
    assert len(cases) > 20
    for case in cases:
        folder = Path(case.model_dir)
        data = (folder / "model.onnx").read_bytes()
        graph = load_onnx(data)
        complexity(graph)
        results: list[object] = []
        for index in range(len(graph.outputs)):
            file = folder / "test_data_set_0" / f"output_{index}.pb"
            try:
                tensor = onnx.TensorProto.FromString(file.read_bytes())
                results.append(np.empty(tuple(tensor.dims)))
            except Exception:  # a sequence or an optional: no shape to compare
                results.append(None)
        assert not list(wrong_shapes(data, graph, results)), case.name
