"""Runners: layers and rest sum to the end-to-end time, calls map to the right ops, what's missing is said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from fake_clock import FakeClock
from onnx import TensorProto, helper

from cnnprof.api import load, profile_graph
from cnnprof.errors import DependencyError, DeviceError, ModelError, UsageError
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.ir import Graph, GraphBuilder, ModelSource, Op, Role, Tensor
from cnnprof.measure.align import align
from cnnprof.measure.onnxruntime_map import covered
from cnnprof.measure.run import measure, runner_for
from cnnprof.measure.runner import LayerTimes, attribute, counted_passes, lower
from cnnprof.measure.runner_onnxruntime import OnnxRuntimeRunner
from cnnprof.measure.session import Plan
from cnnprof.timing import with_measurement

QUICK = Plan(visits=3, samples=3, seconds=0.0, warm_up_runs=3)


def chain(*op_types: str) -> Graph:
    builder = GraphBuilder(ModelSource("net", "net", "torch"))
    builder.add_tensor(Tensor("x", (1, 4), role=Role.INPUT))
    previous = "x"
    for i, op_type in enumerate(op_types):
        kind = op_type.rpartition(":")[2].partition(".")[0]
        builder.add_op(Op(f"op{i}", kind, op_type, (previous,), (f"t{i}",)), [Tensor(f"t{i}", (1, 4))])
        previous = f"t{i}"
    return builder.build(["x"], [previous])


class FakeRunner:
    """Ten milliseconds a run on a fake clock, and layers as told."""

    name, device, title, threads, batch, single_thread = "fake", "cpu", "Fake CPU", 1, 4, True
    versions: ClassVar[dict[str, str]] = {}

    def __init__(self, layers: LayerTimes, clock: FakeClock | None = None) -> None:
        self._clock, self._layers = clock or FakeClock(), layers
        self.passes = 0

    def clock(self) -> FakeClock:
        return self._clock

    def run(self) -> None:
        self._clock.spend(0.010)

    def layer_times(self, passes: int, ready: Callable[[], object]) -> LayerTimes:
        self.passes = sum(1 for _ in counted_passes(passes, ready))
        return self._layers

    def close(self) -> None:
        pass


def test_passes_wait_for_quiet_and_a_slow_model_has_fewer() -> None:
    time_s = 0.0

    def passes_of(seconds: float) -> list[int]:
        nonlocal time_s
        time_s = 0.0

        def ready() -> None:
            nonlocal time_s
            time_s += seconds

        return list(counted_passes(20, ready, lambda: time_s))

    assert passes_of(0.1) == list(range(20)) and time_s == pytest.approx(2.0)
    assert passes_of(2.0) == [0, 1, 2, 3, 4]  # five at least, though five seconds are over
    assert passes_of(0.5) == list(range(11))  # the last begins when five seconds are, and no later one


def test_a_layers_time_is_the_20th_percentile_of_its_passes() -> None:
    """A fifth of the way through six values is the second of them; of an even pair, a fifth of the way between."""
    passes = [{"a": float(value), "b": 10.0 - value} for value in (6, 1, 5, 2, 4, 3)]
    assert lower(passes) == {"a": 2.0, "b": 5.0}
    assert lower([{"a": 1.0}, {"a": 2.0}]) == {"a": pytest.approx(1.2)}
    assert lower([]) == {}


def test_layers_and_rest_sum_to_the_end_to_end_time() -> None:
    times = LayerTimes(seconds={"op0": 0.004, "op1": 0.005}, total_s=0.012)
    result = measure(FakeRunner(times), chain("aten:relu.default", "aten:tanh.default"), plan=QUICK)
    assert result.noise.quiet and result.latency_s == pytest.approx(0.010)
    section = result.to_dict()
    assert section["between_layers_s"] == pytest.approx(0.001)
    assert section["instrumentation_s"] == pytest.approx(0.002)
    assert sum(row["latency_s"] for row in section["by_layer"].values()) + section["between_layers_s"] == pytest.approx(
        0.010
    )
    assert section["throughput_per_s"] == pytest.approx(400)  # 4 samples in 10 ms
    json.dumps(section, allow_nan=False)


def test_layers_that_exceed_the_total_are_scaled_and_it_says_so() -> None:
    made = attribute(LayerTimes(seconds={"a": 0.006, "b": 0.012}, total_s=0.02), 0.009)
    assert made.scaled and made.between_layers_s == 0.0
    assert made.seconds == {"a": pytest.approx(0.003), "b": pytest.approx(0.006)}
    result = measure(
        FakeRunner(LayerTimes(seconds={"op0": 0.02}, total_s=0.03)), chain("aten:relu.default"), plan=QUICK
    )
    assert any("scaled" in warning for warning in result.warnings)


def test_a_noisy_machine_gives_no_latency_but_its_statistics() -> None:
    clock = FakeClock()

    class Stolen(FakeRunner):
        def run(self) -> None:
            clock.spend(0.010, waiting=0.01)
            clock.steal += 0.01

    graph = chain("aten:relu.default")
    result = measure(Stolen(LayerTimes(seconds={"op0": 0.01}, total_s=0.01), clock), graph, plan=QUICK)
    section = result.to_dict()
    assert result.latency_s is None and "latency_s" not in section and section["statistics"]["samples"] == 9
    assert section["noise"]["reasons"] == ["the hypervisor took 25% of the CPU time"]  # 10 ms of 20 ms, on two cores
    profile = with_measurement(profile_graph(graph, sections=()), result)
    assert "latency" not in profile.layers[0].data


def test_results_join_the_profile() -> None:
    graph = chain("aten:relu.default", "aten:tanh.default")
    times = LayerTimes(seconds={"op0": 0.004}, fused={"op0": ("op1",)}, total_s=0.01)
    profile = with_measurement(profile_graph(graph, sections=()), measure(FakeRunner(times), graph, plan=QUICK))
    assert profile.layers[0].data["latency"] == {"measured_s": 0.004}
    assert profile.layers[1].data["latency"] == {"measured_s": 0.0, "measured_in": "op0"}
    assert profile.measurement is not None and profile.measurement["by_layer"]["op0"]["fused"] == ["op1"]


# -- alignment by hand ------------------------------------------------------------------------------------


def test_calls_of_a_composite_belong_to_it() -> None:
    graph = chain("aten:relu.default", "aten:linear.default", "aten:tanh.default")
    calls = ["aten:relu.default", "aten:view.default", "aten:t.default", "aten:addmm.default", "aten:tanh.default"]
    assert align(graph, calls, {}) == [
        (("op0", 1.0),), (("op1", 1.0),), (("op1", 1.0),), (("op1", 1.0),), (("op2", 1.0),),
    ]  # fmt: skip


def test_placeholders_belong_to_the_op_before_and_a_shared_gap_is_divided_by_cost() -> None:
    graph = chain(
        "aten:batch_norm.default", "aten:relu.default", "aten:matmul.default", "aten:softmax.int", "aten:tanh.default"
    )
    calls = [
        "aten:batch_norm.default",
        "aten:empty.memory_format",
        "aten:relu.default",
        "aten:fused.default",
        "aten:tanh.default",
    ]
    owners = align(graph, calls, {"op2": 30.0, "op3": 10.0})
    assert owners[1] == (("op0", 1.0),)
    assert owners[3] == (("op2", 0.75), ("op3", 0.25))
    assert align(graph, calls, {})[3] == (("op2", 0.5), ("op3", 0.5))


# -- torch, really -------------------------------------------------------------------------------------------


def test_torch_maps_every_layer_and_adds_up() -> None:
    reference = "torchvision:shufflenet_v2_x0_5"
    options = {"inputs": ("1x3x64x64",)}
    graph = load(reference, inputs=options["inputs"])
    runner = runner_for(reference, graph, runner="torch", device="cpu", threads=1, options=options)
    try:
        result = measure(runner, graph, plan=QUICK)
        times = runner.layer_times(2, lambda: None)
    finally:
        runner.close()
    assert set(times.seconds) == {op.name for op in graph.ops}
    convolutions = [op.name for op in graph.ops if op.kind in ("conv", "linear")]
    assert len(convolutions) == 57 and all(times.seconds[name] > 0 for name in convolutions)
    assert sum(times.seconds.values()) + times.elsewhere_s <= times.total_s
    made = result.attribution
    assert made is not None
    assert sum(made.seconds.values()) + made.between_layers_s == pytest.approx(result.statistics.latency_s)


def test_torch_gives_back_threads_and_random_state() -> None:
    import torch

    before = torch.get_num_threads()
    graph = load("torchvision:squeezenet1_1", inputs=("1x3x64x64",))
    runner = runner_for(
        "torchvision:squeezenet1_1",
        graph,
        runner="torch",
        device="cpu",
        threads=before + 1,
        options={"inputs": ("1x3x64x64",)},
    )
    assert torch.get_num_threads() == before + 1 and not runner.single_thread
    runner.close()
    assert torch.get_num_threads() == before


# -- onnxruntime, really ----------------------------------------------------------------------------------------


def residual_net(channels: int) -> bytes:
    """conv → batch norm → relu → conv → + conv's input → relu, all of ``channels`` channels."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array((rng.random(shape) * 0.1 + 0.01).astype(np.float32), name)

    c = channels
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"], "bn1"),
        helper.make_node("Relu", ["n"], ["r"], "relu1"),
        helper.make_node("Conv", ["r", "w2"], ["c"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "r"], ["s"], "add"),
        helper.make_node("Relu", ["s"], ["y"], "relu2"),
    ]
    weights = [weight("w1", c, c, 3, 3), weight("w2", c, c, 3, 3), *(weight(name, c) for name in "gbmv")]
    shape = [1, c, 24, 20]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def optimised(model: bytes, tmp_path: Path) -> tuple[object, ...]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return file_nodes(tmp_path / "optimised.onnx")


