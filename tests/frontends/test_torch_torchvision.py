"""torchvision's models against the numbers in their weights' metadata (``num_params``, ``_ops``)."""

from __future__ import annotations

from typing import Any

import pytest
from torchvision import models

from cnnprof.analyses.complexity import Complexity, complexity
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.references import load_reference

CLASSIFICATION = models.list_models(module=models)
OTHERS = [
    *models.list_models(module=models.segmentation),
    *models.list_models(module=models.video),
    *models.list_models(module=models.quantization),
    *models.list_models(module=models.optical_flow),
]
DETECTION = models.list_models(module=models.detection)
# Minutes of CPU each; the slow walk has them all.
QUICK_DETECTION = ("fasterrcnn_mobilenet_v3_large_320_fpn",)
# Published numbers of these were taken on another input than the one their preset gives.
OTHER_INPUT = ("raft_large", "raft_small")


def check(found: Complexity, meta: dict[str, Any]) -> None:
    assert found.complete, found.unknown
    assert found.parameters == meta["num_params"]
    # The metadata is rounded to three digits after the point, in units of 10^9.
    assert round(found.macs / 1e9, 3) == meta["_ops"]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification(name: str) -> None:
    """Every published set of weights: some differ in input size."""
    sizes: dict[int, dict[str, Any]] = {}
    for weights in models.get_model_weights(name):
        sizes.setdefault(weights.transforms.keywords["crop_size"], weights.meta)
    for size, meta in sizes.items():
        kwargs = {"image_size": size} if name.startswith("vit_") else {}
        graph = load_reference(f"torchvision:{name}", inputs=[InputSpec((1, 3, size, size))], kwargs=kwargs)
        assert not graph.notes
        check(complexity(graph), meta)


@pytest.mark.parametrize("name", OTHERS)
def test_segmentation_video_quantizable_and_flow(name: str) -> None:
    graph = load_reference(f"torchvision:{name}")
    assert not graph.notes
    found = complexity(graph)
    assert found.complete, found.unknown
    weights = next((w for w in models.get_model_weights(name) if "_ops" in w.meta), None)
    assert weights is not None
    assert found.parameters == weights.meta["num_params"]
    if name not in OTHER_INPUT:
        check(found, weights.meta)


def detects(name: str) -> None:
    graph = load_reference(f"torchvision:{name}")
    found = complexity(graph)
    assert found.macs > 10**8
    assert {group.op_type for group in found.unknown} <= {"torchvision:nms.default"}
    assert [note.code for note in graph.notes] == ["fallback"]
    assert "nonzero" in graph.notes[0].message


@pytest.mark.parametrize("name", QUICK_DETECTION)
def test_detection_runs_for_real(name: str) -> None:
    detects(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTION)
def test_every_detection_model(name: str) -> None:
    detects(name)
