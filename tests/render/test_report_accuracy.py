"""The page of prediction against measurement: its figures by hand, its words, and what it does with bad records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from graphs import chain
from hostile import HOSTILE
from records import compared, gpu_record, record

from cnnprof.api import profile_graph
from cnnprof.errors import SchemaError
from cnnprof.measure.accuracy import ACCURACY_SCHEMA as WRITTEN
from cnnprof.render.accuracy_html import accuracy_link, accuracy_page, figure_text, target_text
from cnnprof.render.gallery import accuracy_files, stale
from cnnprof.render.i18n import Translator
from cnnprof.render.site import index_page
from cnnprof.render.views.accuracy import accuracy_view
from cnnprof.render.views.accuracy_figures import Target
from cnnprof.render.views.accuracy_record import ACCURACY_SCHEMA, accuracy_record, is_accuracy_record
from cnnprof.render.views.compare import Subject

Run = Callable[..., CompletedProcess[str]]


def text_of(made: dict[str, Any]) -> str:
    return json.dumps(made)


def test_the_page_reads_what_verify_writes() -> None:
    assert ACCURACY_SCHEMA == WRITTEN
    made = record()
    assert accuracy_record(text_of(made), origin="x") == made


def test_figures_meet_or_miss_their_targets() -> None:
    """|errors| of 4, 20 and 6 %: mean 10 (target ≤ 4), 2 of 3 within 10 % (≥ 95), order right (≥ 0.99). Intervals of
    ±12 %: 8 ms · 1.12 = 89.6 ms misses 100 ms, the others hold: 2 of 3 (87 to 95). Layers: 50 of 60 and of 40 %: 1/6
    and 1/4 off (≤ 12 %). Both layers are the slowest two either way: recall 1 (≥ 95)."""
    view = accuracy_view(record())
    rows = {row.key: row for row in view.figures}
    assert rows["mean"].value == pytest.approx(0.10) and rows["mean"].met is False
    assert rows["within_10"].value == pytest.approx(2 / 3) and rows["within_10"].met is False
    assert rows["rank_correlation"].met is True and rows["coverage_90"].met is False
    assert rows["median_half_width"].value == pytest.approx(0.12) and rows["median_half_width"].met is False
    assert rows["layers_median_error"].value == pytest.approx((1 / 6 + 1 / 4) / 2)
    assert rows["top_5_recall"].value == 1.0 and rows["top_5_recall"].met is True
    assert rows["median"].met is None and rows["noise_floor"].value == pytest.approx(0.02)
    assert rows["error_over_noise"].value == pytest.approx(0.06 / 0.02)
    assert rows["layers_noise_floor"].value == pytest.approx((0.003 / 0.6 + 0.003 / 0.4) / 2)
    assert rows["top_5_noise_floor"].value == 1.0 and rows["top_5_noise_floor"].met is None
    assert (view.met, view.targets) == (2, 8)
    assert view.baselines == ("flops_at_peak", "roofline_at_peaks")
    assert rows["mean"].baselines == (pytest.approx(0.5), pytest.approx(0.25)) and rows["coverage_90"].baselines == (
        None,
        None,
    )
    assert view.times_better == pytest.approx(2.5)  # 25 % of the better baseline over 10 %


@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        ({}, {"mean": 0.04, "within_10": 0.95}),
        ({"threads": 8}, {"mean": 0.06}),
        ({"batch": 32}, {"mean": 0.07}),
        ({"runner": "onnxruntime"}, {"mean": 0.05, "within_10": 0.90, "worst": 0.20}),
        ({"runner": "onnxruntime", "threads": 4}, {}),
        ({"kind": "gpu"}, {}),
    ],
)
def test_targets_follow_runner_threads_and_batch(changes: dict[str, Any], targets: dict[str, float]) -> None:
    view = accuracy_view(record(**changes))
    errors = ("mean", "median", "within_5", "within_10", "within_20", "worst", "bias")
    found = {row.key: row.target.low or row.target.high for row in view.figures if row.target and row.key in errors}
    assert found == targets


def test_a_sweep_has_the_targets_of_many_batches() -> None:
    made = record(
        compared("torchvision:resnet18 32x3x128x128", 0.1, 0.106), compared("timm:a 1x3x384x384", 0.01, 0.0101)
    )
    view = accuracy_view(made)
    mean = view.figure("mean")
    assert view.batch is None and mean is not None and mean.target == Target(high=0.07) and mean.met
    count = view.figure("models")
    assert count is not None and (count.value, count.target) == (2.0, None)  # few networks, at many sizes
    page = accuracy_page(made)
    assert "cnnprof verify --sweep -o" in page and "resnet18 32x3x128x128" in page and "<b>varies</b>" in page


def test_networks_in_order_noisy_apart() -> None:
    view = accuracy_view(record())
    assert [(row.name, row.inside) for row in view.networks] == [("slow", False), ("fast", True), ("middle", True)]
    assert [(row.name, row.reasons) for row in view.noisy] == [("restless", ("the anchor workload drifted by 9%",))]
    assert view.failed == (("timm:odd", "needs 9 GiB of memory"),)
    assert [gate.name for gate in view.failed_gates] == ["drift"]
    assert {(row.layer, round(row.points, 9)) for row in view.worst} == {("a/conv", -0.1), ("b/linear", 0.1)}
    assert {(row.layer, row.bound, row.inside) for row in view.worst} == {
        ("a/conv", None, None),
        ("b/linear", "memory", False),
    }
    assert [(row.name, row.layers) for row in view.classes] == [("conv_dense", 3), ("gemm", 3)]


def test_the_page_says_all_of_it() -> None:
    page = accuracy_page(record())
    for phrase in (
        "Some CPU, torch, 1 thread", "bench-1", "torch 2.14.1, python 3.11.7, cnnprof 0.1.0", "<b>3 networks</b>",
        "<b>10.0 %</b>", "2.5× closer", "<b>2 of 8 targets</b>", "calibration behind this page is degraded",
        "7.8 %, allowed ≤ 5 %", "restless", "the anchor workload drifted by 9%", "needs 9 GiB of memory",
        "10 of 200 convolutions", "(5.0 %)", "Dense convolution", "−10.0", "87 % – 95 %",
        "limited by memory, 0.5 FLOPs/byte", "beyond the calibrated range", "cnnprof verify -o",
    ):  # fmt: skip
        assert phrase in page, phrase
    assert page == accuracy_page(record())
    assert "style=" not in page and "20" + "26-" not in page
    chinese = accuracy_page(record(), lang="zh-CN")
    assert "预测与实测" in chinese and "校准不合格" in chinese and "普通卷积" in chinese


def test_quiet_calibration_gives_no_alarm_and_no_quiet_network_no_verdict() -> None:
    passed = [{"name": "drift", "value": 0.01, "low": None, "high": 0.05, "passed": True}]
    assert "degraded" not in accuracy_page(record(calibration={"gates": passed}))
    noisy = record(compared("timm:a", 0.01, 0.02, quiet=False, reasons=("steal",)))
    page = accuracy_page(noisy)
    assert "No verdict" in page and "steal" in page and 'class="cards"' not in page
    assert accuracy_page(record(compared("timm:only", 0.01, 0.0101)))
    assert accuracy_link(noisy, origin="x", href="x.html").mean is None


def test_a_gpus_record_has_its_timing_graphs_and_memory() -> None:
    view = accuracy_view(gpu_record())
    assert view.targets == 0 and view.classes == () and [row.key for row in view.figures][-1] == "error_over_noise"
    page = accuracy_page(gpu_record())
    for phrase in (
        "NVIDIA Some GPU, torch</h1>", "80.0 GiB", "driver 550.54", "3.10 ms", "3.15 ms", "3.20 ms", "66.0 %",
        "44.3 TFLOP/s", "61.0 MiB", "8.12 MiB", "−0.9 %", "timm:n9: no time left", "make gpu-check", "the same kernels replayed".capitalize(),
    ):  # fmt: skip
        assert phrase in page, phrase
    assert "does not hold" not in page and 'id="classes"' not in page and ">Target<" not in page
    wrong = accuracy_page(gpu_record(right=False))
    assert "The timing on this GPU does not hold" in wrong and "session agrees with events" in wrong
    nothing = {**gpu_record(), "models": [], "too_noisy": [], "calibration": {}}
    for key in ("errors", "intervals", "baselines", "layers", "cuda_graph", "noise_floor", "error_over_noise"):
        nothing.pop(key, None)
    assert "no network was measured" in accuracy_page(nothing)


def test_hostile_names_are_text() -> None:
    page = accuracy_page(
        record(
            compared(f"timm:{HOSTILE}", 0.01, 0.02, classes={"a/conv": HOSTILE}),
            device=HOSTILE,
            failed={HOSTILE: HOSTILE},
        )
    )
    assert "<img" not in page and "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page


def test_figures_as_text() -> None:
    assert figure_text(0.0799, "share") == "8.0 %" and figure_text(1.0, "share") == "100 %"
    assert figure_text(-0.343, "signed") == "−34.3 %" and figure_text(None, "rank") == "–"
    assert figure_text(2.19, "times") == "2.2×" and figure_text(85.0, "count") == "85"
    assert target_text(Target(high=0.04), "share") == "≤ 4 %" and target_text(Target(low=8), "count") == "≥ 8"
    assert target_text(Target(low=0.97, high=1.03), "ratio") == "0.97 – 1.03" and target_text(Target(), "share") == ""


def test_records_are_told_from_profiles() -> None:
    made = record()
    assert is_accuracy_record(text_of(made)) and is_accuracy_record(text_of({**made, "schema": "cnnprof.accuracy/9"}))
    assert is_accuracy_record(text_of({key: value for key, value in made.items() if key != "schema"}))
    for other in (
        "{",
        "[1]",
        '"x"',
        "{}",
        '{"schema": "cnnprof.profile/1", "models": [], "too_noisy": []}',
        "[" * 100_000,
    ):
        assert not is_accuracy_record(other)


@pytest.mark.parametrize(
    "damage",
    [
        {"models": 7}, {"models": [{"model": "x"}]}, {"errors": {}}, {"baselines": {"x": {}}}, {"calibration": {"gates": [{}]}},
        {"threads": "many"}, {"layers": {"count": 1, "by_class": {"x": {}}, "worst": []}}, {"hardware": "big"},
        {"calibration": {"gates": [], "networks": "many"}},
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_line(damage: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=r"^r\.json: the accuracy record is damaged") as caught:
        accuracy_page({**record(), **damage}, origin="r.json")
    assert "\n" not in str(caught.value)


def test_times_that_cannot_be() -> None:
    for measured in (0, -1.0, float("nan"), float("inf"), "soon"):
        made = record()
        made["models"][0]["measured_s"] = measured
        with pytest.raises(SchemaError, match="damaged"):
            accuracy_page(made)


def test_the_gallery_gives_each_record_a_page() -> None:
    records = {"accuracy/b.json": text_of(record()).encode(), "accuracy/a.json": b"{}", "accuracy/c.json": b"not JSON"}
    files, links = accuracy_files(records)
    assert list(files) == ["accuracy/b.html"] and [link.href for link in links] == ["accuracy/b.html"]
    assert 'href="../report.css"' in files["accuracy/b.html"] and 'href="b.json"' in files["accuracy/b.html"]
    assert (links[0].networks, links[0].mean, links[0].degraded) == (3, "10.0 %", True)
    with pytest.raises(SchemaError, match=r"accuracy/o\.json: expected schema"):
        accuracy_files({"accuracy/o.json": text_of({**record(), "schema": "cnnprof.accuracy/0"}).encode()})


def test_the_index_leads_to_the_records() -> None:
    _, links = accuracy_files(
        {f"accuracy/{name}.json": text_of(record(batch=batch)).encode() for name, batch in (("a", 1), ("b", 32))}
    )
    page = index_page([Subject(profile=profile_graph(chain()))], Translator("en"), title="All", nav=[], accuracy=links)
    for phrase in (
        'href="accuracy/a.html"',
        'href="accuracy/b.html"',
        'href="#accuracy"',
        "degraded calibration",
        "batch 32",
        "2 of 8 met",
    ):
        assert phrase in page, phrase
    assert "accuracy" not in index_page(
        [Subject(profile=profile_graph(chain()))], Translator("en"), title="All", nav=[]
    )


def test_a_page_without_its_record_is_left_over(tmp_path: Path) -> None:
    (tmp_path / "accuracy").mkdir()
    (tmp_path / "accuracy" / "gone.html").write_text("x")
    (tmp_path / "accuracy" / "kept.json").write_text("{}")
    assert stale(tmp_path, {}) == ["left over: accuracy/gone.html"]


def test_the_command_makes_the_page(cnnprof: Run, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text_of(record()), encoding="utf-8")
    done = cnnprof("report", "r.json", "-o", "r.html", "--lang", "zh-CN")
    assert done.returncode == 0 and done.stderr == "wrote r.html\n"
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == accuracy_page(record(), lang="zh-CN")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["report", "old.json", "-o", "x.html"],
            5,
            "old.json: expected schema cnnprof.accuracy/1, got 'cnnprof.accuracy/0'",
        ),
        (["report", "bare.json", "-o", "x.html"], 5, "bare.json: not an accuracy record (no schema"),
        (["report", "good.json", "-o", "out/"], 2, "one page of its own"),
        (["report", "good.json", "good.json", "-o", "x"], 2, "one page of its own"),
        (["report", "good.json", "-o", "no/such/x.html"], 2, "can't write"),
        (["verify", "-o", "x.html"], 2, "the record is JSON"),
        (["verify", "-o", "no/such/x.json"], 2, "no such folder"),
    ],
)
def test_bad_records_are_one_line_and_leave_nothing(
    cnnprof: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    made = record()
    for name, document in (
        ("good.json", made), ("old.json", {**made, "schema": "cnnprof.accuracy/0"}),
        ("bare.json", {key: value for key, value in made.items() if key != "schema"}),
    ):  # fmt: skip
        (tmp_path / name).write_text(text_of(document), encoding="utf-8")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = cnnprof(*arguments)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before