def test_fused_nodes_map_back_to_the_layers_they_cover(tmp_path: Path) -> None:
    """In the blocked layout onnxruntime makes two convolutions of this, each with all that follows it."""
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(32))
    graph = load(path)
    nodes = optimised(residual_net(32), tmp_path)
    groups = {ops for ops in covered(nodes, graph).values() if ops}
    assert groups == {("conv1", "bn1", "relu1"), ("conv2", "add", "relu2")}


def test_every_op_is_covered_once_without_the_blocked_layout(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(6))  # too narrow for blocks of 8 or 16
    graph = load(path)
    names = [name for ops in covered(optimised(residual_net(6), tmp_path), graph).values() for name in ops]
    assert sorted(names) == sorted(op.name for op in graph.ops)


def test_onnxruntime_measures_and_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(32))
    graph = load(path)
    runner = OnnxRuntimeRunner(str(path), graph)
    result = measure(runner, graph, plan=QUICK)
    made = result.attribution
    assert made is not None and set(made.seconds) == {"conv1", "conv2"}
    assert result.fused == {"conv1": ("bn1", "relu1"), "conv2": ("add", "relu2")}
    assert sum(made.seconds.values()) + made.between_layers_s == pytest.approx(result.statistics.latency_s)


# -- CUDA through a fake device --------------------------------------------------------------------------------------


