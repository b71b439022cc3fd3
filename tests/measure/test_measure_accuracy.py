"""The accuracy report: figures by hand, noise left out, and the list of networks it is made over."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from fake_clock import FakeClock
from scipy import stats

from cnnprof.api import load
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import CnnprofError, ModelError
from cnnprof.frontends.inputs import InputSpec, parse_inputs
from cnnprof.ir import GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.measure.accuracy import Compared, report, shares, spearman
from cnnprof.measure.accuracy_models import MODELS, SWEEP
from cnnprof.measure.fresh import _answer, in_fresh_process, in_standing_process
from cnnprof.measure.measurement import Measurement
from cnnprof.measure.run import measure
from cnnprof.measure.runner import LayerTimes
from cnnprof.measure.session import Plan
from cnnprof.measure.synthetic import synthetic_network
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.measure.verify import case_of, verify
from cnnprof.measure.verify_visit import Visit, measure_visit, visit_of
from cnnprof.predict.kernels import CLASSES


def row(model: str, measured: float, predicted: float, **changes: object) -> Compared:
    values = {"low_s": predicted * 0.9, "high_s": predicted * 1.1, "half_width": 0.01, "quiet": True, "again_s": measured * 1.02,
              "baselines": {"flops": measured * 0.5}}  # fmt: skip
    return Compared(model=model, measured_s=measured, predicted_s=predicted, **{**values, **changes})


def test_figures_by_hand() -> None:
    rows = [
        row("a", 1.0, 1.04),
        row("b", 2.0, 1.6),
        row("c", 4.0, 4.24),
        row("n", 1.0, 9.0, quiet=False, reasons=("steal",)),
    ]
    made = report(rows, {"device": "d"})
    errors = made["errors"]
    # |errors| 4 %, 20 %, 6 %; the noisy one counts for nothing
    assert errors["models"] == 3 and errors["mean"] == pytest.approx(0.1) and errors["median"] == pytest.approx(0.06)
    assert errors["worst"] == pytest.approx(0.2) and errors["bias"] == pytest.approx((0.04 - 0.2 + 0.06) / 3)
    assert (errors["within_5"], errors["within_10"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert made["too_noisy"] == ["n"]
    # b: 1.6 ± 10 % doesn't reach 2.0
    assert made["intervals"]["coverage_90"] == pytest.approx(2 / 3)
    assert made["intervals"]["median_half_width"] == pytest.approx(0.1)
    assert made["baselines"]["flops"]["mean"] == pytest.approx(0.5)
    assert made["noise_floor"]["median"] == pytest.approx(0.02)
    assert made["error_over_noise"] == pytest.approx(3.0)
    json.dumps(made, allow_nan=False)


def test_nothing_quiet_gives_no_figures() -> None:
    made = report([row("n", 1.0, 1.0, quiet=False)], {})
    assert "errors" not in made and made["too_noisy"] == ["n"]


def test_layers_by_hand() -> None:
    layers = {"measured_layers": {"x": 6.0, "y": 3.95, "z": 0.05}, "predicted_layers": {"x": 5.0, "y": 5.0, "z": 0.0},
              "classes": {"x": "conv_dense", "y": "gemm"}}  # fmt: skip
    made = report([row("a", 10.0, 10.0, **layers)], {})["layers"]
    # shares 60 %, 39.5 % (z is below 1 %); predicted 50 % each: −16.7 %, +26.6 %
    assert made["count"] == 2
    assert made["median_error"] == pytest.approx((1 / 6 + (0.5 / 0.395 - 1)) / 2)
    assert made["by_class"]["gemm"]["bias"] == pytest.approx(0.5 / 0.395 - 1)
    assert made["worst"][0]["layer"] == "y"  # 0.395 · 26.6 % = 10.5 points, x: 0.6 · 16.7 % = 10.0
    assert made["top_5_recall"] == 1.0


def test_top_five_recall() -> None:
    measured = {f"l{i}": 10.0 - i for i in range(10)}
    predicted = {**measured, "l4": 0.1, "l5": 6.0}  # the fifth slowest is missed
    made = report([row("a", 1.0, 1.0, measured_layers=measured, predicted_layers=predicted)], {})["layers"]
    assert made["top_5_recall"] == pytest.approx(0.8)


def test_the_layers_noise_floor_is_what_two_measurements_differ_by() -> None:
    first = {f"l{i}": 10.0 - i for i in range(8)}  # of 52 in all
    again = {**first, "l4": 4.0, "l5": 6.0}  # two change places, of 51 in all
    looks = {"measured_layers": first, "layer_looks": (first, again)}
    made = report([row("a", 1.0, 1.0, **looks), row("b", 1.0, 1.0, measured_layers=first)], {})["layers"]
    apart = sorted([52 / 51 - 1] * 6 + [1 - (4 / 51) / (6 / 52), (6 / 51) / (5 / 52) - 1])
    assert made["noise_floor"] == {
        "median_error": pytest.approx((apart[3] + apart[4]) / 2), "top_5_recall": pytest.approx(0.8), "models": 1,
    }  # fmt: skip
    assert "noise_floor" not in report([row("b", 1.0, 1.0, measured_layers=first)], {})["layers"]


def test_spearman_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 8, 30).tolist(), rng.integers(0, 8, 30).tolist()
        assert spearman(a, b) == pytest.approx(float(stats.spearmanr(a, b).statistic))
    assert spearman([1.0], [2.0]) == 1.0


def test_shares() -> None:
    assert shares({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}
    assert shares({}) == {}


def test_the_list_is_long_and_of_both_libraries() -> None:
    assert len(MODELS) == len(set(MODELS)) >= 40
    assert sum(name.startswith("timm:") for name in MODELS) >= 15
    import timm
    import torchvision

    assert {name.removeprefix("timm:") for name in MODELS if name.startswith("timm:")} <= set(timm.list_models())
    assert {n.removeprefix("torchvision:") for n in MODELS if n.startswith("torchvision:")} <= set(
        torchvision.models.list_models()
    )


def test_command_refuses_a_datasheet() -> None:
    from cnnprof.cli.verify import command
    from cnnprof.errors import UsageError

    result = CliRunner().invoke(command, ["--device", "rtx4090"])
    assert isinstance(result.exception, UsageError) and "a datasheet" in str(result.exception)


# -- the loop over networks, on recorded measurements ----------------------------------------------------------------


@pytest.fixture(scope="module")
def calibrated() -> CalibratedDevice:
    """A machine of 20 GFLOP/s, 10 GB/s and a microsecond a kernel, calibrated for onnxruntime."""
    rates = {"flops_per_s": 2e10, "bytes_per_s": 1e10, "overhead_s": 1e-6, "exponent": 4.0}
    quantiles = {"80": [-0.1, 0.1], "90": [-0.2, 0.2]}
    fit = {**rates, "forests": [], "clip": [0.0, 0.0], "samples": 99, "log_quantiles": quantiles}
    return CalibratedDevice({
        "name": "made-up", "kind": "cpu", "hardware": {"processor": "Made Up"}, "versions": {}, "runner": "onnxruntime",
        "lowering": "onnxruntime", "threads": 1, "dtype": "float32", "gates": [], "networks": 2, "seed": 0,
        "classes": dict.fromkeys(CLASSES, fit), "range": {},
        "total": {"alpha": 1.0, "delta_s": 0.0, "log_quantiles": quantiles},
        "roof": {"flops_per_s": 3e10, "bytes_per_s": 2e10},
    })  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for index in (3, 10):
        graph = synthetic_network(0, index)
        path = tmp_path / f"net{index}.onnx"
        path.write_bytes(synthetic_model(graph, random_weights(graph, 0)))
        paths.append(str(path))
    return paths


def measurement(latency_s: float, *, steal: float = 0.0, layers: dict[str, float] | None = None) -> Measurement:
    """What a runner would have found on a fake clock."""
    clock = FakeClock()

    class Fixed:
        name, device, title, threads, batch, single_thread = "onnxruntime", "cpu", "Made Up", 1, 1, True
        versions: ClassVar[dict[str, str]] = {}

        def clock(self) -> FakeClock:
            return clock

        def run(self) -> None:
            clock.spend(latency_s, waiting=steal)
            clock.steal += steal

        def layer_times(self, passes: int, ready: object) -> LayerTimes:
            return LayerTimes(seconds=layers or {}, total_s=latency_s)

    builder = GraphBuilder(ModelSource("net", "net", "onnx"))
    builder.add_tensor(Tensor("x", (1, 4), role=Role.INPUT))
    builder.add_op(Op("r", "relu", "onnx:Relu", ("x",), ("y",)), [Tensor("y", (1, 4))])
    return measure(Fixed(), builder.build(["x"], ["y"]), plan=Plan(visits=3, samples=3, seconds=0.0, warm_up_runs=3))


def test_two_rounds_the_second_backwards(calibrated: CalibratedDevice, files: list[str]) -> None:
    visits: list[Visit] = []

    def take(visit: Visit) -> Measurement:
        visits.append(visit)
        if len(visits) <= 2:
            return measurement(0.010, layers={"r": 0.004, "s": 0.004})
        return measurement(0.0105, layers={"r": 0.002, "s": 0.006})

    made = verify(calibrated, files, measure_one=take)
    assert [visit.reference for visit in visits] == [files[0], files[1], files[1], files[0]]
    assert all(visit.layers for visit in visits)  # in either round: a layer's time is the mean
    assert {(visit.runner, visit.on, visit.threads) for visit in visits} == {("onnxruntime", "cpu", 1)}
    assert made["noise_floor"]["median"] == pytest.approx(0.05) and made["failed"] == {}
    assert [r["measured_s"] for r in made["models"]] == [pytest.approx((0.010 * 0.0105) ** 0.5)] * 2
    assert {(r["layer"], r["measured_share"]) for r in made["layers"]["worst"]} == {("r", 0.375), ("s", 0.625)}
    assert made["layers"]["noise_floor"]["median_error"] == pytest.approx(0.5)


def test_layers_are_measured_where_they_can_be_compared(calibrated: CalibratedDevice) -> None:
    """What a GPU's kernel waits for its host is in the prediction of an eager layer and not in its measurement."""

    def of(kind: str, runner: str) -> bool:
        return visit_of(CalibratedDevice({**calibrated.data, "kind": kind, "runner": runner}), (), None, None).layers

    assert of("cpu", "torch") and of("cpu", "onnxruntime") and of("gpu", "torch-cuda-graph")
    assert not of("gpu", "torch")


