"""The calibrated profiles that ship: each passed its gates, loads anywhere, and predicts what its machine measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnprof.cli.main import cli
from cnnprof.devices.find import find_device
from cnnprof.devices.store import load_profile, reference_names
from cnnprof.frontends.sources import load_graph
from cnnprof.predict.calibrated import predict_calibrated

EPYC = "amd-epyc-torch-2.14.1-1t-float32"
EPYC_ONNXRUNTIME = "amd-epyc-onnxruntime-1.32.0-1t-float32"
# Medians of fresh processes on the machine that the profile was calibrated on, after its calibration
# (reports/accuracy/amd-epyc-torch-1-thread.json); none of these networks is in the calibration.
MEASURED_S = {
    "torchvision:resnet18": 0.0645,
    "torchvision:mobilenet_v2": 0.0229,
    "torchvision:densenet121": 0.1035,
    "torchvision:googlenet": 0.0845,
    "torchvision:squeezenet1_0": 0.0410,
}


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def test_every_one_is_listed_and_passed_its_gates() -> None:
    assert {EPYC, EPYC_ONNXRUNTIME} <= set(reference_names())
    for name in reference_names():
        device = load_profile(name)
        assert device.name == name and find_device(name).name == name
        assert not device.degraded, device.failed_gates
        assert {gate["name"] for gate in device.data["gates"]} == {"coherence", "samples", "disturbed", "drift"}


@pytest.mark.parametrize("reference", MEASURED_S)
def test_predicts_what_was_measured(reference: str) -> None:
    prediction = predict_calibrated(load_graph(reference), load_profile(EPYC))
    assert prediction.latency_s == pytest.approx(MEASURED_S[reference], rel=0.10)


def test_by_the_command() -> None:
    result = CliRunner().invoke(cli, ["predict", "torchvision:resnet18", "--device", EPYC, "--format", "json"])
    assert result.exit_code == 0, result.output
    section = json.loads(result.stdout)["prediction"]
    assert section["device"]["name"] == EPYC and section["mode"] == "calibrated" and section["degraded"] == []
    listed = CliRunner().invoke(cli, ["devices", "list"])
    assert any(line.startswith(EPYC) and "reference" in line for line in listed.output.splitlines())
