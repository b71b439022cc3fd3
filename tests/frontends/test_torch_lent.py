"""Weights that lend themselves at need: whoever asks for one during a trace gets one stand-in for it, the graph is what it
is with stand-ins made beforehand, and the user's own are never read or written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnprof
from cnnprof.frontends.torch import trace as trace_room
from cnnprof.frontends.torch.borrow import borrowed
from cnnprof.frontends.torch.lent import Lent, own_of
from cnnprof.frontends.torch.substrate import Meta
from cnnprof.ir import Graph, Role


class Net(nn.Module):
    """A convolution and a norm, and what else its forward does with them."""

    def __init__(self, also: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.also = also

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.also(self, self.norm(self.conv(x)))


def _again(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + F.conv2d(F.pad(x[:, :3], (1, 1, 1, 1)), net.conv.weight)


def _through_the_dict(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x * dict(net.norm._parameters)["weight"][:, None, None] + {**net.norm._buffers}["running_mean"].sum()


def _all_parameters(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + sum(p.abs().sum() for p in net.parameters())


def _clamped(net: Net, x: torch.Tensor) -> torch.Tensor:
    net.conv.weight.data.clamp_(-0.001, 0.001)
    net.norm.running_mean.add_(1.0)
    return net.norm(x)


def _replaced(net: Net, x: torch.Tensor) -> torch.Tensor:
    net.norm.weight = nn.Parameter(net.norm.weight * 2)
    return net.norm(x)


def _copied(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + copy.deepcopy(net.norm)(x) + copy.copy(net.norm)(x)


def _under_autocast(net: Net, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x + F.pad(net.conv(x[:, :3]), (1, 1, 1, 1))


def _by_name(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.norm(input=x)


def _where_the_weight_is(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x.to(net.conv.weight.device) + torch.ones(1, device=net.norm.weight.device)


ALSO = {f.__name__.strip("_"): f for f in (
    _again, _through_the_dict, _all_parameters, _clamped, _replaced, _copied, _under_autocast, _by_name,
    _where_the_weight_is,
)}  # fmt: skip


def traced(net: nn.Module, shape: tuple[int, ...] = (2, 3, 10, 10)) -> Graph:
    return cnnprof.frontends.torch.trace.trace(net, (torch.zeros(shape),))


def whole(graph: Graph) -> object:
    return graph.ops, dict(graph.tensors), dict(graph.storage_bytes), dict(graph.released), graph.notes


@contextmanager
def beforehand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand-ins made for all weights at the start."""
    with monkeypatch.context() as patch:
        patch.setattr(
            trace_room, "borrowed",
            lambda module, substrate, *, training, at_need: borrowed(module, substrate, training=training),
        )  # fmt: skip
        yield


@pytest.mark.parametrize("also", ALSO.values(), ids=ALSO)
def test_the_graph_is_that_of_stand_ins_made_beforehand(
    also: Callable[[Net, torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(also).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    objects = {name: id(tensor) for name, tensor in net.state_dict(keep_vars=True).items()}
    found = traced(net)
    with beforehand(monkeypatch):
        expected = traced(net)
    assert whole(found) == whole(expected)
    assert not [note for note in found.notes if note.code == "fallback"]
    assert {name: id(tensor) for name, tensor in net.state_dict(keep_vars=True).items()} == objects
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert type(net.conv._parameters) is dict


class Tied(nn.Module):
    """An embedding and a head that share their weight, and a view of it under a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 4)
        self.head = nn.Linear(4, 12, bias=False)
        self.head.weight = self.embed.weight
        self.first = nn.Linear(4, 3, bias=False)
        self.first.weight = nn.Parameter(self.embed.weight.data[:3])
        self.listed = [self.head.weight]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x)) + self.first(self.embed(x)).sum() + self.listed[0].sum()


def test_tied_weights_are_one() -> None:
    graph = cnnprof.frontends.torch.trace.trace(Tied(), (torch.zeros(2, 5, dtype=torch.long),))
    weights = graph.role(Role.PARAMETER)
    assert [w.name for w in weights] == ["embed.weight", "first.weight"]
    assert {w.storage_name for w in weights} == {"embed.weight"}
    assert graph.storages["embed.weight"] == 4 * 12 * 4
    readers = [op.kind for op in graph.consumers["embed.weight"]]
    assert readers == ["embedding", "linear", "embedding", "reduce_sum"]


def test_only_what_is_asked_for_is_made() -> None:
    net = Net(lambda _net, x: x)
    told: list[torch.Tensor] = []
    with borrowed(net, Meta(), training=False, at_need=True) as loan:
        loan.tell(lambda tensor, _stand_in: told.append(tensor))
        weight = net.conv.weight
        assert weight.is_meta and isinstance(weight, nn.Parameter) and weight.requires_grad
        assert net.conv.weight is weight is dict(net.conv.named_parameters())["weight"]
        assert own_of(net.conv._parameters)["weight"] is told[0] and not told[0].is_meta
        assert len(told) == 1
        assert [t.is_meta for t in net.state_dict().values()] == [True] * 6
    assert [id(t) for t in told] == [id(t) for t in net.state_dict(keep_vars=True).values()]
    assert net.conv._parameters["weight"] is told[0]


def test_what_is_put_in_stays_what_it_is() -> None:
    own: dict[str, torch.Tensor | None] = {"weight": torch.ones(2), "bias": None}
    lent = Lent(own, lambda tensor: tensor * 2, {})
    assert (lent["bias"], lent["weight"].tolist()) == (None, [2.0, 2.0])  # type: ignore[union-attr]
    given = torch.zeros(1)
    lent["bias"] = given
    assert lent["bias"] is given and list(lent.copy()) == ["weight", "bias"]
    del lent["weight"]
    assert "weight" not in lent and len(lent) == 1
