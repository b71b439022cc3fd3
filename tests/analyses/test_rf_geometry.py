"""Windows worked by hand: gridding, phases, misaligned joins, crosses, borders, layouts, several inputs."""

from __future__ import annotations

from fractions import Fraction

import graphs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rf_nets import Stack
from torch import nn
from torch.nn import functional as F

from cnnprof.analyses.receptive_field import receptive_field, unit_field
from cnnprof.analyses.receptive_field.sets import Positions, Window, compose, unite
from cnnprof.errors import UsageError
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def traced(function, *shapes) -> Graph:
    return trace(Lambda(function), tuple(torch.zeros(s) for s in shapes))


def dilated(*rates: int):
    net = Stack(40, 30)
    for number, rate in enumerate(rates):
        net.conv(3, dilation=rate, name=f"rate{rate}_{number}")
    return receptive_field(net.build()[0]).rows[-1]


def test_common_factor_leaves_holes() -> None:
    """Rates 2, 2, 2: offsets −6, −4, …, 6: 7 of 13 a side; the first 3x3 with rate 2 makes them."""
    field = dilated(2, 2, 2)
    assert field.size == (13, 13)
    assert field.density == Fraction(7, 13) ** 2
    assert field.gridding_layer == "rate2_0"


def test_hybrid_rates_leave_none() -> None:
    """Rates 1, 2, 5 (Wang et al. 2018): ±1 ±2 ±5 with 0: every offset from −8 to 8."""
    field = dilated(1, 2, 5)
    assert (field.size, field.density, field.gridding_layer) == ((17, 17), 1, None)


def test_a_units_holes_are_exact() -> None:
    net = Stack(9)
    net.conv(3, dilation=2)
    net.conv(3, dilation=2)
    unit = unit_field(net.build()[0], None, (1,))
    assert unit.inputs[0].members() == {(1,), (3,), (5,)}  # 1−4 … 1+4 by 2; −3 and −1 are padding


def test_misaligned_join_says_both() -> None:
    """A 1x1 beside a 2x2 without padding, cropped: centres 0 and 1/2."""
    net = Stack(8, 6)
    source = net.at
    left = net.window("conv", 1, pad=((0, -1), (0, -1)))
    net.at = source
    net.join("add", left, net.conv(2, pad=0))
    field = receptive_field(net.build()[0]).rows[-1]
    assert not field.aligned and field.misaligned_by == "add"
    assert {(b.stride, b.centre) for b in field.axes[0].branches} == {(1, 0), (1, Fraction(1, 2))}
    assert field.size == (2, 2)


def test_dense_joins_see_what_their_widest_branch_sees() -> None:
    """A dense block: layer k reads all before it through a 3x3 window, so it sees 2k + 1 positions, and so does the
    join of the first k. The last join has a dilated branch too, whose holes the others fill."""
    net = Stack(31, 31)
    joined = ["x"]
    for k in range(1, 6):
        if k > 1:
            net.join("concat", *joined)
        joined.append(net.window("conv", 3, pad=1, name=f"layer{k}"))
    net.at = "x"
    dilated = net.window("conv", 3, pad=3, dilation=3, name="dilated")
    net.join("concat", *joined, dilated)
    rows = {row.layer: row for row in receptive_field(net.build()[0]).rows}
    joins = [row for name, row in rows.items() if name.startswith("concat")]
    assert [rows[f"layer{k}"].size for k in range(1, 6)] == [(n, n) for n in (3, 5, 7, 9, 11)]
    assert [row.size for row in joins] == [(n, n) for n in (3, 5, 7, 9, 11)]
    assert rows["dilated"].density == Fraction(3, 7) ** 2
    assert all(row.aligned and row.density == 1 and row.gridding_layer is None for row in joins)


