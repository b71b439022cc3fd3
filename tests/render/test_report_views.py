"""The pages' numbers, tested as data on graphs worked out by hand."""

from __future__ import annotations

import pytest
from graphs import Net, chain, diamond
from hostile import hostile_graph

from cnnprof.api import profile_graph
from cnnprof.profile import Profile
from cnnprof.render.charts.axes import bytes_ticks, close_log_ticks, log_ticks, short, ticks
from cnnprof.render.charts.labels import place_labels
from cnnprof.render.charts.svg import fit, text_px
from cnnprof.render.charts.timeline import side_by_side, year_scale
from cnnprof.render.graph_layout import layout
from cnnprof.render.html import model_page
from cnnprof.render.views.breakdown import icicle, stages
from cnnprof.render.views.compare import Subject, compare_rows, cumulative, families, pareto, told_apart
from cnnprof.render.views.graph import graph_view
from cnnprof.render.views.labels import shortened
from cnnprof.render.views.latency import latency_view
from cnnprof.render.views.layers import layer_table
from cnnprof.render.views.memory import memory_view
from cnnprof.render.views.metrics import METRICS, metrics_of
from cnnprof.render.views.overview import cards, uncounted
from cnnprof.render.views.published import Published
from cnnprof.render.views.receptive import receptive_view
from cnnprof.render.views.roofline import roofline_view
from cnnprof.render.views.tree import module_tree, walk


def blocks(count: int, *, scopes: bool = True) -> Profile:
    """``count`` residual blocks of two 3x3 convolutions, 4 maps, 1x4x24x16."""
    net = Net("blocks")
    x, shape = net.input("x", (1, 4, 24, 16)), (1, 4, 24, 16)
    for i in range(count):
        scope = f"stage/{i}" if scopes else ""
        a, _ = net.conv(x, shape, 4, name=f"b{i}.a", scope=f"{scope}/a" if scopes else "")
        a = net.op("relu", (a,), shape, f"b{i}.relu", scope=f"{scope}/act" if scopes else "")
        b, _ = net.conv(a, shape, 4, name=f"b{i}.b", scope=f"{scope}/b" if scopes else "")
        x = net.op("add", (b, x), shape, f"b{i}.add", scope=scope)
    return profile_graph(net.build(x))


def test_stages_of_the_chain_by_resolution() -> None:
    """chain: 3->8 at 32x20, then 8->16 stride 2 at 16x10, 3x3 with bias.

    MACs 32·20·8·3·9 = 138,240 and 16·10·16·8·9 = 184,320; parameters 8·27+8 = 224 and 16·72+16 = 1,168.
    """
    view = stages(profile_graph(chain()))
    assert view.by == "resolution"
    assert [row.label for row in view.rows] == ["32×20", "16×10"]
    assert [row.sums.macs for row in view.rows] == [138_240, 184_320]
    assert [row.sums.parameters for row in view.rows] == [224, 1_168]
    assert view.rows[0].shares[0].fraction == pytest.approx(138_240 / 322_560)
    assert sum(row.shares[1].fraction for row in view.rows) == pytest.approx(1)


def test_icicle_widths_are_shares_and_rows_fill_their_parents() -> None:
    """Three equal blocks of two equal convolutions: thirds, then sixths."""
    data = icicle(blocks(3), METRICS[0])
    by_depth = {depth: [c for c in data.cells if c.depth == depth] for depth in range(data.rows)}
    assert [round(c.end - c.start, 6) for c in by_depth[0]] == [0.333333] * 3
    assert [round(c.end - c.start, 6) for c in by_depth[1]] == [0.166667] * 6
    assert by_depth[0][-1].end == pytest.approx(1)
    # 24·16·4·4·9 MACs a convolution, six of them
    assert data.total == 24 * 16 * 4 * 4 * 9 * 6 == 331_776


def test_a_flat_export_gets_stages_for_modules() -> None:
    data = icicle(blocks(8, scopes=False), METRICS[0])
    assert [c.label for c in data.cells if c.depth == 0] == ["24×16"]
    assert sum(1 for c in data.cells if c.depth == 1) == 16