def test_noisy_ones_are_measured_again_and_the_quiet_run_kept(calibrated: CalibratedDevice, files: list[str]) -> None:
    taken, waiting = [], []

    def take(visit: Visit) -> Measurement:
        taken.append(visit.reference)
        waiting.append((visit.patience_s, visit.plan.longest_s))
        spoilt = visit.reference == files[1] and len(taken) < 5
        return measurement(0.010, steal=0.01 if spoilt else 0.0)

    made = verify(calibrated, files, measure_one=take)
    assert taken == [files[0], files[1], files[1], files[0], files[1]]
    assert all(waiting[-1][i] > max(earlier[i] for earlier in waiting[:-1]) for i in (0, 1))  # it waits for quiet
    assert made["too_noisy"] == [] and made["errors"]["models"] == 2


def test_a_failure_while_measuring_again_loses_nothing(calibrated: CalibratedDevice, files: list[str]) -> None:
    taken = []

    def take(visit: Visit) -> Measurement:
        taken.append(visit.reference)
        if len(taken) > 4:
            raise CnnprofError("the machine: no memory", "make room")
        return measurement(0.010, steal=0.01 if visit.reference == files[1] else 0.0)

    made = verify(calibrated, files, measure_one=take)
    assert len(taken) > 4 and made["failed"] == {}
    assert [row["model"] for row in made["models"]] == files and made["too_noisy"] == [files[1]]


