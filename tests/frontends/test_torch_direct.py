"""Calls that are recorded past the dispatcher give the graph that torch's own way through it gives, and step aside
wherever something stands in between. torch itself, on the dispatcher's route and really on the CPU, is the oracle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnprof.errors import ModelError
from cnnprof.frontends.torch import composites
from cnnprof.frontends.torch import trace as trace_room
from cnnprof.frontends.torch.direct import LEAVES, PASSING, ROUTES, undisturbed
from cnnprof.frontends.torch.recorder import Recorder
from cnnprof.ir import Graph

Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]


class Calls(nn.Module):
    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call
        self.weight = nn.Parameter(torch.ones(6, 4, 3, 3))
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(x, self.weight, self.gain)


def whole(graph: Graph) -> Any:
    tensors = [(t.name, t.shape, t.dtype, t.layout, t.storage) for t in graph.tensors.values()]
    ops = [(op.name, op.kind, op.op_type, op.inputs, op.outputs, dict(op.attributes), op.scope) for op in graph.ops]
    return tensors, ops, dict(graph.storage_bytes), dict(graph.released)


CASES: dict[str, Call] = {
    "conv": lambda x, w, _: F.conv2d(x, w),
    "conv_spelled_out": lambda x, w, g: torch.conv2d(x, w, bias=torch.cat((g, g[:2])), stride=2, padding=(1, 0)),
    "conv_dilated": lambda x, w, _: F.conv2d(x, w, None, 1, 2, 2),
    "conv_grouped": lambda x, w, _: F.conv2d(x, w[:, :2], groups=2),
    "conv_same": lambda x, w, _: F.conv2d(x, w, padding="same"),
    "conv_unbatched": lambda x, w, _: F.conv2d(x[0], w),
    "conv_channels_last": lambda x, w, _: F.conv2d(x.contiguous(memory_format=torch.channels_last), w),
    "conv_of_a_slice": lambda x, w, _: F.conv2d(x[:, :, ::2], w),
    "batch_norm": lambda x, _, g: F.batch_norm(x, g, g, g, g),
    "batch_norm_bare": lambda x, _, g: F.batch_norm(x, g, g),
    "batch_norm_of_the_batch": lambda x, _, __: F.batch_norm(x, None, None, training=True),
    "layer_norm": lambda x, _, __: F.layer_norm(x, (8, 8)),
    "relu": lambda x, _, __: F.relu(x),
    "relu_in_place": lambda x, _, __: F.relu(x + x, inplace=True),
    "silu_in_place": lambda x, _, __: F.silu(x * x, True),
    "hard_swish": lambda x, _, __: F.hardswish(x),
    "sigmoid": lambda x, _, __: torch.sigmoid(x) * x.sigmoid(),
    "add": lambda x, _, __: x + x,
    "named": lambda x, _, __: torch.mul(torch.add(x, x), x.mul(x)) * x.add(x).__mul__(x.__add__(x)),
    "add_number": lambda x, _, __: x + 1,
    "add_to_number": lambda x, _, __: 2 * x + 1,
    "add_alpha": lambda x, _, __: torch.add(x, x, alpha=2),
    "add_spread": lambda x, _, g: x + g[:, None, None],
    "add_gate": lambda x, _, __: x * x.mean((2, 3), keepdim=True),
    "add_turned": lambda x, _, __: x + x.transpose(2, 3),
    "add_in_place": lambda x, _, __: F.relu(x).add_(x),
    "i_add": lambda x, _, __: (x * x).__iadd__(x),
    "cat": lambda x, _, __: torch.cat([x, x], 1),
    "cat_last": lambda x, _, __: torch.concat((x, x[..., :3]), dim=-1),
    "cat_of_types": lambda x, _, __: torch.cat([x, x.double()], 1),
    "cat_out": lambda x, _, __: torch.cat([x, x], out=torch.empty(2, 4, 8, 8)),
    "mul_of_types": lambda x, _, __: x * x.to(torch.float64),
    "integers": lambda x, _, __: x.long() + x.long(),
    "alias_of_a_view": lambda x, _, __: F.relu(x.view(1, 4, 64), inplace=True) + x.view(1, 4, 64),
}


@pytest.mark.parametrize("name", CASES)
def test_as_by_the_dispatcher(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Calls(CASES[name])
    quick = trace_room.trace(net, [(1, 4, 8, 8)])
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert whole(trace_room.trace(net, [(1, 4, 8, 8)])) == whole(quick)
    with torch.no_grad():
        real = net(torch.ones(1, 4, 8, 8))
    made = quick.tensors[quick.outputs[0]]
    assert (made.shape, made.dtype.value) == (tuple(real.shape), str(real.dtype).removeprefix("torch."))


_TWICE = """
import torch
from cnnprof.frontends.torch.trace import trace
class Net(torch.nn.Module):
    def forward(self, x):
        return x.long() + x.long()  # integers: no rule of ours, torch's own Python kernels
