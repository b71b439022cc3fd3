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
EPYC_TWO_THREADS = "amd-epyc-torch-2.14.1-2t-float32"
EPYC_ONNXRUNTIME = "amd-epyc-onnxruntime-1.32.0-1t-float32"
H200 = "nvidia-h200-driver-580.159.04-torch-2.11.0_cu130-float32"
# Medians of fresh processes on the machine that the profile was calibrated on, after its calibration
# (reports/accuracy/amd-epyc-torch-1-thread.json); none of these networks is in the calibration.
MEASURED_S = {
    "torchvision:resnet18": 0.0456,
    "torchvision:mobilenet_v2": 0.0172,
    "torchvision:densenet121": 0.0840,
    "torchvision:googlenet": 0.0683,
    "torchvision:squeezenet1_0": 0.0347,
}

# The same with two threads (reports/accuracy/amd-epyc-torch-2-threads.json).
TWO_THREADS_S = {
    "torchvision:resnet18": 0.0258,
    "torchvision:mobilenet_v2": 0.0131,
    "torchvision:densenet121": 0.0547,
    "torchvision:googlenet": 0.0409,
    "torchvision:squeezenet1_0": 0.0196,
}


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def test_every_one_is_listed_and_passed_its_gates() -> None:
    assert {EPYC, EPYC_TWO_THREADS, EPYC_ONNXRUNTIME, H200, f"{H200}-graph"} <= set(reference_names())
    for name in reference_names():
        device = load_profile(name)
        assert device.name == name and find_device(name).name == name
        assert not device.degraded, device.failed_gates
        assert {gate["name"] for gate in device.data["gates"]} == {"coherence", "samples", "disturbed", "drift"}


def test_the_gpu_s_predict_what_was_measured() -> None:
    """Seconds by CUDA events on the H200, after its calibration (reports/accuracy/nvidia-h200.json): eager, and the same
    kernels as a CUDA graph, without the host."""
    for reference, eager_s, graph_s in (
        ("torchvision:resnet34", 2.643e-3, 0.890e-3),
        ("torchvision:convnext_tiny", 3.025e-3, 1.396e-3),
        ("torchvision:inception_v3", 7.344e-3, 1.779e-3),
    ):
        graph = load_graph(reference)
        assert predict_calibrated(graph, load_profile(H200)).latency_s == pytest.approx(eager_s, rel=0.10)
        assert predict_calibrated(graph, load_profile(f"{H200}-graph")).latency_s == pytest.approx(graph_s, rel=0.10)


@pytest.mark.parametrize("reference", MEASURED_S)
def test_predicts_what_was_measured(reference: str) -> None:
    prediction = predict_calibrated(load_graph(reference), load_profile(EPYC))
    assert prediction.latency_s == pytest.approx(MEASURED_S[reference], rel=0.10)


@pytest.mark.parametrize("reference", TWO_THREADS_S)
def test_two_threads_predict_what_was_measured(reference: str) -> None:
    """Within the 90 % interval's half-width of that record."""
    prediction = predict_calibrated(load_graph(reference), load_profile(EPYC_TWO_THREADS))
    assert prediction.latency_s == pytest.approx(TWO_THREADS_S[reference], rel=0.08)


def test_by_the_command() -> None:
    result = CliRunner().invoke(cli, ["predict", "torchvision:resnet18", "--device", EPYC, "--format", "json"])
    assert result.exit_code == 0, result.output
    section = json.loads(result.stdout)["prediction"]
    assert section["device"]["name"] == EPYC and section["mode"] == "calibrated" and section["degraded"] == []


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_names_are_whole_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A name is there to be copied. On one line with what it is, or above it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = CliRunner().invoke(cli, ["devices", "list"]).output.splitlines()
    words = [line.split() for line in lines]
    for name in reference_names():
        (place,) = (i for i, line in enumerate(words) if line[:1] == [name])
        assert "reference" in words[place] if columns == 200 else words[place + 1][0] == "reference;"