def test_small_siblings_are_joined_not_dropped() -> None:
    net = Net("small")
    x, shape = net.input("x", (1, 4, 24, 16)), (1, 4, 24, 16)
    x, shape = net.conv(x, shape, 64, (7, 7), pad=(3, 3), name="big", scope="m")
    for i in range(5):
        x, shape = net.conv(x, shape, 1, (1, 1), pad=(0, 0), name=f"s{i}", scope="m")
    data = icicle(profile_graph(net.build(x)), METRICS[0])
    top = [c for c in data.cells if c.depth == 0]
    assert sum(c.value for c in top) == data.total
    assert any(c.count > 1 for c in top)


def test_the_tree_sums_up_and_a_leaf_module_called_twice_stands_twice() -> None:
    net = Net("reuse")
    x, shape = net.input("x", (1, 4, 24, 16)), (1, 4, 24, 16)
    for i in range(3):
        x, shape = net.conv(x, shape, 4, name=f"c{i}", scope=f"block/conv{i}")
        x = net.op("relu", (x,), shape, f"r{i}", scope="block/relu")
    profile = profile_graph(net.build(x))
    root = module_tree(profile)
    (block,) = root.children
    assert [child.label for child in block.children] == ["conv0", "relu", "conv1", "relu", "conv2", "relu"]
    assert [child.layer for child in block.children] == [0, 1, 2, 3, 4, 5]
    assert root.sums.macs == profile.macs == 3 * 24 * 16 * 4 * 4 * 9
    keys = [node.key for node in walk(root)]
    assert len(keys) == len(set(keys))


def test_keys_are_unique_where_modules_begin_together_and_scopes_are_deep() -> None:
    net = Net("deep")
    x, shape = net.input("x", (1, 2, 8, 6)), (1, 2, 8, 6)
    for i in range(4):
        x, shape = net.conv(x, shape, 2, name=f"c{i}", scope="/".join(["a"] * 200 + [f"b{i % 2}", "c"]))
    table = layer_table(profile_graph(net.build(x)))
    keys = [line.key for line in table.lines]
    assert len(keys) == len(set(keys))
    assert table.layers == 4


def test_layer_table_states_formula_numbers_and_unknowns() -> None:
    lines = {line.label: line for line in layer_table(profile_graph(chain())).lines}
    assert lines["b"].formula == ("O(M_1·M_2·K²·C_in·C_out)", "16·10·3·3·8·16")
    assert lines["b"].what == "conv 3×3 /2"
    hostile = layer_table(profile_graph(hostile_graph()))
    unknown = [line for line in hostile.lines if not line.is_module and line.macs is None]
    assert len(unknown) == 1 and unknown[0].reason
    assert max(line.uncounted for line in hostile.lines if line.is_module) == 1


def test_uncounted_names_the_layers() -> None:
    (group,) = uncounted(profile_graph(hostile_graph()))
    assert group.op_type == "onnx:<blink>Evil</blink>" and group.count == 1
    assert group.keys == (("<u>unknown", "n6"),)


def test_memory_of_the_diamond() -> None:
    """x, a, b, c, join of 4x16x10 floats = 2,560 B each. While c runs x (input), a, b and c are alive: 4·2,560; while
    join runs x, b, c and join: the same; the first of them is the peak. Weights: 3 convolutions of 148, 148 and 20."""
    view = memory_view(profile_graph(diamond()))
    assert view is not None
    assert view.peak_activation_bytes == 10_240
    assert view.weight_bytes == (148 + 148 + 20) * 4
    assert view.peak_name == "c" and view.peak_layer == 2
    assert {row.name for row in view.alive} >= {"a:0", "b:0", "c:0"}
    assert max(p.live_bytes for p in view.points) == view.peak_bytes


