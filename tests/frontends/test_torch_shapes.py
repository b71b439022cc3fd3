"""The quick rules for meta results give what torch's own meta kernels give: shapes, strides, dtypes, storages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from cnnprof.frontends.torch import composites, recorder
from cnnprof.frontends.torch import trace as trace_module
from cnnprof.frontends.torch.shapes import RULES, attention, linear
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph

aten = torch.ops.aten
META = torch.device("meta")


def empty(*shape: int, **options: Any) -> torch.Tensor:
    return torch.empty(shape, device=META, **options)


def described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device.type
    return None if value is None else [described(item) for item in value]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(stride: int, padding: tuple[int, int], dilation: int, groups: int, bias: bool) -> None:
    arguments = (
        empty(2, 4, 11, 9), empty(8, 4 // groups, 3, 2), empty(8) if bias else None,
        [stride, stride], list(padding), [dilation, dilation], False, [0, 0], groups,
    )  # fmt: skip
    quick = RULES[aten.convolution.default](*arguments)
    assert quick is not None
    assert described(quick) == described(aten.convolution.default(*arguments))


def test_batch_norm_and_linear() -> None:
    held = [empty(4) for _ in range(4)]
    arguments = (empty(2, 4, 5, 3), *held, False, 0.1, 1e-5)
    quick, real = (f(*arguments) for f in (RULES[aten.native_batch_norm.default], aten.native_batch_norm.default))
    assert described(quick[0]) == described(real[0])
    for shape in ((3, 6), (6,), (2, 3, 6), (2, 1, 3, 6)):
        arguments = (empty(*shape), empty(5, 6), empty(5))
        assert described(linear(*arguments)) == described(torch.nn.functional.linear(*arguments))


@pytest.mark.parametrize("shape", [(2, 5, 8, 6), (3, 6), (6,)])
def test_layer_norm(shape: tuple[int, ...]) -> None:
    for count in range(1, min(len(shape), 2) + 1):
        over = list(shape[-count:])
        for held in ((empty(*over), empty(*over)), (empty(*over), None), (None, None)):
            arguments = (empty(*shape), over, *held, 1e-5)
            quick = RULES[aten.native_layer_norm.default](*arguments)
            assert described(quick) == described(aten.native_layer_norm.default(*arguments))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3)])
@pytest.mark.parametrize("packed", [False, True])
def test_attention_lies_as_the_cpu_lays_it(order: tuple[int, ...], packed: bool) -> None:
    shape = [(2, 3, 5, 8)[axis] for axis in order]
    back = [order.index(axis) for axis in range(4)]

    def heads(device: str) -> list[torch.Tensor]:
        if packed:
            whole = torch.zeros(*shape[:3], 24, device=device)
            return [part.permute(back) for part in whole.chunk(3, -1)]
        return [torch.zeros(shape, device=device).permute(back) for _ in range(3)]

    real = torch.nn.functional.scaled_dot_product_attention(*heads("cpu"))
    quick = attention(*heads("meta"))
    assert (tuple(quick.shape), quick.stride()) == (tuple(real.shape), real.stride())


@pytest.mark.parametrize("name", ["add", "mul"])
def test_elementwise(name: str) -> None:
    packet = getattr(aten, name).Tensor
    same = (empty(2, 3, 4), empty(2, 3, 4))
    assert described(RULES[packet](*same)) == described(packet(*same))
    in_place = getattr(aten, f"{name}_").Tensor
    assert RULES[in_place](*same) is same[0]
    # Broadcasting, other layouts and mixed dtypes are torch's business.
    assert RULES[packet](empty(2, 3, 4), empty(3, 1)) is None
    assert RULES[packet](empty(2, 3).T, empty(3, 2)) is None
    assert RULES[packet](empty(2), empty(2, dtype=torch.float16)) is None
    assert RULES[packet](empty(2), 1.0) is None
    assert RULES[in_place](empty(2, 3), empty(3)) is None


@pytest.mark.parametrize(
    "arguments",
    [
        (empty(1, 3, 8, 8), empty(4, 2, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),  # channels
        (empty(1, 3, 2, 2), empty(4, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),  # too small
        (empty(3, 8, 8), empty(4, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),  # no batch
        (empty(1, 3, 8, 8), empty(4, 3, 3, 3), empty(5), [1, 1], [0, 0], [1, 1], False, [0, 0], 1),  # bias
    ],
)  # fmt: skip
def test_what_is_unusual_or_wrong_is_left_to_torch(arguments: tuple[Any, ...]) -> None:
    assert RULES[aten.convolution.default](*arguments) is None
    assert linear(empty(2, 3), empty(4, 5)) is None


def fingerprint(graph: Graph) -> Any:
    tensors = [(t.name, t.shape, t.dtype, t.layout, t.storage) for t in graph.tensors.values()]
    ops = [(op.name, op.inputs, op.outputs) for op in graph]
    return tensors, ops, dict(graph.storage_bytes), dict(graph.released), graph.saved_for_backward


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121"])
def test_whole_graphs_are_the_same_without_the_rules(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with META:
        net: nn.Module = models.get_model(name)
    quick = fingerprint(trace(net, (2, 3, 64, 96), training=training))
    monkeypatch.setattr(recorder, "RULES", {})
    monkeypatch.setattr(composites, "_QUICK", {})
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert fingerprint(trace(net, (2, 3, 64, 96), training=training)) == quick


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "convnext_tiny"])
def test_meta_tensors_lie_as_real_ones(name: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole graph against a real run on the CPU: same tensors, layouts, shared and released storages."""
    net = models.get_model(name).to(memory_format=layout)
    x = torch.zeros(1, 3, 64, 64).to(memory_format=layout)
    meta = fingerprint(trace(net, (x,)))
    monkeypatch.setattr(trace_module, "Meta", Cpu)
    monkeypatch.setattr(trace_module, "Fake", Cpu)
    assert fingerprint(trace(net, (x,))) == meta


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("which", ["data", "weight", "both"])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_keep_channels_last(rank: int, which: str, transposed: bool) -> None:
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[rank]

    def run(device: str, function: Any) -> tuple[int, ...]:
        x = torch.zeros(2, 3, *(6, 5, 4)[:rank], device=device)
        weight = torch.zeros(3, 3, *(3, 2, 2)[:rank], device=device)
        if which != "weight":
            x = x.to(memory_format=layout)
        if which != "data":
            weight = weight.to(memory_format=layout)
        stride: tuple[int, ...] = function(
            x, weight, None, [1] * rank, [0] * rank, [1] * rank, transposed, [0] * rank, 1
        ).stride()
        return stride

    real, quick = run("cpu", aten.convolution.default), run("meta", RULES[aten.convolution.default])
    assert quick == real
