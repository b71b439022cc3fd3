"""Calibration: the suite of networks, the fit against a machine made up by hand, gates, resuming, reproducibility."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fake_machine import ALPHA, DELTA, FLOPS, Machine, WorkingClock, fake_sample, fitted_to, measured_on, truth

from cnnprof.analyses.complexity import complexity
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import DeviceError, SchemaError, UsageError
from cnnprof.measure.calibrate import calibrate, profile_name
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_suite import suite_style
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.synthetic import STYLES, synthetic_network
from cnnprof.predict.calibrated import kernel_times, predict_calibrated
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.lower import lower


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


# -- the suite --------------------------------------------------------------------------------------------


def test_same_seed_same_suite_and_every_motif() -> None:
    first = [synthetic_network(7, i) for i in range(len(STYLES))]
    again = [synthetic_network(7, i) for i in range(len(STYLES))]
    for a, b in zip(first, again, strict=True):
        assert a.ops == b.ops and dict(a.tensors) == dict(b.tensors)
    assert [g.source.name.rpartition("-")[2] for g in first] == list(STYLES)
    assert synthetic_network(8, 0).ops != first[0].ops
    kinds = {op.kind for g in first for op in g.ops}
    assert {
        "conv",
        "batch_norm",
        "layer_norm",
        "linear",
        "concat",
        "add",
        "max_pool",
        "channel_shuffle",
        "transpose",
    } <= kinds


def test_sizes_stay_small_but_differ() -> None:
    macs = [complexity(synthetic_network(0, i)).macs for i in range(33)]
    assert max(macs) < 10**10 and min(macs) > 10**6
    assert max(macs) / min(macs) > 10


def test_the_generator_never_imports_a_model_library() -> None:
    code = (
        "import sys\nimport cnnprof.measure.calibrate, cnnprof.measure.calibrate_torch, cnnprof.measure.calibrate_fit\n"
        "from cnnprof.measure.synthetic import synthetic_network\nfrom cnnprof.measure.synthetic_torch import SyntheticModule\n"
        "SyntheticModule(synthetic_network(0, 1))\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'torchvision', 'timm'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("index", range(len(STYLES)))
def test_torch_builds_what_the_ir_says(index: int) -> None:
    """torch is the oracle of the generator's own shape rules and costs: trace the module that was built from the IR."""
    from cnnprof.frontends.torch.trace import trace
    from cnnprof.measure.synthetic_torch import SyntheticModule

    graph = synthetic_network(3, index)
    shape = graph.tensors[graph.inputs[0]].shape
    traced = trace(SyntheticModule(graph), [shape])
    own, real = complexity(graph), complexity(traced)
    assert own.macs == real.macs
    assert own.parameters == real.parameters
    assert graph.tensors[graph.outputs[0]].shape == traced.tensors[traced.outputs[0]].shape


# -- a machine made up by hand ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples() -> list[NetSample]:
    return measured_on(0)


@pytest.fixture(scope="module")
def profile(samples: list[NetSample]) -> CalibratedDevice:
    return fitted_to(samples)


def test_alpha_and_delta_are_found(profile: CalibratedDevice) -> None:
    assert profile.data["total"]["alpha"] == pytest.approx(ALPHA, rel=0.02)
    assert profile.data["total"]["delta_s"] == pytest.approx(DELTA, abs=1e-6)
    assert all(gate["passed"] for gate in profile.data["gates"]) and not profile.degraded


def test_unseen_networks_are_predicted_and_intervals_cover(profile: CalibratedDevice) -> None:
    """Of three calibrations together: a layer of few microseconds is as far off as its δ, which is one for them all."""
    errors, covered, kernels_covered = [], [], []
    unseen = [synthetic_network(0, i) for i in range(200, 240)]
    for device in (profile, fitted_to(measured_on(1)), fitted_to(measured_on(2))):
        for graph in unseen:
            made, kernels = predict_calibrated(graph, device), lower(graph, "fused")
            real = [ALPHA * (truth(kernel) - DELTA) for kernel in kernels]
            errors.append(abs(made.latency_s / sum(real) - 1))
            covered.append(made.total.low90_s <= sum(real) <= made.total.high90_s)
            kernels_covered += [
                layer.time.low90_s <= own <= layer.time.high90_s for layer, own in zip(made.layers, real, strict=True)
            ]
            assert sum(layer.time.latency_s for layer in made.layers) == pytest.approx(made.latency_s)
    assert np.mean(errors) < 0.03
    assert np.mean(covered) >= 0.80
    assert np.mean(kernels_covered) >= 0.85


