"""What the graph says beyond counts: names, scopes, memory that is shared, layouts, training steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnprof.analyses.receptive_field import receptive_field
from cnnprof.frontends.torch.refresh import refresh_attributes
from cnnprof.frontends.torch.storage import Geometry, geometry_of
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph, Op


def by_name(graph: Graph, name: str) -> Op:
    return graph.op_by_name[name]


def test_names_are_module_path_and_kind() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)), nn.Flatten())
    graph = trace(net, (1, 3, 5, 4))
    assert [(op.name, op.scope, op.op_type) for op in graph] == [
        ("0/0/conv", "0/0", "aten:convolution.default"),
        ("0/1/relu", "0/1", "aten:relu_.default"),
        ("1/reshape", "1", "aten:view.default"),
    ]
    assert by_name(graph, "0/0/conv").inputs == ("input", "0.0.weight", "0.0.bias")


def test_calls_of_modules_are_counted() -> None:
    """The whole, the convolution, the inner sequence, its two, and the activation twice: seven; one that never runs,
    none. Hooks change nothing."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.Identity()))
    net.add_module("act", nn.ReLU())
    net.add_module("again", net.act)
    net[0].add_module("unused", nn.ReLU())
    net.eval()
    assert trace(net, (1, 3, 5, 4)).module_calls == 7
    net[1].register_forward_hook(lambda *_: None)
    assert trace(net, (1, 3, 5, 4)).module_calls == 7


def test_views_and_in_place_results_share_memory() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            a, b = y.chunk(2, 1)
            return a.relu_() + b.clone()

    graph = trace(Net(), (1, 4, 3))
    storage = {name: tensor.storage_name for name, tensor in graph.tensors.items()}
    assert storage["split:0"] == storage["split:1"] == storage["relu"] == storage["mul"] == "mul"
    assert storage["copy"] == "copy"
    assert graph.storages["mul"] == 4 * 3 * 4


def test_a_view_of_a_part_keeps_the_whole_storage() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(100, 4)[:3], persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.table

    assert trace(Net(), (3, 4)).storages["table"] == 100 * 4 * 4


