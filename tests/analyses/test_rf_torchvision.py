"""Predicted against reached positions on torchvision's networks, and the published end-points of two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rf_nets import rows_of

from cnnprof.analyses.receptive_field import receptive_field
from cnnprof.analyses.receptive_field.propagate import propagate
from cnnprof.frontends.torch.trace import trace
from cnnprof.measure.rf_verify_torch import verify_module

models = pytest.importorskip("torchvision.models")

SMALL = (1, 3, 96, 64)
FEW = {
    "alexnet": SMALL,
    "vgg11": SMALL,
    "resnet18": SMALL,
    "squeezenet1_1": SMALL,
    "densenet121": SMALL,
    "googlenet": SMALL,
    "inception_v3": (1, 3, 99, 83),
    "mobilenet_v2": SMALL,
    "mobilenet_v3_small": SMALL,
    "shufflenet_v2_x0_5": SMALL,
    "mnasnet0_5": SMALL,
    "efficientnet_b0": SMALL,
    "regnet_y_400mf": SMALL,
    "lraspp_mobilenet_v3_large": SMALL,
    "r3d_18": (1, 3, 6, 48, 40),
}


def network(name: str) -> Any:
    arguments = {"weights": None}
    if name in models.list_models(models.segmentation):
        arguments["weights_backbone"] = None
    return models.get_model(name, **arguments).eval()


def verify(name: str, shape: tuple[int, ...]) -> None:
    module = network(name)
    x = torch.zeros(shape)
    graph = trace(module, (x,))
    spread = propagate(graph)
    assert all(spread.axes[i] == tuple(range(2, len(shape))) for i in graph.inputs)
    checks = verify_module(graph, spread, module, (x,))
    assert len(checks) >= 4
    assert any(check.reached > 0 for check in checks)
    assert [check for check in checks if not check.agrees] == []


@pytest.mark.parametrize("name", FEW)
def test_reached_positions_are_the_predicted_ones(name: str) -> None:
    verify(name, FEW[name])


def _others() -> list[str]:
    transformers = ("vit_", "swin3d", "mvit", "maxvit")  # attention is no convolution; Swin's windows are below
    every = [
        *models.list_models(models), *models.list_models(models.segmentation), *models.list_models(models.video)
    ]  # fmt: skip
    return [name for name in every if name not in FEW and not name.startswith(transformers) and "128gf" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", _others())
def test_every_other_convolutional_network(name: str) -> None:
    if name == "s3d":
        return verify(name, (1, 3, 16, 224, 224))
    if name in models.list_models(models.video):
        return verify(name, (1, 3, 6, 48, 40))
    return verify(name, (1, 3, 96, 64))


def test_vgg16_features_are_the_published_ones() -> None:
    """google-research/receptive_field: vgg_16 ends at 212 / 32 / 90; torchvision's geometry is the same."""
    graph = trace(network("vgg16").features, (torch.zeros(1, 3, 64, 48),))
    field = receptive_field(graph).rows[-1]
    assert (field.size, field.stride, field.padding) == ((212, 212), (32, 32), (90, 90))


def test_inception_v3_end_points_are_the_published_ones() -> None:
    """google-research/receptive_field's table: torchvision's Inception v3 keeps TF-Slim's names and pads."""
    found = receptive_field(trace(network("inception_v3"), (torch.zeros(1, 3, 224, 224),)))
    rows = [row for row in rows_of("inception_v3") if row["resolution"] == "224"]
    by_scope = {row.scope.split("/")[0]: row for row in found.rows}  # the last layer inside each module
    names = {"MaxPool_3a_3x3": "maxpool1", "MaxPool_5a_3x3": "maxpool2"}
    assert len(rows) == 18
    for row in rows:
        field = by_scope[names.get(row["endpoint"], row["endpoint"])]
        assert field.size == (int(row["size"]),) * 2, row
        assert field.stride == (int(row["stride"]),) * 2, row
        assert field.padding == (int(row["padding"]),) * 2, row
        assert field.aligned and field.exact


@pytest.mark.parametrize(
    ("name", "layer", "published"),
    [("inception_v4", "features/21", (2071, 32, 998)), ("inception_resnet_v2", "conv2d_7b", (3039, 32, 1482))],
)
def test_timm_ports_end_at_the_published_fields(name: str, layer: str, published: tuple[int, int, int]) -> None:
    """The last end-points (Mixed_7d, Conv2d_7b_1x1) of google-research/receptive_field's table; timm ports
    TF-Slim's models with their pads."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        module = timm.create_model(name, pretrained=False).eval()
    rows = receptive_field(trace(module, [(1, 3, 224, 224)])).rows
    field = [row for row in rows if row.scope.startswith(layer)][-1]
    size, stride, padding = published
    assert (field.size, field.stride, field.padding) == ((size,) * 2, (stride,) * 2, (padding,) * 2)
    assert any(
        (r["model"], r["size"], r["stride"], r["padding"]) == (name, *map(str, published)) for r in rows_of(name)
    )


def test_gates_are_global_beside_their_local_path() -> None:
    """Squeeze-and-excite in EfficientNet-B0: the local path alone is 851 wide (a sum over its layers:
    Σ (k−1)·jump + 1 with kernels 3 | 3 | 3 3 | 5 5 | 3 3 3 | 5 5 5 | 5 5 5 5 | 3 at jumps 1 | 2 | 2 4 | 4 8 |
    8 16 16 | 16 16 16 | 16 32 32 32 | 32 = 2+4+4+8+16+32+16+32+32+64+64+64+64+128+128+128+64 + 1)."""
    found = receptive_field(trace(network("efficientnet_b0"), (torch.zeros(1, 3, 128, 96),)))
    last = next(row for row in reversed(found.rows) if row.kind == "conv" and row.scope.startswith("features/8"))
    assert last.size == (None, None) and last.is_global
    total = 2 + 4 + 4 + 8 + 16 + 32 + 16 + 32 + 32 + 64 + 64 + 64 + 64 + 128 + 128 + 128 + 64 + 1
    assert last.local_size == (total, total) == (851, 851)