def test_receptive_field_of_the_chain() -> None:
    """3x3, then 3x3 stride 2: 3, then 3 + 2·1 = 5 at stride 2."""
    view = receptive_view(profile_graph(chain()))
    assert view is not None
    assert [(g.size, g.stride) for g in view.growth] == [(3, 1), (5, 2)]
    assert view.input_size == (32, 20) and view.crosses is None
    assert [(w.height, w.width) for w in view.windows] == [(3, 3), (5, 5)]


def test_missing_sections_are_cards_with_a_command() -> None:
    bare = profile_graph(chain(), sections=())
    assert memory_view(bare) is None and receptive_view(bare) is None
    made = {card.key: card for card in cards(bare, None, None)}
    assert made["macs"].value == "323 k"
    for key in ("memory", "field", "predicted", "measured"):
        assert made[key].value is None and "chain" in (made[key].command or "")


def test_pareto_keeps_what_nobody_beats() -> None:
    #         cheap, bad  dominated  better     dear, equal  best
    points = [(1.0, 50.0), (2.0, 49.0), (2.0, 60.0), (9.0, 60.0), (5.0, 70.0)]
    assert pareto(points) == (0, 2, 4)


def test_cumulative_cost_of_the_chain() -> None:
    """138,240 of 322,560 MACs after the first of two layers, 224 of 1,392 parameters."""
    (curve,) = cumulative([Subject(profile=profile_graph(chain()))])
    assert curve.macs[0] == 0 and curve.macs[-1] == 1
    assert curve.macs[20] == pytest.approx(138_240 / 322_560)
    assert curve.parameters[20] == pytest.approx(224 / 1_392)
    assert curve.half_macs == curve.half_parameters == 1.0


def test_deviation_is_ours_over_published() -> None:
    profile = profile_graph(chain())
    known = Published(name="chain", label="Chain", macs=300_000, parameters=1_392)
    (row,) = compare_rows([Subject(profile=profile, published=known)])
    assert row.macs_deviation == pytest.approx(0.0752)
    assert row.parameters_deviation == 0
    assert row.name == "Chain" and row.field == 5


def timed() -> Profile:
    """chain with a prediction of 2 and 4 ms and a measurement of 2.5 and 4 ms, 7 ms end to end."""
    layers = {
        "a": {"latency_s": 0.002, "low_s": 0.0019, "high_s": 0.0021, "class": "conv", "bound": "memory",
              "flops_per_s": 1e8, "intensity": 2.0},
        "b": {"latency_s": 0.004, "low_s": 0.0035, "high_s": 0.0045, "class": "conv", "bound": "compute",
              "flops_per_s": 1e8, "intensity": 8.0},
    }  # fmt: skip
    prediction = {
        "device": {"name": "cpu", "title": "Some <CPU>"}, "latency_s": 0.0065, "low_s": 0.006, "high_s": 0.007,
        "peak_flops_per_s": 4e8, "bandwidth_bytes_per_s": 1e8, "by_layer": layers,
        "bound_shares": {"compute": 2 / 3, "memory": 1 / 3},
    }  # fmt: skip
    measurement = {
        "device": "cpu", "latency_s": 0.007, "between_layers_s": 0.0005,
        "by_layer": {"a": {"latency_s": 0.0025}, "b": {"latency_s": 0.004}},
    }  # fmt: skip
    return profile_graph(chain()).with_sections(prediction=prediction, measurement=measurement)


def test_predicted_against_measured() -> None:
    view = latency_view(timed())
    assert view is not None
    assert view.error == pytest.approx(0.0065 / 0.007 - 1)
    assert [(p.name, round(p.error, 6)) for p in view.worst] == [("a", -0.2), ("b", 0.0)]
    assert view.inside == 0.5  # b lies in 3.5..4.5 ms, a not in 1.9..2.1
    (conv,) = view.classes
    assert conv.predicted_s == pytest.approx(0.006) and conv.measured_s == pytest.approx(0.0065)
    assert conv.layers == 2 and conv.share == 1
    assert view.between_s == 0.0005