class FakeEvents:
    """A device that has reached ``now`` when an event is recorded; elapsed times as 32-bit milliseconds."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.recorded = 0

    def record(self) -> float:
        self.recorded += 1
        return self.now

    def elapsed_s(self, earlier: float, later: float) -> float:
        return float(np.float32((later - earlier) * 1e3)) * 1e-3


def test_cuda_clock_adds_up_event_to_event() -> None:
    from cnnprof.measure.cuda import CudaClock

    events = FakeEvents()
    clock = CudaClock(events)
    readings = []
    for _ in range(1000):
        before = clock.wall_s()
        events.now += 0.0015  # a kernel of 1.5 ms
        readings.append(clock.wall_s() - before)
    # Microseconds survive although the run is seconds long.
    assert max(abs(reading - 0.0015) for reading in readings) < 1e-8
    assert clock.wall_s() == pytest.approx(1.5)
    assert clock.cpu_s() == clock.wall_s()


def test_a_cuda_run_is_timed_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnprof.measure.cuda import CudaClock

    events = FakeEvents()

    class OnCuda(FakeRunner):
        single_thread = False

        def clock(self) -> CudaClock:  # type: ignore[override]
            return CudaClock(events)

        def run(self) -> None:
            events.now += 0.002

    result = measure(OnCuda(LayerTimes(seconds={})), chain("aten:relu.default"), plan=QUICK)
    assert result.statistics.median_s == pytest.approx(0.002, rel=1e-6)
    assert result.attribution is None


# -- what isn't there ---------------------------------------------------------------------------------------------------


def test_no_cuda_device() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.fail("this test is for machines without CUDA; run the gpu tests there")
    with pytest.raises(DeviceError, match="torch sees no CUDA device") as caught:
        runner_for(
            "torchvision:resnet18", load("torchvision:resnet18"), runner="torch", device="cuda", threads=1, options={}
        )
    assert caught.value.exit_code == 4


def test_no_cuda_provider(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(6))
    with pytest.raises(DeviceError, match="no CUDA provider"):
        OnnxRuntimeRunner(str(path), load(path), device="cuda")


def test_onnxruntime_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(6))
    graph = load(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"pip install 'cnnprof\[onnxruntime\]'") as caught:
        OnnxRuntimeRunner(str(path), graph)
    assert caught.value.exit_code == 4


def test_an_operator_the_runner_lacks(tmp_path: Path) -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], "m", domain="nobody")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", info[:1], info[1:]), ir_version=9,
                              opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)])  # fmt: skip
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="onnxruntime can't load it") as caught:
        OnnxRuntimeRunner(str(path), load(path))
    assert "\n" not in str(caught.value)


def test_runner_and_format_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(6))
    with pytest.raises(UsageError, match="torch doesn't run ONNX files"):
        runner_for(str(path), load(path), runner="torch", device="cpu", threads=1, options={})
    with pytest.raises(UsageError, match="onnxruntime runs ONNX files"):
        runner_for(
            "torchvision:resnet18",
            load("torchvision:resnet18"),
            runner="onnxruntime",
            device="cpu",
            threads=1,
            options={},
        )


def test_too_little_memory_is_said_before_the_model_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cnnprof.cli.measure import command
    from cnnprof.measure import hardware

    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(6))
    monkeypatch.setattr(hardware, "memory_available_bytes", lambda: 1000)
    result = CliRunner().invoke(command, [str(path)])
    assert isinstance(result.exception, DeviceError) and "1000 B are free" in str(result.exception)


def test_command_shows_layers_and_writes_the_profile(tmp_path: Path) -> None:
    from cnnprof.cli.measure import command

    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net(32))
    arguments = [str(path), "--visits", "3", "--samples", "3", "--quiet"]
    shown = CliRunner().invoke(command, arguments)
    assert shown.exit_code == 0, shown.output
    assert "between layers" in shown.output and "measured, onnxruntime, 1 thread" in shown.output
    out = tmp_path / "timed.json"
    made = CliRunner().invoke(command, [*arguments, "--format", "json", "-o", str(out), "--predict", "i7-12700h"])
    assert made.exit_code == 0, made.output
    document = json.loads(out.read_text())
    assert document["measurement"]["noise"]["quiet"] in (True, False)
    assert document["prediction"]["device"]["name"] == "i7-12700h"
