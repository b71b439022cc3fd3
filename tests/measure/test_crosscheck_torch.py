"""Against fvcore and torch's own counter: every difference explained, and together they are the gap."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnprof.analyses.crosscheck import Crosscheck
from cnnprof.errors import DependencyError, UsageError
from cnnprof.frontends.inputs import parse_inputs
from cnnprof.measure.crosscheck_torch import crosscheck_module, crosscheck_reference

pytestmark = pytest.mark.filterwarnings("ignore")


# A vision transformer of 2 layers, 4 heads, 5 tokens (2x2 patches and the class token), 32 wide.
TINY_VIT = {
    "image_size": 32, "patch_size": 16, "num_layers": 2, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64,
}  # fmt: skip
VIT = "torchvision.models.vision_transformer:VisionTransformer"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("tool", ["fvcore", "torch"])
def test_gap_closes(name: str, tool: str) -> None:
    check(crosscheck_reference(f"torchvision:{name}", tool, inputs=parse_inputs(["1x3x64x96"])))


@pytest.mark.parametrize("tool", ["fvcore", "torch"])
def test_gap_closes_on_a_transformer(tool: str) -> None:
    check(crosscheck_reference(VIT, tool, inputs=parse_inputs(["1x3x32x32"]), kwargs=TINY_VIT))


def check(found: Crosscheck) -> None:
    assert found.unexplained == ()
    assert found.closes
    assert found.explained == found.gap == found.theirs - found.ours
    assert sum(found.by_reason().values()) == found.gap


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["fvcore", "torch"])
def test_gap_closes_on_every_classification_model(tool: str) -> None:
    from torchvision import models

    for name in models.list_models(module=models):
        check(crosscheck_reference(f"torchvision:{name}", tool))


def test_what_differs_from_fvcore_on_a_transformer() -> None:
    found = crosscheck_reference(VIT, "fvcore", inputs=parse_inputs(["1x3x32x32"]), kwargs=TINY_VIT)
    reasons = found.by_reason()
    # 2 layers, 5 tokens, 32 wide: QK and AV are 5·5·32 each, and fvcore has no formula for either.
    assert reasons["fvcore has no formula for attention"] == -2 * 2 * 5 * 5 * 32
    # 5 layer norms of 5 x 32 elements, 5 operations each.
    assert sum(gap for reason, gap in reasons.items() if "norms" in reason) == 5 * 5 * 32 * 5


def test_depthwise_training_differs_from_torch_by_the_groups() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 4, 8, 8))
            self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x * self.scale)

    found = crosscheck_module(Net(), (1, 4, 8, 8), "torch", training=True)
    # 2,304 products forward and for each gradient, two FLOPs each; torch takes the weight gradient four times.
    assert (found.ours, found.theirs) == (13_824, 2 * 2304 * (1 + 1 + 4))
    assert found.closes
    (difference,) = found.differences
    assert "grouped convolution's weight gradient" in difference.reason


def test_training_of_attention() -> None:
    found = crosscheck_reference(VIT, "torch", inputs=parse_inputs(["1x3x32x32"]), kwargs=TINY_VIT, training=True)
    assert found.closes
    assert found.gap < 0  # torch has no formula for the CPU's fused attention


def test_einsum_is_rounded_by_fvcore() -> None:
    class Net(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.einsum("bhid,bhjd->bhij", a, b)

    found = crosscheck_module(Net(), [(1, 3, 37, 8), (1, 3, 41, 8)], "fvcore")
    # 3·37·41·8 = 36,408 MACs; NumPy reports 72,816 operations as 7.282e+04.
    assert (found.ours, found.theirs) == (36_408, 36_410)
    assert found.closes


class Resizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2, groups=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.up(x))
        y = F.interpolate(y, scale_factor=2, mode="bilinear") + F.interpolate(y, scale_factor=2)
        return (y.flatten(2) @ y.flatten(2).transpose(1, 2)) @ torch.ones(4)


@pytest.mark.parametrize("tool", ["torch"])
def test_products_with_a_vector(tool: str) -> None:
    found = crosscheck_module(Resizes(), (1, 3, 4, 6), tool)
    assert found.closes
    # 4x4 matrix times a vector of 4: 16 MACs that torch has no formula for.
    assert found.gap == -32


def test_formats_and_unexplained_differences_are_shown() -> None:
    found = crosscheck_reference("torchvision:resnet18", "fvcore", inputs=parse_inputs(["1x3x64x64"]))
    data = json.loads(json.dumps(found.to_dict()))
    assert data["gap"] == sum(d["theirs"] - d["ours"] for d in data["differences"])


def test_the_module_is_given_back() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {key: (id(value), value.tolist()) for key, value in net.state_dict(keep_vars=True).items()}
    for tool in ("fvcore", "torch"):
        crosscheck_module(net, (1, 3, 8, 6), tool)
    assert net.training
    assert {key: (id(value), value.tolist()) for key, value in net.state_dict(keep_vars=True).items()} == before


def test_wrong_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(3, 3)
    with pytest.raises(UsageError, match="one of fvcore, torch"):
        crosscheck_module(net, (1, 3), "thop")
    with pytest.raises(UsageError, match="forward passes only"):
        crosscheck_module(net, (1, 3), "fvcore", training=True)
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    with pytest.raises(DependencyError, match=r"pip install 'cnnprof\[fvcore\]'"):
        crosscheck_module(net, (1, 3), "fvcore")
