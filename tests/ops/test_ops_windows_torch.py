"""What each layout, reduction and resize operator reads, against torch's own Jacobian, position by position."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pullback import pull, unravel
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.frontends.torch.schema import bind_arguments, plan_of
from cnnprof.ir import Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import Call
from cnnprof.ops.window import All, Axes, DataDependent, Lookup, Same, Slide


class Capture(TorchDispatchMode):
    """Every ATen call that runs, as the operator table sees it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        plan = plan_of(func)
        bound = bind_arguments(plan, args, kwargs or {})
        outs = result if isinstance(result, (tuple, list)) else (result,)
        self.calls.append(
            Call(
                plan.op_type,
                tuple(None if t is None else Tensor(f"i{i}", tuple(t.shape)) for i, t in enumerate(bound.tensors)),
                tuple(Tensor(f"o{i}", tuple(t.shape)) for i, t in enumerate(outs) if isinstance(t, torch.Tensor)),
                bound.attributes,
            )
        )
        return result


def last_call(function: Any, *tensors: torch.Tensor) -> Call:
    with Capture() as capture, torch.no_grad():
        function(*tensors)
    return capture.calls[-1]


def check(function: Any, shape: tuple[int, ...], output: int = 0, threshold: float = 1e-9) -> Call:
    """The single ATen operator that ``function`` runs reads exactly what the Jacobian says it reads."""
    torch.manual_seed(0)
    x = torch.rand(shape, dtype=torch.float64) + 0.1

    def chosen(t: torch.Tensor) -> torch.Tensor:
        result = function(t)
        return result[output] if isinstance(result, (tuple, list)) else result

    call = last_call(function, x)
    meaning = table.resolve(call.op_type, call)
    assert meaning is not None, call.op_type
    spec, canonical = meaning
    assert spec.window is not None
    relation = spec.window(canonical, output)[0]
    jacobian = torch.autograd.functional.jacobian(chosen, x)
    out_shape = tuple(chosen(x).shape)
    assert canonical.out_shape(output) == out_shape
    reached = (jacobian.abs() > threshold).reshape(math.prod(out_shape), -1)
    for flat in range(math.prod(out_shape)):
        expected = {unravel(i, shape) for i in reached[flat].nonzero().flatten().tolist()}
        assert pull(relation, {unravel(flat, out_shape)}, shape) == expected, (call.op_type, flat)
    if spec.shapes is not None:
        assert spec.shapes(canonical)[output] == out_shape
    return canonical


LAYOUT = {
    "reshape": (lambda x: x.reshape(3, 8), (2, 3, 4)),
    "reshape_ones": (lambda x: x.view(1, 2, 1, 3, 4), (2, 3, 4)),
    "view_guess": (lambda x: x.view(-1, 6), (2, 3, 4)),
    "squeeze": (lambda x: x.squeeze(1), (2, 1, 4)),
    "squeeze_all": (lambda x: x.squeeze(), (1, 3, 1)),
    "unsqueeze": (lambda x: x.unsqueeze(-2), (2, 3)),
    "permute": (lambda x: x.permute(2, 0, 1), (2, 3, 4)),
    "transpose": (lambda x: x.transpose(-1, 0), (2, 3, 4)),
    "t": (lambda x: x.t(), (2, 3)),
    "expand": (lambda x: x.expand(4, 2, 5), (2, 1)),
    "repeat": (lambda x: x.repeat(2, 1, 3), (2, 3)),
    "slice": (lambda x: x[:, 1:6:2], (2, 7)),
    "slice_end": (lambda x: x[:, -3:], (2, 7)),
    "narrow": (lambda x: x.narrow(1, 2, 3), (2, 7)),
    "select": (lambda x: x.select(1, -2), (2, 4, 3)),
    "stack": (lambda x: torch.stack([x, torch.zeros_like(x)], 1), (2, 3)),
    "flip": (lambda x: x.flip(0, 2), (2, 3, 4)),
    "roll": (lambda x: x.roll((1, -2), (0, 2)), (2, 3, 5)),
    "roll_flat": (lambda x: x.roll(4), (2, 3)),
    "diagonal": (lambda x: x.diagonal(1, 0, 2), (3, 2, 4)),
    "diagonal_below": (lambda x: x.diagonal(-1), (4, 3)),
    "unfold": (lambda x: x.unfold(1, 3, 2), (2, 8, 3)),
    "unfold_last": (lambda x: x.unfold(-1, 2, 1), (2, 5)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (2, 8, 3, 2)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (2, 3, 4, 6)),
    "channel_shuffle": (lambda x: torch.ops.aten.channel_shuffle(x, 3), (1, 6, 2, 3)),
    "im2col": (lambda x: F.unfold(x, (2, 3), dilation=(1, 2), padding=(1, 0), stride=(2, 1)), (1, 2, 5, 7)),
    "col2im": (lambda x: F.fold(x, (5, 6), (2, 3), stride=(1, 2), padding=(1, 0)), (1, 12, 12)),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1)), (1, 2, 3, 4)),
    "crop": (lambda x: F.pad(x, (-1, 2, 1, -1)), (1, 2, 4, 4)),
    "reflect": (lambda x: F.pad(x, (2, 1), mode="reflect"), (1, 2, 4)),
    "replicate": (lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), (1, 1, 3, 4)),
    "glu": (lambda x: F.glu(x, 1), (2, 6, 3)),
}