def test_residuals_matter_here(samples: list[NetSample], profile: CalibratedDevice) -> None:
    """Narrow convolutions run at a fifth of the rate: the roofline's constants can't say so, the trees do."""
    bare = json.loads(profile.to_json())
    for fit in bare["classes"].values():
        fit["forests"], fit["clip"] = [], [0.0, 0.0]
    kernels = [k for s in samples for k in s.kernels if k.cls in ("conv_dense", "conv_pointwise")]
    real = np.array([truth(k) for k in kernels])

    def error(device: CalibratedDevice) -> float:
        return float(np.mean(np.abs(np.log(np.array([t for t, _ in kernel_times(device, kernels)]) / real))))

    assert error(profile) < 0.5 * error(CalibratedDevice(bare))


def test_outside_the_range_is_flagged_and_widened(profile: CalibratedDevice) -> None:
    graph = synthetic_network(0, 202)
    inside, outside = predict_calibrated(graph, profile), predict_calibrated(graph, profile, batch=512)
    assert inside.inside_share > 0.9 and outside.inside_share < 0.2

    def width(made: object) -> float:
        return math.log(made.total.high90_s / made.total.low90_s)

    assert width(outside) > width(inside)  # though it takes longer, which alone would make it narrower
    assert any("outside the calibrated range" in warning for warning in outside.warnings)
    # By as much as the calibration found, in the share that is outside.
    by = {
        wider: width(predict_calibrated(graph, _with_total(profile, outside_wider=wider), batch=512))
        for wider in (1.0, 2.0, 4.0)
    }
    assert width(outside) > 1.5 * by[1.0]
    share = 1.0 - outside.inside_share
    assert by[2.0] / by[1.0] == pytest.approx(1 + share) and by[4.0] / by[1.0] == pytest.approx(1 + 3 * share)


def test_what_hours_differ_by_stands_beside_the_interval(profile: CalibratedDevice) -> None:
    """As the other side of a right angle: neither shrinks with the other."""
    graph = synthetic_network(0, 202)
    alone = predict_calibrated(graph, profile).total
    beside = predict_calibrated(graph, _with_total(profile, spread_sessions=0.03)).total
    for level, deviations in (("80", 1.2816), ("90", 1.6449)):
        for end in ("low", "high"):
            own, both = (math.log(getattr(t, f"{end}{level}_s") / t.latency_s) for t in (alone, beside))
            assert both == pytest.approx(math.copysign(math.hypot(own, 0.03 * deviations), own))
    assert beside.latency_s == alone.latency_s


def _with_total(profile: CalibratedDevice, **values: float) -> CalibratedDevice:
    return CalibratedDevice({**profile.data, "total": {**profile.data["total"], **values}})


def test_a_class_that_was_never_measured_is_not_zero(profile: CalibratedDevice) -> None:
    strange = Kernel(name="k", ops=("k",), cls="recurrent", flops=1e9, bytes_in=1e6, bytes_out=1e6)
    ((seconds, _),) = kernel_times(profile, [strange])
    assert seconds > 1e9 / FLOPS / 2


def test_same_seed_same_profile(samples: list[NetSample]) -> None:
    few = samples[:11]
    assert fit_profile(few, seed=1) == fit_profile(few, seed=1)


