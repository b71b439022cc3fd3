"""Calibration on a fake CUDA device: what is found is what the device was given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_cuda import FACTS, FakeCuda

from cnnprof.devices.store import load_profile, samples_path
from cnnprof.errors import CnnprofError, DeviceError, SchemaError, UsageError
from cnnprof.measure.calibrate import Calibration
from cnnprof.measure.calibrate_cuda import calibrate_cuda, cuda_profile_name
from cnnprof.measure.cuda import CudaClock
from cnnprof.measure.cuda_networks import CudaNetworks
from cnnprof.measure.samples import from_csv, to_csv
from cnnprof.measure.synthetic import synthetic_network

pytestmark = pytest.mark.usefixtures("quick_cuda")


def test_the_profile_says_what_it_was_made_on(cuda_calibration: Calibration) -> None:
    saved = load_profile("fake")
    assert saved.kind == "gpu" and saved.runner == "torch" and saved.title == FACTS.name
    assert saved.data["hardware"]["memory_bytes"] == "80000000000" and saved.data["hardware"]["tf32"] == "conv"
    assert (saved.versions["driver"], saved.versions["cuda"]) == ("550.54.15", "13.0")
    gates = {gate["name"]: gate for gate in saved.data["gates"]}
    assert gates["coherence"]["value"] == pytest.approx(1.0, abs=0.01)
    assert gates["drift"]["value"] == pytest.approx(0.0, abs=1e-9)  # this device's clock never moves
    # The fake host takes 6 µs for a kernel and 1 µs for a call without.
    host = saved.data["total"]["queue"]["host_s"]
    assert host["norm_batch"] == pytest.approx(6e-6, rel=0.15) and host["conv_pointwise"] == pytest.approx(
        6e-6, rel=0.25
    )
    assert cuda_calibration.profile.data["total"]["queue"] == saved.data["total"]["queue"]
    assert len(from_csv(samples_path("fake").read_text(), origin="test")) == saved.data["networks"] >= 10
    graph = load_profile("fake-graph")
    assert cuda_calibration.graph is not None and cuda_calibration.graph.name == graph.name
    assert graph.runner == "torch-cuda-graph" and graph.data["networks"] == saved.data["networks"]
    # A replay takes Σ, 1 µs an op that has a kernel, and 7 µs: δ is between −1 µs and −0.5 µs or so, α takes the rest.
    assert graph.data["total"]["alpha"] == pytest.approx(1.0, abs=0.1)
    assert -1.5e-6 < graph.data["total"]["delta_s"] < -0.5e-6
    assert {g["name"]: g["passed"] for g in graph.data["gates"]}["coherence"]
    assert not samples_path("fake-graph.partial").exists()


def test_interrupted_and_resumed_keeps_the_graphs() -> None:
    class Stops(FakeCuda):
        captured = 0

        def capture(self, call: Any) -> Any:
            self.captured += 1
            if self.captured == 5:
                raise KeyboardInterrupt
            return super().capture(call)

    with pytest.raises(CnnprofError, match="4 networks measured, at least 10"):
        calibrate_cuda(runner="torch", budget_s=1.0, name="cut", cuda=Stops())
    table = from_csv(samples_path("cut-graph.partial").read_text(), origin="test")
    assert [sample.network for sample in table] == [0, 1, 2, 3]
    # One from a version that didn't time the host is refused before anything is measured.
    old = to_csv([replace(sample, host_s=(), calls=0) for sample in table])
    samples_path("old-graph.partial").write_text(old)
    with pytest.raises(SchemaError, match="without the host's times"):
        calibrate_cuda(runner="torch", budget_s=1.0, name="old", resume=True, cuda=FakeCuda(kernels=False))
    # Measured again after a resume, a network is there once.
    networks = CudaNetworks(cuda := FakeCuda(), table)
    networks(3, synthetic_network(0, 3), CudaClock(cuda.events))
    assert [sample.network for sample in networks.graphs] == [0, 1, 2, 3]


def test_without_kernels_and_with_another_runner() -> None:
    with pytest.raises(DeviceError, match="saw no kernels") as caught:
        calibrate_cuda(runner="torch", budget_s=0.1, name="blind", cuda=FakeCuda(kernels=False))
    assert caught.value.exit_code == 4
    with pytest.raises(UsageError, match="onnxruntime on CUDA"):
        calibrate_cuda(runner="onnxruntime", budget_s=1.0, cuda=FakeCuda())
    version = torch.__version__.replace("+", "_")
    assert cuda_profile_name(FACTS) == f"nvidia-fake-h100-80gb-driver-550.54.15-torch-{version}-float32"
