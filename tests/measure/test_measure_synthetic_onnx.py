"""The ONNX emitter against PyTorch: same weights, same numbers, for every motif."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.ir import Graph
from cnnprof.measure.synthetic import STYLES, synthetic_network
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


# Networks whose activations, gates and squeezes together are all that the suite has.
NETWORKS = (*range(len(STYLES)), 11, 14, 20, 25, 33)


@pytest.mark.parametrize("index", NETWORKS)
def test_the_numbers_are_torchs(index: int) -> None:
    expected, found = outputs(synthetic_network(0, index))
    spread = float(expected.std())
    assert spread > 1e-3  # the input reaches the output
    assert np.abs(found - expected).max() < 1e-3 * max(spread, float(np.abs(expected).max()))


def test_every_kind_is_among_them() -> None:
    chosen = {op.kind for index in NETWORKS for op in synthetic_network(0, index).ops}
    assert chosen == {op.kind for index in range(120) for op in synthetic_network(0, index).ops}


@pytest.mark.parametrize("index", range(len(STYLES)))
def test_our_front_end_reads_it_with_the_same_work(index: int) -> None:
    graph = synthetic_network(0, index)
    read = load_onnx(synthetic_model(graph, random_weights(graph, 0)), reference="synthetic")
    assert complexity(read).macs == complexity(graph).macs
    assert not any(row.unknown for row in complexity(read).rows)


def test_same_seed_same_bytes() -> None:
    graph = synthetic_network(0, 3)
    assert synthetic_model(graph, random_weights(graph, 2)) == synthetic_model(graph, random_weights(graph, 2))
    assert synthetic_model(graph, random_weights(graph, 2)) != synthetic_model(graph, random_weights(graph, 3))
