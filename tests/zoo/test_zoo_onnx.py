"""Every network of the zoo exports to ONNX, and both front ends count the same MACs, all of them known."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.zoo.catalogue import entries, entry
from cnnprof.zoo.load import build, load_zoo, model_inputs

pytestmark = pytest.mark.filterwarnings("ignore")

# One of each family in the default run; the slow walk has them all.
QUICK = (
    *("mlp-maxout", "lenet5", "nin", "squeezenet1_1", "highway-conv", "shufflenet_v1", "context-module"),
    *("fsrcnn-s", "espcn", "openface-nn4-small2", "mtcnn-pnet", "dcgan-generator", "lstm-rows"),
)


def exported_macs(name: str, path: Path) -> int:
    """MACs of the network's ONNX export, at the zoo's own input sizes."""
    inputs = tuple(
        torch.zeros(
            spec.shape, dtype=torch.int64 if spec.dtype is not None and spec.dtype.is_integer else torch.float32
        )
        for spec in model_inputs(entry(name))
    )
    logging.disable(logging.WARNING)
    try:
        torch.onnx.export(build(name), inputs, str(path), dynamo=True, verbose=False)
    finally:
        logging.disable(logging.NOTSET)
    costs = complexity(load_onnx(path, reference=name))
    assert costs.unknown == ()
    return costs.macs


@pytest.mark.parametrize("name", QUICK)
def test_both_front_ends_count_the_same(name: str, tmp_path: Path) -> None:
    assert exported_macs(name, tmp_path / "net.onnx") == complexity(load_zoo(f"zoo:{name}")).macs


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in entries() if row.name not in QUICK])
def test_the_rest_of_the_zoo_agrees_too(name: str, tmp_path: Path) -> None:
    assert exported_macs(name, tmp_path / "net.onnx") == complexity(load_zoo(f"zoo:{name}")).macs