def test_a_noisy_measurement_is_no_result() -> None:
    whole = timed()
    measurement = {key: value for key, value in (whole.measurement or {}).items() if key != "latency_s"}
    noisy = whole.with_sections(measurement={**measurement, "noise": {"quiet": False, "reasons": ["steal \x1b[31m"]}})
    view = latency_view(noisy)
    assert view is not None
    assert view.noise == ("steal \\x1b[31m",) and view.measured_s is None and view.pairs == ()
    assert [row.measured_s for row in view.classes] == [None]
    # times on the page are then the predicted ones alone
    assert [round(c.value, 6) for c in icicle(noisy, METRICS[-1]).cells] == [0.002, 0.004]
    card = next(card for card in cards(noisy, None, None) if card.key == "measured")
    assert card.value is None and card.absent == "card.noisy"


def test_what_one_side_fuses_is_compared_as_one() -> None:
    """Predicted one by one 2 + 4 ms, measured a with b fused into it 7.5 ms: one pair, 6 of 7.5 ms; and the reverse."""
    whole = timed()
    prediction, measurement = dict(whole.prediction or {}), dict(whole.measurement or {})
    fused = {**measurement, "by_layer": {"a": {"latency_s": 0.0075, "fused": ["b"]}}}
    view = latency_view(whole.with_sections(measurement=fused))
    assert view is not None
    (pair,) = view.pairs
    assert (pair.name, pair.others, pair.interval, pair.inside) == ("a", 1, None, None)
    assert pair.predicted_s == pytest.approx(0.006) and pair.error == pytest.approx(-0.2)
    (row,) = view.classes
    assert row.layers == 2 and row.error == pytest.approx(-0.2)
    # fused times don't mix with predicted ones: b's are a part of a's
    assert [round(c.value, 6) for c in icicle(whole.with_sections(measurement=fused), METRICS[-1]).cells] == [0.0075]

    row_a = {**prediction["by_layer"]["a"], "latency_s": 0.006, "low_s": 0.005, "high_s": 0.007, "fused": ["b"]}
    view = latency_view(whole.with_sections(prediction={**prediction, "by_layer": {"a": row_a}}))
    assert view is not None
    (pair,) = view.pairs
    assert pair.measured_s == pytest.approx(0.0065) and pair.interval == (0.005, 0.007) and pair.inside
    assert view.inside == 1.0


def test_what_was_predicted_and_measured_on() -> None:
    whole = timed()
    prediction = {
        **(whole.prediction or {}),
        "mode": "datasheet",
        "runner": "fused",
        "threads": 4,
        "dtype": "float32",
        "batch": 1,
    }
    measurement = {**(whole.measurement or {}), "runner": "torch", "threads": 1, "batch": 8}
    view = latency_view(whole.with_sections(prediction=prediction, measurement=measurement))
    assert view is not None
    assert view.predicted_on == ("Some <CPU>", "datasheet", "fused", "4 threads", "float32")
    assert view.measured_on == ("cpu", "torch", "1 thread")
    assert view.batches == (1, 8)
    assert view.end_inside is True  # 7 ms in 6..7 ms
    page = model_page(whole.with_sections(prediction=prediction, measurement=measurement))
    for phrase in (
        "Predicted for batch 1, measured at batch 8",
        "Some &lt;CPU&gt;, datasheet",
        "50.0 % of what was measured",
    ):
        assert phrase in page


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("layer1/0/downsample/1/batch_norm", 24, "layer1/…/1/batch_norm"),
        ("layer1/0/downsample/1/batch_norm", 40, "layer1/0/downsample/1/batch_norm"),
        ("a_name_of_one_long_part_that_has_no_slash", 12, "a_n…no_slash"),
        ("first_part_is_too_long_itself/x/y", 10, "fir…lf/x/y"),
        ("ab/cd", 2, "ab"),
    ],
)
def test_paths_are_cut_between_their_parts(text: str, limit: int, short: str) -> None:
    assert shortened(text, limit) == short
    assert len(short) <= limit or short == text