def test_fitted_in_several_processes_it_is_the_same_profile(
    samples: list[NetSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, styles = samples[:11], partial(suite_style, "torch")
    alone = fit_profile(few, seed=1, style_of=styles)
    monkeypatch.setattr("cnnprof.measure.calibrate_fit._MANY", 0)
    assert fit_profile(few, seed=1, style_of=styles, workers=2) == alone


def test_two_calibrations_agree_within_their_stated_error() -> None:
    """Two runs of one machine, other networks and other noise: each lies in the other's 90 % interval, mostly."""
    devices = []
    for seed in (1, 2):
        rng = random.Random(seed)
        own = [fake_sample(i, synthetic_network(seed, i), rng) for i in range(22)]
        fitted = fit_profile(own, seed=seed)
        devices.append(CalibratedDevice({"name": f"d{seed}", "kind": "cpu", "hardware": {}, "versions": {}, "runner": "torch",
                                         "lowering": "fused", "threads": 1, "dtype": "float32", "gates": [], **fitted}))  # fmt: skip
    agree = 0
    for i in range(300, 320):
        a, b = (predict_calibrated(synthetic_network(5, i), device) for device in devices)
        agree += a.total.low90_s <= b.latency_s <= a.total.high90_s
    assert agree >= 15


def test_a_saved_profile_predicts_the_same(profile: CalibratedDevice) -> None:
    again = CalibratedDevice.from_json(profile.to_json(), origin="test")
    graph = synthetic_network(0, 201)
    assert predict_calibrated(graph, again) == predict_calibrated(graph, profile)


def test_damaged_classes_are_one_line(profile: CalibratedDevice) -> None:
    for spoilt in ({"classes": {}}, {"total": {"alpha": "x"}}, {"roof": {}}):
        with pytest.raises(SchemaError):
            predict_calibrated(synthetic_network(0, 201), CalibratedDevice({**profile.data, **spoilt}))


# -- gates ------------------------------------------------------------------------------------------------------------


def test_gates_refuse_what_is_bad(samples: list[NetSample]) -> None:
    good = {"alpha": ALPHA, "delta_s": DELTA}
    assert [g["name"] for g in gates_of(samples, good, 0.01) if not g["passed"]] == []
    assert [g["name"] for g in gates_of(samples, good, 0.06) if not g["passed"]] == ["drift"]
    assert [g["name"] for g in gates_of(samples, {"alpha": 1.2, "delta_s": DELTA}, 0.0) if not g["passed"]] == [
        "coherence"
    ]
    disturbed = [
        NetSample(network=s.network, total_s=s.total_s, disturbed=0.9, kernels=s.kernels, seconds=s.seconds)
        for s in samples
    ]
    assert [g["name"] for g in gates_of(disturbed, good, 0.0) if not g["passed"]] == ["disturbed"]


@pytest.mark.parametrize("exponent", [0.0, 0.3])
def test_a_contended_cache_is_taken_out_of_the_samples(
    samples: list[NetSample], profile: CalibratedDevice, exponent: float
) -> None:
    """Every network's times grown by a power of what copying took: the fit finds it and is of the quiet machine."""
    rng = random.Random(5)
    slowed = []
    for sample in samples:
        stream = 0.001 * math.exp(rng.uniform(0.0, 0.7))
        factor = (stream / 0.001) ** exponent
        seconds = tuple(value * factor for value in sample.seconds)
        slowed.append(replace(sample, total_s=sample.total_s * factor, seconds=seconds, stream_s=stream))
    fitted, quiet = fit_profile(slowed, seed=0), profile.data
    assert fitted["total"]["contention_exponent"] == pytest.approx(exponent, abs=0.08)
    assert quiet["total"]["contention_exponent"] == 0.0  # nobody looked
    quietest = (sorted(s.stream_s for s in slowed)[3] / 0.001) ** exponent  # of 110: 3 % from below
    assert fitted["classes"]["conv_dense"]["flops_per_s"] * quietest == pytest.approx(
        quiet["classes"]["conv_dense"]["flops_per_s"], rel=0.05
    )


@pytest.mark.parametrize("disturbance", [0.0, 0.15])
def test_who_was_at_work_beside_is_taken_out_too(
    samples: list[NetSample], profile: CalibratedDevice, disturbance: float
) -> None:
    """Every network takes longer by how many of its runs were disturbed: the fit is of a machine at rest."""
    rng = random.Random(6)
    slowed = []
    for sample in samples:
        disturbed = rng.uniform(0.0, 0.6)
        factor = math.exp(disturbance * disturbed)
        seconds = tuple(value * factor for value in sample.seconds)
        slowed.append(
            replace(sample, total_s=sample.total_s * factor, seconds=seconds, disturbed=disturbed, stream_s=0.001)
        )
    fitted, quiet = fit_profile(slowed, seed=0), profile.data
    assert fitted["total"]["disturbance"] == pytest.approx(disturbance, abs=0.03)
    assert fitted["total"]["contention_exponent"] == 0.0  # it didn't vary
    assert fitted["classes"]["conv_dense"]["flops_per_s"] == pytest.approx(
        quiet["classes"]["conv_dense"]["flops_per_s"], rel=0.02
    )


def test_what_every_byte_costs_alike_is_taken_out_and_put_back(
    samples: list[NetSample], profile: CalibratedDevice
) -> None:
    """Every kernel of one network in two goes over its result once more, at 0.5 ns a byte."""
    passing = [
        replace(
            sample,
            kernels=tuple(replace(k, bytes_passed=k.bytes_out) for k in sample.kernels),
            seconds=tuple(s + 5e-10 * k.bytes_out for k, s in zip(sample.kernels, sample.seconds, strict=True)),
        )
        if sample.network % 2
        else sample
        for sample in samples
    ]
    plain = profile.data
    fitted = fit_profile(passing, seed=0)
    per_byte = fitted["total"]["passed_s_per_byte"]
    assert per_byte == pytest.approx(5e-10, rel=0.15) and plain["total"]["passed_s_per_byte"] == 0.0
    for name, rate in (("conv_stem", "bytes_per_s"), ("conv_pointwise", "flops_per_s")):
        assert fitted["classes"][name][rate] == pytest.approx(plain["classes"][name][rate], rel=0.05)
    kernel = samples[0].kernels[0]
    device = CalibratedDevice({"name": "d", "kind": "cpu", **fitted})
    (without, _), (with_it, _) = kernel_times(device, [kernel, replace(kernel, bytes_passed=1e6)])
    assert with_it - without == pytest.approx(per_byte * 1e6)


def test_samples_survive_their_table(samples: list[NetSample]) -> None:
    looked = [replace(sample, stream_s=0.1 * i) for i, sample in enumerate(samples[:3])]
    again = from_csv(to_csv(looked), origin="test")
    assert [sample.stream_s for sample in again] == [0.0, 0.1, 0.2]
    for a, b in zip(again, samples, strict=False):
        assert (a.network, a.total_s, a.seconds) == (b.network, b.total_s, b.seconds)
        assert [(k.cls, k.flops, k.path, k.channels_last, len(k.ops)) for k in a.kernels] == [
            (k.cls, k.flops, k.path, k.channels_last, len(k.ops)) for k in b.kernels
        ]
    for text in ("", "a,b\n1,2\n", to_csv(samples[:1]).replace("conv", "", 1).rpartition(",")[0] + "\n"):
        with pytest.raises(SchemaError):
            from_csv(text, origin="table.csv")


def test_an_older_table_does_not_say_what_made_an_input(samples: list[NetSample]) -> None:
    kernels = tuple(replace(kernel, fed_by="pool") for kernel in samples[0].kernels)
    lines = to_csv([replace(samples[0], kernels=kernels)]).splitlines()
    assert {kernel.fed_by for kernel in from_csv("\n".join(lines), origin="new")[0].kernels} == {"pool"}
    at = lines[0].split(",").index("fed_by")
    older = [",".join(value for place, value in enumerate(line.split(",")) if place != at) for line in lines]
    (again,) = from_csv("\n".join(older), origin="old")
    assert {kernel.fed_by for kernel in again.kernels} == {""}
    assert [replace(kernel, fed_by="pool") for kernel in again.kernels] == [
        replace(kernel, name="", ops=("",) * len(kernel.ops), known=True) for kernel in kernels
    ]
    with pytest.raises(SchemaError, match="not a table of samples"):
        from_csv("\n".join([lines[0].replace("fed_by", "fed"), *lines[1:]]), origin="other")


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(DeviceError, match="torch sees no CUDA device"):
        calibrate(runner="torch", device="cuda", budget_s=1)
    with pytest.raises(UsageError, match="can't be calibrated"):
        calibrate(runner="tensorrt", budget_s=1)
    assert profile_name("torch", 2, "float32").endswith("2t-float32")


def test_really_on_torch() -> None:
    """Three real networks: every kernel has a time, and they sum to about the total (instruments add some)."""
    from cnnprof.measure.calibrate_torch import torch_networks
    from cnnprof.measure.clock import SystemClock

    with torch_networks(1) as measure:
        for index in (3, 8, 9):
            sample = measure(index, synthetic_network(0, index), SystemClock())
            assert len(sample.seconds) == len(sample.kernels) > 30
            assert all(seconds > 0 for seconds in sample.seconds)
            assert 0.5 < sample.sum_s / sample.total_s < 2.5


def test_command_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import cnnprof.measure.calibrate as module
    from cnnprof.cli.calibrate import command

    clock = WorkingClock()
    real = module.calibrate
    monkeypatch.setattr(
        module, "calibrate", lambda **options: real(**options, clock=clock, measure_network=Machine(clock))
    )
    result = CliRunner().invoke(command, ["--name", "box", "--budget", "60s"])
    assert result.exit_code == 0, result.output
    assert "box: 12 networks" in result.output and "passed  coherence" in result.output
    assert "cnnprof predict MODEL --device box" in result.output
