"""Projections onto other tools' conventions, worked by hand or as the tools' users published them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnprof.analyses.conventions import CONVENTIONS, project
from cnnprof.errors import UsageError
from cnnprof.frontends.torch.references import load_reference
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph


@pytest.fixture(scope="module")
def resnet50() -> Graph:
    return load_reference("torchvision:resnet50")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # torchvision's metadata: 4.089 GMACs.
        ("paper", 4_089_184_256),
        # thop prints 4133742592.0 for ResNet-50 (its README: 4.14 G): 11,113,984 normalised elements x 4, and
        # (49 + 1) x 2048 for the pooling.
        ("thop", 4_089_184_256 + 4 * 11_113_984 + 50 * 2048),
        # fvcore: 2 an element of the folded norms, 1 an input element of the pooling (7x7x2048).
        ("fvcore", 4_089_184_256 + 2 * 11_113_984 + 49 * 2048),
        # ptflops: 2 an element of norms, 1 of each ReLU (9,608,704) and pooling input (64x112x112 and 49x2048), the bias.
        ("ptflops", 4_089_184_256 + 2 * 11_113_984 + 9_608_704 + 64 * 112 * 112 + 49 * 2048 + 1000),
        ("torch", 2 * 4_089_184_256),
    ],
)
def test_resnet50_under_each_convention(resnet50: Graph, name: str, expected: int) -> None:
    projection = project(resnet50, name)
    assert projection.complete
    assert projection.total == expected
    assert sum(projection.by_kind().values()) == expected


class Mixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.interpolate(x, scale_factor=2, mode="bilinear")  # 1 x 3 x 8 x 12 = 288 elements
        b = F.interpolate(x, scale_factor=2)
        c = F.softmax(x.flatten(2), -1)  # 3 rows of 24
        d = F.avg_pool2d(x, 2)  # 3 x 2 x 3 = 18 from 72
        return a.sum() + b.sum() + c.sum() + d.sum()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fvcore", 288 * 4 + 288),
        ("thop", 288 * 11 + 288 + 3 * (3 * 24 - 1) + 18),
        ("ptflops", 288 + 288 + 72 + 72),
        ("paper", 0),
        ("torch", 0),
    ],
)
def test_resizing_softmax_and_pooling(name: str, expected: int) -> None:
    assert project(trace(Mixed(), (1, 3, 4, 6)), name).total == expected


@pytest.mark.parametrize(
    # Input side: 4 channels x 3x5 elements x 2 outputs a group x 2x2 taps; output side: 4 x 6x10 outputs x 2 inputs x 4.
    ("name", "expected"),
    [("paper", 480), ("fvcore", 480), ("torch", 960), ("thop", 1920), ("ptflops", 1920 + 240)],
)
def test_transposed_grouped_convolution(name: str, expected: int) -> None:
    net = nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2)
    assert project(trace(net, (1, 4, 3, 5)), name).total == expected


def test_norms_with_and_without_affine() -> None:
    net = nn.Sequential(nn.LayerNorm(6), nn.GroupNorm(2, 4, affine=False))
    graph = trace(net, (1, 4, 6))
    assert project(graph, "fvcore").total == 24 * 5 + 24 * 4
    assert project(graph, "thop").total == 24 * 4 + 24 * 2


def test_an_unknown_operator_leaves_a_lower_bound() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x @ x)[1]

    projection = project(trace(Net(), (4, 4)), "paper")
    assert not projection.complete
    assert projection.total == 64


def test_unknown_convention() -> None:
    with pytest.raises(UsageError, match="one of paper, fvcore, thop, ptflops, torch"):
        project(trace(nn.ReLU(), (1, 2)), "onnx-tool")
    assert len({entry.source for entry in CONVENTIONS.values()}) == len(CONVENTIONS)