print(*(dict(trace(Net(), [(1, 4, 8, 8)]).released) for _ in range(2)), sep="\\n")
"""


def test_a_first_trace_lets_go_of_tensors_as_a_later_one() -> None:
    """What torch imports on the way leaves cycles that hold frames: 24,592 bytes stood where 20,496 should."""
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True, check=True)
    first, later = done.stdout.splitlines()
    assert first == later == "{'cast': 2, 'cast.2': 2}"


def test_the_routes_are_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the comparison above would be of one way with itself."""
    taken = []
    original = composites.Composites._directly

    def watching(self: Any, *arguments: Any, **kwargs: Any) -> Any:
        made = original(self, *arguments, **kwargs)
        taken.append(made is not None)
        return made

    monkeypatch.setattr(composites.Composites, "_directly", watching)
    trace_room.trace(Calls(lambda x, w, g: F.relu(F.conv2d(x, w)) + 1), [(1, 4, 8, 8)])
    assert taken == [True, True, False]  # a number isn't a tensor: the dispatcher's
    taken.clear()
    trace_room.trace(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Dropout(), nn.ReLU(), nn.Tanh()), [(1, 4, 8, 8)])
    assert taken == [True, True]  # what passes makes no op, Tanh has no short cut


@pytest.mark.parametrize(
    ("between", "clear"),
    [
        (torch.no_grad, True),
        (torch.enable_grad, False),
        (lambda: torch.autocast("cpu", torch.bfloat16), False),
        (lambda: torch.autocast("cpu", torch.bfloat16, enabled=False), True),
    ],
)
def test_when_nothing_stands_in_between(between: Callable[[], Any], clear: bool) -> None:
    seen = []

    def call(x: torch.Tensor, _w: torch.Tensor, _g: torch.Tensor) -> torch.Tensor:
        with between():
            seen.append(undisturbed())
        return x + x

    trace_room.trace(Calls(call), [(1, 4, 8, 8)])
    assert seen == [clear]
    assert not undisturbed()  # nor outside of a trace


def test_autocast_and_vmap_are_recorded_as_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def cast(x: torch.Tensor, w: torch.Tensor, _g: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.conv2d(x, w)

    def mapped(x: torch.Tensor, w: torch.Tensor, _g: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda one: F.relu(one) + 1)(x)

    for call in (cast, mapped):
        net = Calls(call)
        quick = whole(trace_room.trace(net, [(2, 4, 8, 8)]))
        with monkeypatch.context() as patch:
            patch.setattr(composites, "undisturbed", lambda: False)
            assert whole(trace_room.trace(net, [(2, 4, 8, 8)])) == quick


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, _: F.conv2d(x[:, :3], w),
        lambda x, w, _: F.conv2d(x, w, stride=0),
        lambda x, _, g: F.batch_norm(x, g[:2], g[:2]),
        lambda x, _, __: x + x[:, :3],
        lambda x, _, __: torch.cat([x, x[:, :, :3]], 1),
        lambda x, _, __: F.layer_norm(x, (7, 8)),
    ],
)
def test_what_torch_refuses_is_refused(call: Call) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        Calls(call)(torch.ones(1, 4, 8, 8))
    with pytest.raises(ModelError, match="its forward failed"):
        trace_room.trace(Calls(call), [(1, 4, 8, 8)])