REDUCED = {
    "sum": (lambda x: x.sum((1, 3)), (2, 3, 2, 4)),
    "mean_keep": (lambda x: x.mean((-1, -2), keepdim=True), (2, 3, 2, 4)),
    "sum_all": (lambda x: x.sum(), (2, 3)),
    "var": (lambda x: x.var(1), (2, 5)),
    "logsumexp": (lambda x: x.logsumexp(0), (4, 3)),
    "norm": (lambda x: torch.linalg.vector_norm(x, 2, 1), (2, 5)),
    "cumsum": (lambda x: x.cumsum(1), (2, 5, 2)),
    "softmax": (lambda x: x.softmax(1), (2, 5, 2)),
    "log_softmax": (lambda x: x.log_softmax(-1), (2, 5)),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_layout_reads_what_the_jacobian_says(name: str) -> None:
    function, shape = LAYOUT[name]
    check(function, shape)


@pytest.mark.parametrize("name", REDUCED)
def test_reductions_read_what_the_jacobian_says(name: str) -> None:
    function, shape = REDUCED[name]
    check(function, shape)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_every_part_of_a_split(output: int) -> None:
    check(lambda x: x.split([1, 4, 2], 1), (2, 7), output)
    check(lambda x: x.chunk(3, 1), (2, 7), output)
    check(lambda x: x.unbind(1), (2, 3, 4), output)


def test_concat_offsets_skip_constants_and_old_empty_tensors() -> None:
    call = check(lambda x: torch.cat([x, torch.zeros(2, 3, dtype=x.dtype)], 1), (2, 4))
    second = table.resolve(call.op_type, call)
    assert second is not None and second[0].kind == "concat"
    call = last_call(lambda x, y: torch.cat([torch.empty(0), x, y], 1), torch.ones(2, 3), torch.ones(2, 1))
    spec, canonical = table.resolve(call.op_type, call)  # type: ignore[misc]
    assert spec.shapes(canonical) == ((2, 4),)
    assert spec.window(canonical, 0)[2] == Axes((Same(0), Slide(1, pad=3)))


def test_slice_scatter_places_the_source() -> None:
    base, source = torch.zeros(2, 7), torch.ones(2, 3)
    call = last_call(lambda b, s: torch.slice_scatter(b, s, 1, 1, 7, 2), base, source)
    spec, canonical = table.resolve(call.op_type, call)  # type: ignore[misc]
    relation = spec.window(canonical, 0)[1]
    reads = {o: pull(relation, {(0, o)}, (2, 3)) for o in range(7)}
    assert reads == {0: set(), 1: {(0, 0)}, 2: set(), 3: {(0, 1)}, 4: set(), 5: {(0, 2)}, 6: set()}


SIZES = [(1, 3), (3, 1), (5, 7), (7, 5), (8, 16), (16, 8), (14, 20), (20, 14), (4, 4), (9, 28), (33, 10)]


@pytest.mark.parametrize(("size", "out"), SIZES)
@pytest.mark.parametrize(
    ("mode", "align"),
    [("nearest", None), ("nearest-exact", None), ("linear", False), ("linear", True)],
)
def test_upsample_1d(mode: str, align: bool | None, size: int, out: int) -> None:
    check(lambda x: F.interpolate(x, out, mode=mode, align_corners=align), (1, 1, size), threshold=1e-5)


@pytest.mark.parametrize(("size", "out"), [((3, 5), (6, 4)), ((6, 4), (3, 9)), ((4, 7), (4, 14))])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_upsample_2d(mode: str, align: bool, size: tuple[int, int], out: tuple[int, int]) -> None:
    check(lambda x: F.interpolate(x, out, mode=mode, align_corners=align), (1, 1, *size), threshold=1e-7)


@pytest.mark.parametrize(("size", "out"), [((6, 9), (3, 4)), ((7, 5), (2, 9)), ((4, 6), (4, 6))])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_upsample_antialiased(mode: str, size: tuple[int, int], out: tuple[int, int]) -> None:
    function = lambda x: F.interpolate(x, out, mode=mode, antialias=True)  # noqa: E731
    check(function, (1, 1, *size), threshold=1e-7)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0, 2.6])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_by_a_factor_uses_the_factor(mode: str, factor: float) -> None:
    """The factor itself is the step, not output/input."""
    check(lambda x: F.interpolate(x, scale_factor=factor, mode=mode), (1, 1, 11), threshold=1e-5)


