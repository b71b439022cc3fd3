"""The same network through both front ends: equal MACs and parameters, in total and by kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.densenet import DenseNet
from torchvision.models.mobilenetv2 import MobileNetV2
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.shufflenetv2 import ShuffleNetV2
from torchvision.models.squeezenet import SqueezeNet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph

pytestmark = pytest.mark.filterwarnings("ignore")

SHAPE = (1, 3, 64, 96)

# Small members of torchvision's families: their blocks, few of them.
SMALL: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNet(BasicBlock, [1, 1, 1, 1]),
    "resnext": lambda: ResNet(Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=8),
    "squeezenet": lambda: SqueezeNet("1_1"),
    "densenet": lambda: DenseNet(8, (2, 2), 16),
    "mobilenet_v2": lambda: MobileNetV2(inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]),
    "shufflenet_v2": lambda: ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 256]),
    "vit": lambda: VisionTransformer(64, 16, 2, 4, 32, 64),
    "swin": lambda: SwinTransformer([4, 4], 32, [1, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0),
}

# Attention is one operator in torch; exported below opset 23 it is its two products.
SAME = {"attention": "matmul", "einsum": "matmul", "conv_fused": "conv"}


def randomised(module: nn.Module) -> nn.Module:
    """Distinct weights everywhere: the exporter merges equal ones, and untouched norms are all alike."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


def exported(module: nn.Module, path: Path, *, dynamo: bool, optimize: bool = False) -> Graph:
    logging.disable(logging.WARNING)
    shape = (1, 3, 64, 64) if isinstance(module, VisionTransformer) else SHAPE
    try:
        if dynamo:
            torch.onnx.export(module, (torch.zeros(shape),), path, dynamo=True, optimize=optimize, verbose=False)
        else:
            torch.onnx.export(
                module, (torch.zeros(shape),), path, dynamo=False, do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE if optimize is False else torch.onnx.TrainingMode.EVAL,
            )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return load_onnx(path, inputs=(), reference=str(path))


def traced(module: nn.Module) -> Graph:
    return trace(module, ((1, 3, 64, 64) if isinstance(module, VisionTransformer) else SHAPE,))


def by_kind(graph: Graph) -> Counter[str]:
    sums: Counter[str] = Counter()
    for op, row in zip(graph.ops, complexity(graph).rows, strict=True):
        if row.macs:
            sums[SAME.get(op.kind, op.kind)] += row.macs
    return sums


def check(module: nn.Module, graph: Graph) -> None:
    ours = traced(module)
    mine, theirs = complexity(ours), complexity(graph)
    assert theirs.complete, theirs.unknown
    assert mine.complete, mine.unknown
    assert mine.macs == theirs.macs
    assert by_kind(ours) == by_kind(graph)
    assert mine.parameters == theirs.parameters == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_dynamo_export_agrees(name: str, tmp_path: Path) -> None:
    module = randomised(SMALL[name]())
    check(module, exported(module, tmp_path / "net.onnx", dynamo=True))


@pytest.mark.parametrize("name", ["resnet", "vit", "squeezenet"])
def test_legacy_export_agrees(name: str, tmp_path: Path) -> None:
    module = randomised(SMALL[name]())
    check(module, exported(module, tmp_path / "net.onnx", dynamo=False))


def test_folded_batch_norm_explains_the_difference_in_parameters(tmp_path: Path) -> None:
    """The optimising export folds each norm into its convolution: scale and shift (2C) become a bias (C)."""
    module = randomised(SMALL["resnet"]())
    channels = sum(m.num_features for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    graph = exported(module, tmp_path / "net.onnx", dynamo=True, optimize=True)
    mine, theirs = complexity(traced(module)), complexity(graph)
    assert "batch_norm" not in {op.kind for op in graph}
    assert mine.macs == theirs.macs
    assert mine.parameters - theirs.parameters == 2 * channels - channels


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classification_model_agrees(name: str, dynamo: bool, tmp_path: Path) -> None:
    options = {"image_size": 64} if name.startswith("vit_") and name != "vit_h_14" else {}
    if name == "vit_h_14":
        options = {"image_size": 56}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    module = randomised(models.get_model(name, weights=None, **options))
    check(module, exported(module, tmp_path / "net.onnx", dynamo=dynamo))