def test_a_join_sees_the_same_whatever_was_joined_before() -> None:
    """Each join beside all the others, and alone: of the same tensors and one more, of one twice, in another order,
    laid end to end along a spatial axis."""
    made = {
        "x": lambda x: x,
        "wide": lambda x: F.avg_pool2d(x, 5, 1, 2),
        "holed": lambda x: F.conv2d(x, torch.ones(2, 2, 3, 3), padding=3, dilation=3),
        "shifted": lambda x: F.pad(x, (1, -1, 0, 0)),
        "all": lambda x: x * x.mean((2, 3), keepdim=True),
    }
    joins = [
        (("x", "wide"), 1), (("x", "wide", "holed"), 1), (("x", "wide", "holed", "holed"), 1), (("wide", "x", "holed"), 1),
        (("x", "wide", "shifted"), 1), (("x", "wide", "shifted", "all"), 1), (("x", "wide", "shifted"), 2),
        (("x", "x", "x"), 1), (("x", "wide", "holed", "holed", "shifted"), 1),
    ]  # fmt: skip

    def last_rows(chosen):
        def forward(x):
            parts = {name: make(x) for name, make in made.items()}
            return tuple(torch.cat([parts[name] for name in names], axis) for names, axis in chosen)

        graph = traced(forward, (1, 2, 12, 12))
        outputs = receptive_field(graph).outputs
        return [[row.to_dict() | unnamed(row) for row in outputs[name]] for name in graph.outputs]

    def unnamed(row):
        return {"misaligned_by": row.misaligned_by is None, "gridding_layer": row.gridding_layer is None}

    together = last_rows(joins)
    assert [last_rows([join])[0] for join in joins] == together
    assert len({str(rows) for rows in together}) >= 6


def test_strides_that_differ_are_both_described() -> None:
    net = Stack(8)
    source = net.at
    left = net.window("conv", 1, 2)  # 8 -> 4, stride 2
    net.at = source
    net.join("add", left, net.window("conv", 1, 1, ((0, -4),)))  # the first four, stride 1
    graph, _ = net.build()
    field = receptive_field(graph).rows[-1]
    assert not field.aligned
    assert {b.stride for b in field.axes[0].branches} == {1, 2}
    assert unit_field(graph, None, (3,)).inputs[0].members() == {(3,), (6,)}


@pytest.mark.parametrize(
    ("mode", "sizes", "first"),
    # x2, half-pixel: nearest reads o//2; linear reads the two around (o − ½)/2, clamped at the border.
    [("nearest", (1, 1), {0: {0}, 5: {2}}), ("linear", (2, 2), {0: {0}, 5: {2, 3}, 6: {2, 3}, 7: {3, 4}})],
)
def test_resize_phases(mode: str, sizes: tuple[int, int], first: dict[int, set[int]]) -> None:
    graph = traced(lambda x: F.interpolate(x, scale_factor=2, mode=mode), (1, 1, 12))
    field = receptive_field(graph).rows[-1]
    assert field.stride == (Fraction(1, 2),)
    assert field.size == (max(sizes),)
    for position, expected in first.items():
        assert unit_field(graph, None, (position,)).inputs[0].members() == {(i,) for i in expected}


def test_transposed_convolution_phases() -> None:
    """Kernel 3, stride 2, no padding: even outputs read two inputs, odd ones one."""
    weight = torch.zeros(1, 1, 3)
    graph = traced(lambda x: F.conv_transpose1d(x, weight, stride=2), (1, 1, 8))
    axis = receptive_field(graph).rows[-1].axes[0]
    assert (axis.size, axis.stride, axis.phase_sizes) == (2, Fraction(1, 2), (2, 1))


@pytest.mark.parametrize(("stride", "listed"), [(2, True), (64, True), (65, False)])
def test_many_phases_are_counted_not_listed(stride: int, listed: bool) -> None:
    """Kernel one longer than the stride: one phase in ``stride`` reads two inputs, the others one."""
    weight = torch.zeros(1, 1, stride + 1)
    graph = traced(lambda x: F.conv_transpose1d(x, weight, stride=stride), (1, 1, 4))
    data = receptive_field(graph).rows[-1].to_dict()
    assert data["phases"] == [stride]
    assert data["phase_sizes"] == ([[2] + [1] * (stride - 1)] if listed else [[]])


def test_a_cross_is_no_square() -> None:
    """1x3 beside 3x1, added: five positions of the nine in the hull."""
    net = Stack(9, 9)
    source = net.at
    left = net.conv((1, 3))
    net.at = source
    net.join("add", left, net.conv((3, 1)))
    seen = unit_field(net.build()[0], None, (4, 4)).inputs[0]
    assert seen.members() == {(4, 4), (3, 4), (5, 4), (4, 3), (4, 5)}
    assert seen.density == 5 / 9


