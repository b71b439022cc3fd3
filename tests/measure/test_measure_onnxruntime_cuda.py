"""onnxruntime on CUDA through a fake session: what is bound, what is timed, whose kernels are whose."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cnnprof.api import load
from cnnprof.errors import DeviceError
from cnnprof.measure.run import measure
from cnnprof.measure.runner_onnxruntime import OnnxRuntimeRunner
from cnnprof.measure.session import Plan

QUICK = Plan(visits=3, samples=3, seconds=0.0, warm_up_runs=3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """conv1 → relu1, of 4 channels."""
    weight = onnx.numpy_helper.from_array(np.zeros((4, 4, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["y"], "relu1"),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 8, 6]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", info[:1], info[1:], [weight])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


class Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: list[tuple[str, str]] = []
        self.synchronised = 0

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.inputs[name] = value

    def bind_output(self, name: str, device: str, _index: int) -> None:
        self.outputs.append((name, device))

    def synchronize_outputs(self) -> None:
        self.synchronised += 1


class Session:
    """Runs nothing; its profile says what a build with or without kernels would."""

    made: ClassVar[list[Session]] = []
    providers: ClassVar[list[str]] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    kernels: ClassVar[bool] = True

    def __init__(self, source: str, options: Any, providers: list[str]) -> None:
        self.options, self.asked, self.bindings, self.runs = options, providers, [], 0
        self._source = source
        Session.made.append(self)

    def get_providers(self) -> list[str]:
        return self.providers

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y")]

    def io_binding(self) -> Binding:
        self.bindings.append(Binding())
        return self.bindings[-1]

    def run(self, *_: Any) -> None:
        raise AssertionError("copies between host and device would be timed")

    def run_with_iobinding(self, binding: Binding) -> None:
        assert binding is self.bindings[-1]
        self.runs += 1

    def end_profiling(self) -> str:
        Path(self.options.optimized_model_filepath).write_bytes(Path(self._source).read_bytes())
        events: list[dict[str, Any]] = [{"cat": "Session", "name": "model_run", "dur": 999}]
        for scale in range(self.runs):  # the first pass is slow: 10 times
            slow = 10 if scale == 0 else 1
            events.append({"cat": "Node", "name": "conv1_fence_before", "dur": 3})
            events.append({"cat": "Node", "name": "conv1_kernel_time", "dur": 500})
            if self.kernels:
                events.append({"cat": "Kernel", "name": "pad", "dur": 4 * slow})
                events.append({"cat": "Kernel", "name": "implicit_gemm", "dur": 30 * slow})
            events.append({"cat": "Node", "name": "relu1_kernel_time", "dur": 400})
            if self.kernels:
                events.append({"cat": "Kernel", "name": "relu", "dur": 6 * slow})
        path = Path(f"{self.options.profile_file_prefix}.json")
        path.write_text(json.dumps(events))
        return str(path)


@pytest.fixture(autouse=True)
def _with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    Session.made = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    put = SimpleNamespace(ortvalue_from_numpy=lambda value, device, index: (value.shape, device, index))
    monkeypatch.setattr(onnxruntime, "OrtValue", put)


def test_inputs_and_outputs_stay_on_the_device(model: Path) -> None:
    runner = OnnxRuntimeRunner(str(model), load(model), device="cuda")
    (session,) = Session.made
    (binding,) = session.bindings
    assert session.asked[0] == "CUDAExecutionProvider"
    assert binding.inputs == {"x": ((2, 4, 8, 6), "cuda", 0)} and binding.outputs == [("y", "cuda")]
    runner.run()
    assert session.runs == binding.synchronised == 2  # one when it was made
    assert not runner.single_thread and runner.batch == 2


def test_kernels_belong_to_the_node_before_them(model: Path) -> None:
    runner = OnnxRuntimeRunner(str(model), load(model), device="cuda")
    times = runner.layer_times(3, lambda: None)
    # 4 + 30 µs and 6 µs; the host's 500 and 400 are no kernels, the first pass warms up.
    assert times.seconds == {"conv1": pytest.approx(34e-6), "relu1": pytest.approx(6e-6)}


def test_a_profile_without_kernels_gives_no_layers_and_says_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "kernels", False)
    graph = load(model)
    result = measure(OnnxRuntimeRunner(str(model), graph, device="cuda"), graph, plan=QUICK)
    assert result.attribution is None
    assert any("the host's times alone" in warning for warning in result.warnings)


def test_a_provider_that_fails_silently_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "providers", ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="couldn't start its CUDA provider") as caught:
        OnnxRuntimeRunner(str(model), load(model), device="cuda")
    assert caught.value.exit_code == 4
