"""The same network through both front ends: equal MACs and parameters, in total and by kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
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


def exported(module: nn.Module, path: Path, *, dynamo: bool) -> Graph:
    """As users export: constants folded, norms folded into convolutions."""
    logging.disable(logging.WARNING)
    try:
        torch.onnx.export(module, (torch.zeros(shape_for(module)),), str(path), dynamo=dynamo, verbose=False)
    finally:
        logging.disable(logging.NOTSET)
    return load_onnx(path, inputs=(), reference=str(path))


def shape_for(module: nn.Module) -> tuple[int, ...]:
    size = getattr(module, "image_size", None)  # vision transformers take one size only
    return SHAPE if size is None else (1, 3, size, size)


def traced(module: nn.Module) -> Graph:
    return trace(module, (shape_for(module),))


def by_kind(graph: Graph) -> Counter[str]:
    sums: Counter[str] = Counter()
    live = from_inputs(graph)
    for op, row in zip(graph.ops, complexity(graph).rows, strict=True):
        if row.macs and op.name in live:
            sums[SAME.get(op.kind, op.kind)] += row.macs
    return sums


def from_inputs(graph: Graph) -> set[str]:
    """Ops that an input reaches. The others compute constants (Swin v2's position biases), which the
    exporters do once and for all."""
    reached, ops = set(graph.inputs), set()
    for op in graph.ops:
        if reached.intersection(op.present_inputs):
            reached.update(op.present_outputs)
            ops.add(op.name)
    return ops


def folded(module: nn.Module, path: Path) -> int:
    """Parameters that disappear with the norms that the exporter folded: scale and shift (2C) become the
    convolution's bias (C), which may have been there before. What is left is read from the file, by onnx itself."""
    model = onnx.load(path, load_external_data=False)
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 1}
    kept = sum(sizes[node.input[1]] for node in model.graph.node if node.op_type == "BatchNormalization")
    gone, biased = -kept, False
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            biased = part.bias is not None
        elif isinstance(part, nn.BatchNorm2d):
            gone += part.num_features * (2 if biased else 1)
    return gone


def check(module: nn.Module, path: Path, *, dynamo: bool, exact_parameters: bool = True) -> None:
    ours, graph = traced(module), exported(module, path, dynamo=dynamo)
    mine, theirs = complexity(ours), complexity(graph)
    assert theirs.complete, theirs.unknown
    assert mine.complete, mine.unknown
    assert by_kind(ours) == by_kind(graph)
    # Equal in total where nothing is computed from constants; an exporter may do some of that once and for all.
    assert sum(by_kind(ours).values()) <= theirs.macs <= mine.macs
    assert mine.parameters == sum(p.numel() for p in module.parameters())
    if exact_parameters:
        assert theirs.parameters == mine.parameters - folded(module, path) + tables(module)


def tables(module: nn.Module) -> int:
    """Swin looks its position biases up in a table by constant indices; the exporter stores what it finds.
    The shift mask of a window is drawn region by region in forward; exported, it and its nine regions
    (together as large again) are float constants, which is what ONNX has to go by."""
    blocks = [part for part in module.modules() if hasattr(part, "relative_position_bias_table")]
    biases = sum(
        part.relative_position_index.numel() * table.shape[1] - table.numel()
        for part in blocks
        for table in [part.relative_position_bias_table]
    )
    # In the small network one block is shifted, at 8x12 of the 64x96 input.
    return biases + (2 * 8 * 12 if blocks else 0)


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "shufflenet_v2", "vit", "swin"])
def test_dynamo_export_agrees(name: str, tmp_path: Path) -> None:
    check(randomised(SMALL[name]()), tmp_path / "net.onnx", dynamo=True)


@pytest.mark.parametrize("name", ["resnet", "resnext", "densenet", "vit", "squeezenet"])
def test_legacy_export_agrees(name: str, tmp_path: Path) -> None:
    check(randomised(SMALL[name]()), tmp_path / "net.onnx", dynamo=False)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classification_model_agrees(name: str, dynamo: bool, tmp_path: Path) -> None:
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    module = randomised(models.get_model(name, weights=None, **options))
    # Swin's and MaxViT's exports hold computed tables and masks instead of the parameters they come from: see tables().
    module.image_size = 224
    exact = not name.startswith(("swin", "maxvit"))
    check(module, tmp_path / "net.onnx", dynamo=dynamo, exact_parameters=exact)