def test_a_corner_unit_is_clipped() -> None:
    """Two 3x3: five a side in the middle, three in the corner."""
    net = Stack(9, 7)
    net.conv(3)
    net.conv(3)
    graph, _ = net.build()
    assert unit_field(graph, None, (0, 0)).inputs[0].count == 9
    assert unit_field(graph, None, (4, 3)).inputs[0].count == 25


def test_windows_partition_and_back() -> None:
    """Mean over 4x4 windows, spread over them again: 4 a side, one window each."""

    def windows(x):
        y = x.reshape(1, 2, 3, 4, 5, 4).permute(0, 2, 4, 3, 5, 1).reshape(15, 16, 2)
        y = y + y.mean(1, keepdim=True)
        return y.reshape(1, 3, 5, 4, 4, 2).permute(0, 5, 1, 3, 2, 4).reshape(1, 2, 12, 20)

    graph = traced(windows, (1, 2, 12, 20))
    unit = unit_field(graph, None, (5, 18))
    assert unit.inputs[0].members() == {(y, x) for y in range(4, 8) for x in range(16, 20)}
    field = receptive_field(graph).rows[-1]
    assert field.exact and not field.is_global
    assert field.size == (4, 4)


def test_channels_last_inputs_are_understood() -> None:
    weight = torch.zeros(4, 3, 3, 5)
    graph = traced(lambda x: F.conv2d(x.permute(0, 3, 1, 2), weight), (1, 12, 20, 3))
    field = receptive_field(graph).rows[-1]
    assert [axis.axis for axis in field.axes] == [1, 2]
    assert field.size == (3, 5)


def test_flatten_and_linear_is_global() -> None:
    weight = torch.zeros(4, 2 * 6 * 5)
    field = receptive_field(traced(lambda x: F.linear(x.flatten(1), weight), (1, 2, 6, 5))).rows[-1]
    assert field.is_global and field.size == (None, None) == field.local_size


def test_each_input_has_its_own_field() -> None:
    wide, narrow = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 3, 3)
    graph = traced(
        lambda x, y: F.conv2d(x, wide, padding=2) + F.conv2d(y, narrow, padding=1), (1, 1, 9, 8), (1, 1, 9, 8)
    )
    last = receptive_field(graph).by_layer[graph.ops[-1].name]
    assert [row.size for row in last] == [(5, 5), (3, 3)]


def test_an_unknown_operator_is_conservative_and_says_so() -> None:
    net = graphs.Net()
    x = net.input("x", (1, 2, 8, 6))
    graph = net.build(net.op("no_such_kind", (x,), (1, 2, 8, 6), "mystery"))
    field = receptive_field(graph).rows[-1]
    assert field.unknown and not field.exact and field.is_global
    assert not unit_field(graph, None, (0, 0)).exact


@pytest.mark.parametrize(
    ("layer", "position", "part"),
    [
        ("bb", None, "did you mean 'b'"),
        ("b", (0,), "2 spatial axes"),
        ("b", (0, 10), "expected 0 to 9"),
        ("b", (-1, 0), "outside"),
    ],
)
def test_bad_requests(layer: str, position: tuple[int, ...] | None, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        unit_field(graphs.chain(), layer, position)
    assert part in str(caught.value)
    assert caught.value.exit_code == 2


_sets = st.builds(Positions.of, st.lists(st.integers(-12, 12), max_size=6))
_windows = st.builds(Window, st.lists(_sets, min_size=1, max_size=3).map(tuple), st.integers(-3, 3))


@given(outer=_windows, inner=_windows, index=st.integers(-9, 9))
def test_composition_is_the_union_of_what_is_read(outer: Window, inner: Window, index: int) -> None:
    direct = {i for middle in outer.at(index) for i in inner.at(middle)}
    assert set(compose(outer, inner).at(index)) == direct


@given(a=_sets, b=_sets)
def test_union_of_sets(a: Positions, b: Positions) -> None:
    both = unite((a, b))
    assert set(both) == set(a) | set(b)
    assert both == Positions.of(set(a) | set(b))  # one normal form
    assert both.count == len(set(both))


@given(window=_windows, by=st.integers(-5, 5), factor=st.integers(1, 4), index=st.integers(-6, 6))
def test_shifted_and_scaled_indices(window: Window, by: int, factor: int, index: int) -> None:
    assert window.moved(by).at(index) == window.at(index + by)
    assert window.scaled(factor).at(index) == window.at(factor * index)