def test_every_route_has_a_case() -> None:
    used: set[Any] = set()

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            used.add(func)
            return func(*args, **(kwargs or {}))

    for call in CASES.values():
        with Watch(), torch.no_grad():
            Calls(call)(torch.ones(1, 4, 8, 8))
    assert set(ROUTES) - used == set()


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=2, groups=2),
    "conv_same": lambda: nn.Conv2d(4, 6, 2, padding="same", bias=False),
    "conv_reflected": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "batch_norm": lambda: nn.BatchNorm2d(4),
    "batch_norm_plain": lambda: nn.BatchNorm2d(4, affine=False, momentum=None),
    "batch_norm_of_the_batch": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "layer_norm": lambda: nn.LayerNorm((8, 8)),
    "layer_norm_bare": lambda: nn.LayerNorm(8, elementwise_affine=False),
    "linear": lambda: nn.Linear(8, 3),
    "linear_bare": lambda: nn.Linear(8, 3, bias=False),
    "relu": lambda: nn.Sequential(nn.Tanh(), nn.ReLU(inplace=True), nn.ReLU()),
    "silu": lambda: nn.Sequential(nn.Tanh(), nn.SiLU(inplace=True), nn.SiLU()),
    "hard_swish": lambda: nn.Sequential(nn.Tanh(), nn.Hardswish(inplace=True), nn.Hardswish()),
    "sigmoid": nn.Sigmoid,
    "average": lambda: nn.Sequential(nn.AdaptiveAvgPool2d((2, 4)), nn.AdaptiveAvgPool2d(1)),
    "average_of_one_axis": lambda: nn.AdaptiveAvgPool2d((None, 1)),
    "passing": lambda: nn.Sequential(*(kind() for kind in PASSING)),
    "hooked": lambda: nn.utils.weight_norm(nn.Conv2d(4, 6, 3)),
    "normalised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_without_its_python_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = LAYERS[name]()
    quick = trace_room.trace(net, [(1, 4, 8, 8)])
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert whole(trace_room.trace(net, [(1, 4, 8, 8)])) == whole(quick)
    with torch.no_grad():
        real = net.eval()(torch.ones(1, 4, 8, 8))
    made = quick.tensors[quick.outputs[0]]
    assert (made.shape, made.dtype.value) == (tuple(real.shape), "float32")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm2d(4), (1, 4, 8)), (nn.BatchNorm2d(4), (1, 4, 8, 8, 8)), (nn.BatchNorm2d(3), (1, 4, 8, 8)),
        (nn.Conv2d(3, 6, 3), (1, 4, 8, 8)), (nn.Conv2d(4, 6, 3), (1, 4, 8, 8, 8)), (nn.Linear(7, 3), (1, 8)),
        (nn.LayerNorm(7), (1, 8)),
    ],
)  # fmt: skip
def test_a_layer_refuses_what_torch_refuses(layer: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        layer.eval()(torch.ones(shape))
    with pytest.raises(ModelError, match="its forward failed"):
        trace_room.trace(layer, [shape])


def test_every_short_cut_of_a_layer_has_a_case() -> None:
    used = {type(part) for make in LAYERS.values() for part in make().modules()}
    assert (set(LEAVES) | PASSING) - used == set()


def test_a_layer_of_a_kind_of_its_own_runs_its_own_forward() -> None:
    class Twice(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(super().forward(x))

    assert [op.kind for op in trace_room.trace(Twice(4, 4, 1), [(1, 4, 8, 8)])] == ["conv", "conv"]
    patched = nn.ReLU()
    patched.forward = lambda x: x + x  # type: ignore[method-assign]
    assert [op.kind for op in trace_room.trace(patched, [(1, 4, 8, 8)])] == ["add"]


def test_a_function_mode_of_the_models_own_sees_the_calls_of_its_layers() -> None:
    class Doubled(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            return found + found if func is torch.conv2d else found

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with Doubled():
                return self.conv(x)

    assert [(op.kind, op.scope) for op in trace_room.trace(Net(), [(1, 4, 8, 8)])] == [
        ("conv", "conv"),
        ("add", "conv"),
    ]


def test_what_a_layers_hooks_compute_is_the_layers() -> None:
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
    net[0].register_forward_pre_hook(lambda _layer, args: (args[0] * args[0],))
    net[0].register_forward_hook(lambda _layer, _args, found: found.sigmoid())
    assert [(op.kind, op.scope) for op in trace_room.trace(net, [(1, 4, 8, 8)])] == [
        ("mul", "0"), ("conv", "0"), ("sigmoid", "0"), ("relu", "1"),
    ]  # fmt: skip


class Repeating(nn.Module):
    """The same calls again and again, and some that only look the same."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)) for _ in range(3))
        )
        self.point = nn.Conv2d(4, 4, 1)
        self.mix = nn.Linear(8, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stages(x)
        last = self.point(y.contiguous(memory_format=torch.channels_last))  # another layout
        z = self.mix(y) + self.mix(y)
        z = z + F.conv2d(z, self.point.weight) + F.conv2d(z, self.point.weight * 2)  # no weight in a weight's place
        view = z.view(1, 4, 64)
        F.relu(z, inplace=True)
        F.relu(view, inplace=True)
        return torch.relu(last) + F.relu(z.double()) + torch.cat([z, z], 1)[:, 4:] + F.relu(z + 1)


def test_calls_like_one_before_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, known = Repeating(), []
    original = Recorder.repeat

    def watching(self: Any, key: Any, plan: Any, arguments: Any, result: Any = None) -> Any:
        found = original(self, key, plan, arguments, result)
        known.append((plan.base, found is not None))
        return found

    monkeypatch.setattr(Recorder, "repeat", watching)
    quick = trace_room.trace(net, [(1, 4, 8, 8)])
    counted = {name: [again for base, again in known if base == name] for name, _ in known}
    # Three stages, of which the first reads the input; one with a weight, one with a product of it. (The point, on what
    # is channels-last, has no rule.)
    assert counted["convolution"] == [False, False, True, False, False]
    assert counted["native_batch_norm"] == [False, True, True]
    assert counted["relu"][:3] == [False, True, True]
    assert counted["linear"] == [False, True]
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert whole(trace_room.trace(net, [(1, 4, 8, 8)])) == whole(quick)


class OtherSizes(nn.Module):
    """The same layers again and again, each time with other channels, positions or settings."""

    def __init__(self) -> None:
        super().__init__()
        settings: list[dict[str, Any]] = [
            {}, {"bias": False}, {"stride": 2}, {"padding": 1}, {"padding": (1, 0)}, {"dilation": 2}, {"groups": 2}, {},
            {"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}, {"stride": (2, 1), "bias": False},
        ]  # fmt: skip
        self.convs = nn.ModuleList(
            [nn.Conv2d(4 + 2 * at, 6 + 2 * at, 3 if at % 3 else 1, **own) for at, own in enumerate(settings)]
        )
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(6 + 2 * at, affine=at % 2 == 0, eps=10.0**-at) for at in range(len(settings))]
        )
        self.acts = nn.ModuleList(
            [(nn.ReLU, nn.SiLU, nn.Hardswish)[at % 3](at % 2 == 0) for at in range(len(settings))]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm, act in zip(self.convs, self.norms, self.acts, strict=True):
            x = act(norm(conv(x)))
        y = F.relu(x[0, :24])
        y = (
            F.conv2d(y, self.convs[-1].weight[:4], stride=(2, 1))
            + F.conv2d(y[None], self.convs[-1].weight[:4])[0, :, ::2]
        )
        flat = F.batch_norm(x.flatten(2), self.norms[-1].running_mean, self.norms[-1].running_var)
        return torch.sigmoid(y.sum()) + F.relu(flat.mean((0, 2))).sum() + F.relu(x.double()).sum()


def test_calls_of_other_sizes_are_told_from_calls_of_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = [(1, 4, 40, 36)]
    quick = trace_room.trace(OtherSizes(), shape)
    assert sum(op.kind == "conv" for op in quick.ops) == 13
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert whole(trace_room.trace(OtherSizes(), shape)) == whole(quick)


class Joins(nn.Module):
    """Concatenations of any number of parts, and some that only look the same."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, 4, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [F.relu(x)]
        for _ in range(3):
            parts.append(F.relu(torch.cat(parts, 1))[:, :4].contiguous())
        wide = torch.cat(parts, 1)
        again = torch.cat((wide, wide), -3)
        rows = torch.cat([parts[0], parts[1][:, :, :3].contiguous()], 2)
        weighted = torch.cat([self.gain, parts[0]], 1) + torch.cat([self.gain, self.gain], 1)
        flat = torch.cat([parts[0][0], parts[1][0], parts[2][0]], 1)
        none = torch.cat([parts[0], torch.zeros(0), parts[1]], 1)  # torch skips it, whatever its rank
        late = F.relu(parts[0], inplace=True)
        turned = torch.cat([late, parts[1].transpose(2, 3)], 1)
        exact = torch.cat([late.double(), parts[1].double()], 1)
        alone = torch.cat([late], 1)
        sums = [t.sum() for t in (again, rows, weighted, flat, none, turned, exact, alone)]
        return torch.stack([one.float() for one in sums])


def test_joins_of_any_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    known = []
    original = Recorder.repeat

    def watching(self: Any, key: Any, plan: Any, arguments: Any, result: Any = None) -> Any:
        found = original(self, key, plan, arguments, result)
        if plan.base == "cat":
            known.append((len(arguments[0]), found is not None))
        return found

    monkeypatch.setattr(Recorder, "repeat", watching)
    quick = trace_room.trace(Joins(), [(2, 4, 8, 8)])
    assert known[:4] == [(1, False), (2, True), (3, True), (4, True)]
    # Of other axes, ranks, types, with weights among them, and without again, they are other calls.
    assert len(known) >= 9
    assert not any(again for _, again in known[4:])
    monkeypatch.setattr(composites, "undisturbed", lambda: False)
    assert whole(trace_room.trace(Joins(), [(2, 4, 8, 8)])) == whole(quick)
    with torch.no_grad():
        assert Joins()(torch.ones(2, 4, 8, 8)).shape == quick.tensors[quick.outputs[0]].shape


def test_nothing_to_join_is_torchs_own_error() -> None:
    with pytest.raises(ModelError, match=r"expected a non-empty list of Tensors"):
        trace_room.trace(Calls(lambda _x, _w, _g: torch.cat([], 1)), [(1, 4, 8, 8)])