def test_a_quiet_second_round_takes_the_place_of_a_noisy_first(calibrated: CalibratedDevice, files: list[str]) -> None:
    taken = []

    def take(visit: Visit) -> Measurement:
        taken.append(visit.reference)
        first = len(taken) == 1
        return measurement(0.020 if first else 0.010, steal=0.01 if first else 0.0)

    made = verify(calibrated, files, measure_one=take)
    assert taken == [files[0], files[1], files[1], files[0]] and made["too_noisy"] == []
    assert [r["measured_s"] for r in made["models"]] == [pytest.approx(0.010)] * 2
    assert made["noise_floor"]["models"] == 1


def test_what_fails_is_listed_and_an_interrupt_keeps_the_rest(calibrated: CalibratedDevice, files: list[str]) -> None:
    def take(visit: Visit) -> Measurement:
        if visit.reference == files[1]:
            raise KeyboardInterrupt
        return measurement(0.010)

    made = verify(calibrated, ["missing.onnx", *files], measure_one=take)
    assert "no such file" in made["failed"]["missing.onnx"]
    assert made["interrupted"] and [r["model"] for r in made["models"]] == [files[0]]


def test_the_record_is_there_after_every_network(calibrated: CalibratedDevice, files: list[str]) -> None:
    """Whatever ends the run, what was measured is kept: one network, both, and both in two rounds."""
    kept: list[dict[str, object]] = []
    made = verify(calibrated, files, measure_one=lambda _: measurement(0.010), keep=kept.append)
    assert [len(record["models"]) for record in kept] == [1, 2, 2, 2]
    assert [len(record.get("noise_floor") or ()) > 0 for record in kept] == [False, False, True, True]
    assert all(record["interrupted"] for record in kept) and not made["interrupted"]
    assert {**kept[-1], "interrupted": False} == {name: value for name, value in made.items() if name != "coincidence"}
    json.dumps(kept, allow_nan=False)