def test_roofline_points_and_ridge() -> None:
    view = roofline_view(timed())
    assert view is not None
    assert view.ridge_flops_per_byte == 4
    assert [(p.name, p.intensity, round(p.share, 6)) for p in view.points] == [
        ("a", 2.0, 0.333333), ("b", 8.0, 0.666667)
    ]  # fmt: skip
    assert roofline_view(profile_graph(chain())) is None


def test_time_is_a_metric_only_where_layers_are_timed() -> None:
    assert [m.key for m in metrics_of(timed())][-1] == "time"
    assert "time" not in [m.key for m in metrics_of(profile_graph(chain()))]
    # measured times win over predicted ones
    assert [round(c.value, 6) for c in icicle(timed(), METRICS[-1]).cells] == [0.0025, 0.004]


def test_equal_blocks_are_drawn_once_with_their_count() -> None:
    view = graph_view(blocks(6))
    whole = view.drawings[0]
    modules = [node for node in whole.nodes if node.kind == "module"]
    assert [(node.title, node.times) for node in modules] == [("0", 6)]
    inside = next(d for d in view.drawings if d.id == modules[0].target)
    assert inside.times == 6
    titles = [node.title for node in inside.nodes]
    # conv and its activation are one node; the add reads the input too, so it stays one of its own
    assert titles == ["", "a", "b", "b0.add", ""]
    names = [(titles[a] or inside.nodes[a].kind, titles[b] or inside.nodes[b].kind) for a, b in inside.edges]
    assert set(names) == {("input", "a"), ("a", "b"), ("b", "b0.add"), ("input", "b0.add"), ("b0.add", "output")}


def test_a_flat_graph_is_cut_where_one_tensor_crosses() -> None:
    """40 blocks without modules, 160 layers: found whole at the cuts, and counted as one block."""
    view = graph_view(blocks(40, scopes=False))
    whole = view.drawings[0]
    assert len(whole.nodes) <= 30
    assert sum(node.sums.layers for node in whole.nodes) == 160
    assert sum(node.sums.macs for node in whole.nodes) == 24 * 16 * 4 * 4 * 9 * 80


def test_modules_that_feed_each_other_are_opened() -> None:
    """down/0 -> pool -> down/1 -> up/0 (with down/0's output): a list of stages with work between them."""
    net = Net("u")
    x, shape = net.input("x", (1, 4, 16, 8)), (1, 4, 16, 8)
    a, _ = net.conv(x, shape, 4, name="d0", scope="down/0")
    b, half = net.conv(a, shape, 4, stride=(2, 2), name="pool")
    c, _ = net.conv(b, half, 4, name="d1", scope="down/1")
    d = net.op("add", (c, c), half, "mid")
    e, _ = net.conv(d, half, 4, name="d2", scope="down/2")
    view = graph_view(profile_graph(net.build(e)))
    titles = [node.title for node in view.drawings[0].nodes if node.title]
    assert titles == ["down/0", "pool", "down/1", "down/2"]  # mid only follows down/1
    assert all(a < b for a, b in view.drawings[0].edges)


def test_layout_overlaps_nothing_and_goes_downwards() -> None:
    sizes = [(100.0, 40.0)] * 7
    edges = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 5), (4, 6), (5, 6), (0, 6)]
    placed = layout(sizes, edges)
    for i, (x, y) in enumerate(placed.centres):
        assert 50 <= x <= placed.width - 50 + 1e-6 and 20 <= y <= placed.height - 20 + 1e-6
        for ox, oy in placed.centres[:i]:
            assert abs(x - ox) >= 100 or abs(y - oy) >= 40
    assert all(placed.centres[a][1] < placed.centres[b][1] for a, b in edges)
    assert layout(sizes, edges) == placed


def test_a_chain_runs_in_rows() -> None:
    placed = layout([(100.0, 40.0)] * 6, [(i, i + 1) for i in range(5)], row_width=400)
    assert [round(y) for _, y in placed.centres] == [20, 20, 20, 90, 90, 90]