def test_upsample_3d() -> None:
    check(lambda x: F.interpolate(x, (3, 2, 4), mode="trilinear"), (1, 1, 2, 3, 3), threshold=1e-7)
    check(lambda x: F.interpolate(x, (3, 2, 4), mode="nearest"), (1, 1, 2, 3, 3))


def test_gather_by_data_is_data_dependent() -> None:
    x, index = torch.rand(4, 3), torch.tensor([2, 0])
    for function in (
        lambda t: t.index_select(0, index),
        lambda t: t[index],
        lambda t: t.gather(0, index.reshape(1, 2)),
    ):
        call = last_call(function, x)
        spec, canonical = table.resolve(call.op_type, call)  # type: ignore[misc]
        assert spec.window(canonical, 0)[0] == DataDependent()


def test_picked_channels_stay_where_they_are() -> None:
    """LeNet-5's C3 reads x[:, [0, 1, 2]]: some channels, each at its own position. A list in space depends on data."""
    x, index = torch.rand(1, 6, 5, 4), torch.tensor([2, 0])

    def window(function: Any, **known: Any) -> Any:
        call = last_call(function, x)
        lists = tuple(t if t is None or i == 0 else replace(t, **known) for i, t in enumerate(call.inputs))
        spec, canonical = table.resolve(call.op_type, replace(call, inputs=lists))  # type: ignore[misc]
        return spec.window(canonical, 0)[0]

    assert window(lambda t: t[:, index]) == Axes((Same(0), All(), Same(2), Same(3)))
    assert window(lambda t: t[:, index], value=(2, -6)) == Axes((Same(0), Lookup(1, ((2,), (0,))), Same(2), Same(3)))
    assert window(lambda t: t[:, :, index], value=(2, 0)) == Axes((Same(0), Same(1), Lookup(2, ((2,), (0,))), Same(3)))
    assert window(lambda t: t[:, :, index]) == DataDependent()
    assert window(lambda t: t[:, index, index]) == DataDependent()