def test_a_calibration_cut_short_is_no_reason_to_measure(
    monkeypatch: pytest.MonkeyPatch, calibrated: CalibratedDevice, tmp_path: Path
) -> None:
    from cnnprof.cli.verify import command
    from cnnprof.measure.calibrate import Calibration

    cut = Calibration(profile=calibrated, samples=(), interrupted=True)
    monkeypatch.setattr("cnnprof.measure.calibrate.calibrate", lambda **_: cut)
    monkeypatch.setattr("cnnprof.measure.verify.verify", lambda *_, **__: pytest.fail("measures"))
    result = CliRunner().invoke(command, ["-o", str(tmp_path / "x.json")])
    assert result.exit_code == 130 and "go on with cnnprof verify --device made-up" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_references_are_exported_once(calibrated: CalibratedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    import cnnprof.measure.export_torch as module

    exported = []

    def export(reference: str, target: Path, **_: object) -> None:
        exported.append(reference)
        graph = synthetic_network(0, 10)
        target.write_bytes(synthetic_model(graph, random_weights(graph, 0)))

    monkeypatch.setattr(module, "export", export)
    visits: list[Visit] = []

    def take(visit: Visit) -> Measurement:
        assert Path(visit.reference).exists() and visit.batch is None
        visits.append(visit)
        return measurement(0.010)

    verify(calibrated, ["torchvision:squeezenet1_1"], batch=1, measure_one=take)
    assert exported == ["torchvision:squeezenet1_1"] and len(visits) == 2
    assert not Path(visits[0].reference).exists()  # nothing is left behind


def test_a_listed_model_may_have_an_input_of_its_own(
    calibrated: CalibratedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cnnprof.measure.export_torch as module

    seen = []

    def export(reference: str, target: Path, *, inputs: tuple[InputSpec, ...], batch: int | None) -> None:
        seen.append((reference, [spec.shape for spec in inputs], batch))
        graph = synthetic_network(0, 10)
        target.write_bytes(synthetic_model(graph, random_weights(graph, 0)))

    monkeypatch.setattr(module, "export", export)
    verify(calibrated, ["torchvision:squeezenet1_1 4x3x64x64"], measure_one=lambda _: measurement(0.010))
    assert seen == [("torchvision:squeezenet1_1", [(4, 3, 64, 64)], None)]
    assert case_of("my models/net.onnx") == ("my models/net.onnx", ())
    assert all(case_of(name)[1] and 1 <= case_of(name)[1][0].shape[0] <= 32 for name in SWEEP)


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    """As after Ctrl-C, when the process that asked has gone."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    receiver.close()
    assert _answer(sender, len, ("abc",)) is None
    receiver, sender = multiprocessing.Pipe(duplex=False)
    _answer(sender, len, ("abc",))
    assert receiver.recv() == (True, 3)


def test_really_in_a_fresh_process(calibrated: CalibratedDevice, files: list[str]) -> None:
    """One network through onnxruntime in a process of its own; a failure there is an error here."""
    visit = Visit(reference=files[1], runner="onnxruntime", on="cpu", threads=1, layers=True,
                  plan=Plan(visits=1, samples=3, seconds=0.0, warm_up_runs=3))  # fmt: skip
    found = in_fresh_process(measure_visit, visit)
    assert found.statistics.latency_s > 0 and found.attribution is not None and len(found.attribution.seconds) > 5
    with pytest.raises(ModelError, match="no such file"):
        in_fresh_process(measure_visit, replace(visit, reference="missing.onnx"))
    with pytest.raises(ModelError, match="ended with code 3"):
        in_fresh_process(os._exit, 3)


def test_a_standing_process_stays_and_its_errors_are_errors_here() -> None:
    with in_standing_process() as call:
        there = call(os.getpid)
        assert there != os.getpid() and call(os.getpid) == there
        with pytest.raises(ModelError, match="no such file"):
            call(load, "missing.onnx")
        assert call(len, "abc") == 3  # and goes on
        with pytest.raises(ModelError, match="ended with code 3"):
            call(os._exit, 3)
        with pytest.raises(ModelError, match="ended with code 3"):
            call(len, "abc")
    with pytest.raises(ProcessLookupError):
        os.kill(there, 0)


def test_an_export_is_what_onnxruntime_runs(tmp_path: Path) -> None:
    from cnnprof.analyses.complexity import complexity
    from cnnprof.measure.export_torch import export

    export("torchvision:squeezenet1_1", tmp_path / "model.onnx", inputs=parse_inputs(["1x3x64x64"]), batch=2)
    exported = load(tmp_path / "model.onnx")
    assert exported.tensors[exported.inputs[0]].shape == (2, 3, 64, 64)
    traced = load("torchvision:squeezenet1_1", inputs=["1x3x64x64"], batch=2)
    assert complexity(exported).macs == complexity(traced).macs