@pytest.mark.parametrize(
    ("largest", "top", "marks"),
    [(97, 100, [0, 25, 50, 75, 100]), (0, 1, [0, 1]), (7, 8, [0, 2, 4, 6, 8]), (0.3, 0.3, [0, 0.1, 0.2, 0.3])],
)
def test_ticks(largest: float, top: float, marks: list[float]) -> None:
    found, places = ticks(largest)
    assert found == pytest.approx(top) and places == pytest.approx(marks)


def test_other_ticks() -> None:
    assert bytes_ticks(3 * 1024 * 1024) == (3 * 1024 * 1024, [0, 1048576, 2097152, 3145728])
    assert log_ticks(3e6, 2e9) == (1e6, 1e10, [1e6, 1e7, 1e8, 1e9, 1e10])
    assert close_log_ticks(0.0083, 0.41) == (0.005, 0.5, [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    assert close_log_ticks(1.0, 1.0) == (1.0, 2.0, [1.0, 2.0])
    assert [short(t) for t in ("10.0 G", "2.50 MiB", "100 k", "1.00")] == ["10 G", "2.50 MiB", "100 k", "1"]


def test_labels_never_overlap() -> None:
    points = [(100.0, 100.0, 4.0, "first network"), (104.0, 101.0, 4.0, "second"), (108.0, 102.0, 4.0, "third")]
    placed = place_labels(points * 4, 400, 200)
    boxes = []
    for label in placed:
        w = text_px(label.text, 11)
        left = {"left": label.x, "right": label.x - w, "center": label.x - w / 2}[label.align]
        boxes.append((left, label.y - 11, left + w, label.y + 3))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert placed[0].text == "first network"


def test_fit_cuts_to_a_width() -> None:
    assert fit("layer1", 200) == "layer1"
    cut = fit("features/denseblock4/denselayer16/conv2", 100)
    assert text_px(cut) <= 100 and "…" in cut and cut.endswith("conv2"[-4:])
    assert fit("features", 10) == ""
    assert fit("conv 3×3 · bn · relu", 90, at_end=True).endswith("…")


def test_sparse_years_are_drawn_narrower() -> None:
    """40 models, one of 1986 and one of 1997, the rest from 2012 on: 26 years take 22 % of the width, ten the rest."""
    x_of, marked = year_scale([1986, 1997, *range(2012, 2022), *[2015] * 28])
    assert marked == [1986, 1997, *range(2011, 2022)]
    places = [x_of(year) for year in range(1986, 2022)]
    assert places == sorted(places) and places[0] >= 0 and places[-1] <= 880
    wider = (0.78 / 10) / (0.22 / 25)  # 2011..2021 against 1986..2011
    assert x_of(2013) - x_of(2012) == pytest.approx(wider * (x_of(1998) - x_of(1997)))
    x_of, marked = year_scale([2012, 2013, 2014, 2015])
    assert marked == [2012, 2013, 2014, 2015]
    assert x_of(2013) - x_of(2012) == pytest.approx(x_of(2015) - x_of(2014))


def test_circles_stand_side_by_side() -> None:
    points = [(100.0, 50.0 + i % 3, 6.0) for i in range(5)] + [(300.0, 50.0, 6.0)]
    placed = side_by_side(points)
    assert placed[-1] == (300.0, 50.0) and placed[0] == (100.0, 50.0)
    assert [y for _, y in placed] == [y for _, y, _ in points]
    for i, (x, y) in enumerate(placed[:3]):
        assert all((x - a) ** 2 + (y - b) ** 2 >= 144 for a, b in placed[:i])


def test_families_keep_their_colours() -> None:
    subjects = [
        Subject(
            profile=profile_graph(chain()),
            published=None if family is None else Published(name="x", family=family, theme=""),
        )
        for family in ("b", None, "a", "b")
    ]
    assert families(compare_rows(subjects)) == {"b": 0, "a": 1}


def test_equal_names_are_told_apart() -> None:
    a, b = profile_graph(chain()), profile_graph(diamond())
    subjects = told_apart([Subject(profile=p) for p in (a, b, a, a)])
    assert [row.name for row in compare_rows(subjects)] == ["chain", "diamond", "chain (2)", "chain (3)"]
    assert told_apart(subjects) == subjects