class Halves(nn.Module):
    """Writes the two halves of its result into it, one convolved, one as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(1, 4, 9, device=x.device)
        out[:, :2] = self.conv(x)
        out[:, 2:] = x
        return out


def test_data_written_through_views_reaches_the_result() -> None:
    graph = trace(Halves(), (1, 2, 9))
    refreshed = [op for op in graph if op.kind == "refresh"]
    assert [dict(op.attributes) for op in refreshed] == [
        {"mode": "slice", "start": (0, 0, 0), "step": (1, 1, 1)},
        {"mode": "slice", "start": (0, 2, 0), "step": (1, 1, 1)},
    ]
    producers = {graph.producer[name].op_type for op in refreshed for name in op.inputs if name is not None}
    assert "aten:copy_.default" in producers
    # The convolution's window of 3 shows in the result.
    assert receptive_field(graph).rows[-1].size[-1] == 3


@pytest.mark.parametrize(
    ("tensor", "written", "expected"),
    [
        # x = 4x6, dense; written is x[1:3, ::2].
        (Geometry((4, 6), (6, 1), 0), Geometry((2, 3), (6, 2), 6), {"mode": "slice", "start": (1, 0), "step": (1, 2)}),
        # The other way round: the tensor is such a part.
        (Geometry((2, 3), (6, 2), 6), Geometry((4, 6), (6, 1), 0), {"mode": "inside", "start": (1, 0), "step": (1, 2)}),
        (Geometry((4, 6), (6, 1), 0), Geometry((24,), (1,), 0), {"mode": "reshape"}),
        (Geometry((4, 6), (6, 1), 0), Geometry((4, 6), (6, 1), 0), {"mode": "same"}),
        # x.T was written: neither a slice nor a reshape.
        (Geometry((4, 6), (6, 1), 0), Geometry((6, 4), (1, 6), 0), {"mode": "overlap"}),
        # Left and right half of the columns interleave in memory but never meet.
        (Geometry((4, 3), (6, 1), 0), Geometry((4, 3), (6, 1), 3), None),
        (Geometry((4, 3), (6, 1), 3), Geometry((4, 3), (6, 1), 0), None),
        (Geometry((2,), (1,), 0), Geometry((2,), (1,), 5), None),
        (Geometry((0, 2), (2, 1), 0), Geometry((4,), (1,), 0), None),
    ],
)  # fmt: skip
def test_where_a_write_lies(tensor: Geometry, written: Geometry, expected: dict[str, object] | None) -> None:
    assert refresh_attributes(tensor, written) == expected


def test_disjoint_means_disjoint() -> None:
    """Every pair of slices of a 4x5 tensor, against the sets of elements themselves."""
    base = torch.arange(20).view(4, 5)
    parts = [
        base[i:j, k:m:s]
        for i in range(3) for j in range(i + 1, 5) for k in range(3) for m in range(k + 1, 6) for s in (1, 2)
    ]  # fmt: skip
    for a in parts[::3]:
        for b in parts[::5]:
            meet = bool(set(a.flatten().tolist()) & set(b.flatten().tolist()))
            found = refresh_attributes(geometry_of(a), geometry_of(b))
            assert found is not None or not meet, (a, b)


def test_channels_last_is_seen() -> None:
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    graph = trace(net, (torch.zeros(1, 3, 8, 6).to(memory_format=torch.channels_last),))
    assert {t.name: t.layout for t in graph.tensors.values()} == {
        "weight": "channels_last", "bias": None, "input": "channels_last", "conv": "channels_last",
    }  # fmt: skip
    assert trace(nn.Conv2d(3, 4, 3), (1, 3, 8, 6)).tensors["conv"].layout is None


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5, bias=False)
        self.second = nn.Linear(5, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.sigmoid(self.first(x)))


def test_a_training_step_has_its_phases_and_scopes() -> None:
    graph = trace(Two(), (3, 6), training=True, optimizer="momentum")
    phases = [op.phase for op in graph]
    assert phases == sorted(phases, key=("forward", "backward", "optimizer").index)
    products = [(op.phase, op.scope) for op in graph if op.kind in ("linear", "matmul")]
    assert products == [
        ("forward", "first"), ("forward", "second"), ("backward", "second"), ("backward", "second"), ("backward", "first"),
    ]  # fmt: skip
    # The input, the sigmoid's result (saved once for itself and the next layer) and the second weight.
    saved = set(graph.saved_for_backward)
    assert {"x", "sigmoid", "second.weight"} == saved
    # One momentum of each weight: (6·5 + 5·4) x 4 bytes.
    assert graph.optimizer_state_bytes == 200


@pytest.mark.parametrize(
    # Per weight of 50 elements in two tensors: moments of 4 bytes each, and Adam's step count (4 bytes a tensor).
    ("optimizer", "expected"),
    [("sgd", 0), ("momentum", 200), ("adam", 2 * 200 + 2 * 4), ("adamw", 2 * 200 + 2 * 4)],
)
def test_optimizer_state(optimizer: str, expected: int) -> None:
    graph = trace(Two(), (3, 6), training=True, optimizer=optimizer)
    assert graph.optimizer_state_bytes == expected
    assert not [op for op in graph if op.kind == "unknown"]


def test_frozen_parts_get_no_gradient() -> None:
    net = Two()
    net.first.requires_grad_(False)
    graph = trace(net, (3, 6), training=True)
    assert [op.scope for op in graph if op.phase == "backward" and op.kind == "matmul"] == ["second"]


def test_when_the_framework_lets_go() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            held = x + 1
            y = torch.exp(x * 2)
            y = torch.sin(y)
            return torch.cos(y) if held.dim() else y

    graph = trace(Net(), (2, 3))
    index = {op.name: i for i, op in enumerate(graph)}
    # exp's argument dies with exp; its result when y is rebound after sin; what the frame holds, never before the end.
    assert graph.released["mul"] == index["exp"]
    assert graph.released["exp"] == index["sin"]
    assert graph.released.get("add", len(graph)) >= index["cos"]
