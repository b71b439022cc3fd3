"""The ONNX emitter against PyTorch: same weights, same numbers, for every motif."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small_networks import SMALL, small_network

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.ir import Graph
from cnnprof.measure.synthetic import synthetic_network
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.measure.synthetic_torch import SyntheticModule


def copy_into(module: SyntheticModule, graph: Graph, weights: dict[str, np.ndarray]) -> None:
    for op, layer in zip(graph.ops, module.layers, strict=True):
        own = [name for name in op.present_inputs if graph.tensors[name].is_weight]
        state = [value for name, value in layer.state_dict().items() if "num_batches" not in name]
        assert len(own) == len(state)
        for name, value in zip(own, state, strict=True):
            value.copy_(torch.from_numpy(weights[name]))


def outputs(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """(torch's, onnxruntime's) of the same weights and input."""
    weights = random_weights(graph, 7)
    module = SyntheticModule(graph).eval()
    copy_into(module, graph, weights)
    x = np.random.default_rng(1).standard_normal(graph.tensors[graph.inputs[0]].shape).astype(np.float32)
    model = synthetic_model(graph, weights)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy(), session.run(None, {graph.inputs[0]: x})[0]


@pytest.mark.parametrize("name", SMALL)
def test_the_numbers_are_torchs(name: str) -> None:
    expected, found = outputs(small_network(name))
    assert float(expected.std()) > 1e-3  # the input reaches the output
    assert np.abs(found - expected).max() < 1e-3 * float(np.abs(expected).max())


def test_every_kind_of_the_suite_is_among_them() -> None:
    chosen = {op.kind for name in SMALL for op in small_network(name).ops}
    assert chosen >= {op.kind for index in range(26) for op in synthetic_network(0, index).ops}


@pytest.mark.parametrize("name", [name for name in SMALL if name.endswith("-16")])
def test_our_front_end_reads_it_with_the_same_work(name: str) -> None:
    graph = small_network(name)
    read = load_onnx(synthetic_model(graph, random_weights(graph, 0)), reference="synthetic")
    assert complexity(read).macs == complexity(graph).macs
    assert not any(row.unknown for row in complexity(read).rows)


def test_same_seed_same_bytes() -> None:
    graph = small_network("residual-16")
    assert synthetic_model(graph, random_weights(graph, 2)) == synthetic_model(graph, random_weights(graph, 2))
    assert synthetic_model(graph, random_weights(graph, 2)) != synthetic_model(graph, random_weights(graph, 3))
