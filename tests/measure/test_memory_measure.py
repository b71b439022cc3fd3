"""Measured memory: the instruments against known allocations, the prediction against the instruments."""

from __future__ import annotations

import copy
import gc
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from cnnprof.analyses.memory import memory
from cnnprof.errors import DeviceError, ModelError, UsageError
from cnnprof.frontends.torch.trace import trace
from cnnprof.frontends.torch.training import backward, tensors_in
from cnnprof.measure.memory_accuracy import Case, Row, main, markdown, summary
from cnnprof.measure.memory_cuda import TorchCudaAllocator, measure_on_cuda
from cnnprof.measure.memory_record import MeasuredMemory, Sample, align, compare
from cnnprof.measure.memory_run import measure_module, measure_reference
from cnnprof.measure.memory_torch import allocator_peak, tracked_run

MB = 2**20


class Residual(nn.Module):
    """Convolution, batch norm, in-place relu, a residual, pooling, a view, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 1)
        )
        self.fc = nn.Linear(16 * 10 * 6, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.body(x)
        return self.fc(F.max_pool2d(x, 2).flatten(1))


SHAPE = (2, 3, 20, 12)


# -- the instruments ---------------------------------------------------------------------------------------------


def test_the_tracker_sees_each_storage_from_its_call_to_its_death():
    def run():
        a = torch.zeros(MB, dtype=torch.uint8)  # 1 MB
        b = a.view(2, MB // 2)  # the same storage
        c = torch.cat([b, b])  # 2 MB more
        del a, b
        return torch.cat([c, c])  # 1 MB freed, 4 MB more

    before, samples = tracked_run(run, [torch.zeros(3 * MB, dtype=torch.uint8)])
    assert before == 3 * MB
    sizes = [(s.op_type.partition(".")[0], s.live_bytes // MB) for s in samples]
    assert sizes == [("aten:zeros", 4), ("aten:view", 4), ("aten:cat", 6), ("aten:cat", 9)]


def test_the_profiler_sees_every_allocation():
    def run():
        a = torch.empty(2 * MB, dtype=torch.uint8)
        del a
        b = torch.empty(MB, dtype=torch.uint8)
        c = torch.empty(4 * MB, dtype=torch.uint8)
        del b, c

    assert allocator_peak(run) == 5 * MB


def test_the_profiler_sees_what_a_kernel_takes_for_itself():
    # An im2col buffer or a reordered copy: more than the 3-D convolution's own result.
    conv = nn.Conv3d(4, 4, 3, padding=1)
    x = torch.randn(1, 4, 8, 16, 16)
    with torch.no_grad():
        _, samples = tracked_run(lambda: conv(x), [])
        assert allocator_peak(lambda: conv(x)) >= max(s.live_bytes for s in samples) == x.nbytes


# -- prediction against measurement ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [None, "sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("training", [False, True])
def test_predicted_peak_is_the_measured_one(training, optimizer):
    if optimizer and not training:
        return
    model = Residual()
    graph = trace(model, (SHAPE,), training=training, optimizer=optimizer)
    result = memory(graph)
    measured = measure_module(model, (SHAPE,), training=training, optimizer=optimizer)
    comparison = compare(result, [op.op_type for op in graph.ops], measured)
    # Optimizers keep step counters of 4 bytes a parameter; torch may make one more scalar on the way.
    assert comparison.error == pytest.approx(0, abs=2e-3)
    assert comparison.predicted_peak_bytes == result.framework_peak.nbytes
    assert measured.workspace_bytes is not None
    assert comparison.aligned >= 0.8 * comparison.ops


def test_measuring_leaves_the_module_as_it_was():
    model = Residual().train()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    measure_module(model, (SHAPE,), training=True, optimizer="sgd")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert model.stem.weight.grad is None


class Stages(nn.Module):
    def __init__(self, recompute):
        super().__init__()
        self.recompute = recompute
        layers = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 1), nn.Tanh()) for _ in "abc"]
        self.stem = nn.Conv2d(3, 8, 1)
        self.a, self.b, self.c = layers

    def forward(self, x):
        x = self.stem(x)
        for stage in (self.a, self.b, self.c):
            x = torch_checkpoint(stage, x, use_reentrant=False) if self.recompute else stage(x)
        return x.mean((2, 3))


def test_the_checkpoint_what_if_is_what_torchs_checkpointing_does():
    shape = (4, 3, 48, 40)
    plain = trace(Stages(False), (shape,), training=True)
    before = measure_module(Stages(False), (shape,), training=True, workspace=False).peak_bytes
    after = measure_module(Stages(True), (shape,), training=True, workspace=False).peak_bytes
    assert memory(plain).peak_bytes == pytest.approx(before, rel=0.02)
    predicted = memory(plain, checkpoint_modules=["a", "b", "c"]).peak_bytes
    assert after < 0.8 * before
    assert predicted == pytest.approx(after, rel=0.02)


@pytest.mark.parametrize("training", [False, True])
def test_torchs_memtracker_under_fake_tensors_agrees(training):
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    with FakeTensorMode():
        model = Residual().train(training)
        x = torch.randn(SHAPE)
        tracker = MemTracker()
        tracker.track_external(model, x)
        with tracker, torch.set_grad_enabled(training):
            outputs = tensors_in(model(x))
            if training:
                backward(outputs)
        peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert memory(trace(Residual(), (SHAPE,), training=training)).framework_peak.nbytes == peak


def test_a_failing_model_is_one_line():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no such luck\nsecond line")

    with pytest.raises(ModelError, match="Broken: the measured run failed: ValueError: no such luck; try"):
        measure_module(Broken(), (SHAPE,))
    with pytest.raises(UsageError, match="--device tpu"):
        measure_module(Residual(), (SHAPE,), device="tpu")


def test_a_reference_at_another_batch():
    measured = measure_reference("torchvision:squeezenet1_1", batch=2, initialise=False, workspace=False)
    # 1,235,496 parameters of 4 bytes, and the input 2x3x224x224
    assert measured.resident_bytes == 4 * (1_235_496 + 2 * 3 * 224 * 224)


# -- comparing -----------------------------------------------------------------------------------------------------


def test_alignment_steps_over_what_one_side_takes_apart():
    predicted = ["aten:convolution.default", "aten:linear.default", "aten:relu.default", "aten:add.Tensor"]
    measured = [
        *("aten:convolution.default", "aten:detach.default", "aten:t.default", "aten:addmm.default"),
        *("aten:relu.default", "aten:add.Tensor"),
    ]
    assert align(predicted, measured) == [(0, 0), (1, 3), (2, 4), (3, 5)]
    fused = [
        "aten:convolution.default",
        "aten:_native_multi_head_attention.default",
        "aten:add.Tensor",
        "aten:mul.Tensor",
    ]
    apart = [
        *("aten:convolution.default", "aten:matmul.default", "aten:_softmax.default", "aten:matmul.default"),
        *("aten:add.Tensor", "aten:mul.Tensor"),
    ]
    assert align(apart, fused) == [(0, 0), (4, 2), (5, 3)]
    assert align(predicted, []) == []


def test_comparison_names_the_biggest_difference():
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), ((1, 3, 4, 4),))
    result = memory(graph)
    # input 192, weight 48, bias 16, two results of 256: conv 512, relu 768
    assert result.framework_live_bytes == (512, 768)
    samples = (Sample("aten:convolution.default", 600), Sample("aten:relu.default", 768))
    measured = MeasuredMemory(device="cpu", method="by hand", mode="inference", resident_bytes=256, samples=samples)
    found = compare(result, [op.op_type for op in graph.ops], measured)
    assert (found.error, found.aligned, found.ops) == (0.0, 2, 2)
    assert [(d.op, d.bytes_more) for d in found.differences] == [(result.op_names[0], 88)]
    assert measured.to_dict()["peak_op_type"] == "aten:relu.default"


# -- CUDA, driven by a fake -------------------------------------------------------------------------------------


class FakeAllocator:
    """A device with 1000 bytes of weights; a run takes 512 and 1024, frees one, takes 256."""

    def __init__(self, fails=False):
        self.calls, self.fails, self.held = [], fails, 0

    def synchronize(self):
        self.calls.append("synchronize")

    def empty_cache(self):
        self.calls.append("empty_cache")

    def reset_peak(self):
        self.calls.append("reset_peak")

    def allocated_bytes(self):
        return 1000 + self.held

    def allocated_bytes_peak(self):
        return 2536 + self.held

    def requested_bytes_peak(self):
        return 2500 + self.held

    def record_history(self, enabled):
        self.calls.append(f"history {enabled}")

    def history(self):
        return [
            {"action": "alloc", "size": 512},
            {"action": "segment_alloc", "size": 2 * MB},
            {"action": "alloc", "size": 1024},
            {"action": "free_requested", "size": 512},
            {"action": "free_completed", "size": 512},
            {"action": "alloc", "size": 256},
        ]

    def release_workspaces(self):
        self.calls.append("release")
        self.held = 0


def test_cuda_statistics_and_snapshot():
    allocator = FakeAllocator()
    measured = measure_on_cuda(
        lambda: allocator.calls.append("run"), allocator, mode="training", reset=lambda: allocator.calls.append("reset")
    )
    assert allocator.calls == [
        *("release", "run", "reset", "synchronize", "empty_cache", "reset_peak"),
        *("history True", "run", "synchronize", "history False", "reset", "release"),
    ]
    assert measured.resident_bytes == 1000
    assert [s.live_bytes for s in measured.samples] == [1512, 2536, 2024, 2280]
    # The peak is what was asked for; the allocator's has its rounding in it.
    assert (measured.peak_bytes, measured.allocator_peak_bytes, measured.workspace_bytes) == (2500, 2536, 36)
    assert measured.held_bytes == 0


def test_what_cublas_holds_is_no_tensor_s():
    """33 MiB: what was seen on an H200 after the first linear layer."""
    allocator = FakeAllocator()

    def run():
        allocator.held = 33 * MB

    measured = measure_on_cuda(run, allocator, mode="inference")
    assert measured.held_bytes == 33 * MB and measured.resident_bytes == 1000
    assert (measured.peak_bytes, measured.allocator_peak_bytes) == (2500, 2536 + 33 * MB)
    assert measured.workspace_bytes == 36 + 33 * MB
    assert [s.live_bytes for s in measured.samples] == [1512, 2536, 2024, 2280]
    assert measured.to_dict()["held_bytes"] == 33 * MB


def test_cuda_history_is_switched_off_after_a_failure():
    allocator = FakeAllocator()
    runs = iter([None])

    def run():
        next(runs)

    with pytest.raises(StopIteration):
        measure_on_cuda(run, allocator, mode="inference")
    assert allocator.calls[-1] == "history False"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_cuda_without_a_device_is_one_line():
    with pytest.raises(DeviceError, match="cuda: no device") as caught:
        TorchCudaAllocator()
    assert caught.value.exit_code == 4
    with pytest.raises(DeviceError):
        measure_module(Residual(), (SHAPE,), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_prediction_with_the_allocators_rounding():
    result = memory(trace(Residual(), ((8, 3, 20, 12),)), rounding_bytes=512)
    gc.collect()  # what other tests left there
    measured = measure_module(Residual(), ((8, 3, 20, 12),), device="cuda")
    found = measured.allocator_peak_bytes - measured.held_bytes
    assert result.framework_peak.nbytes == pytest.approx(found, rel=0.15), measured


# -- the accuracy report --------------------------------------------------------------------------------------


def test_accuracy_report_of_one_model(tmp_path, capsys):
    code = main(["squeezenet1_1", "--batches", "1", "--reports", str(tmp_path)])
    assert code == 0
    assert capsys.readouterr().out.startswith("2 of 2 within 5 %")
    data = json.loads((tmp_path / "memory-accuracy.json").read_text())
    assert data["summary"]["passes"] is True
    assert {(r["mode"], r["batch"]) for r in data["rows"]} == {("inference", 1), ("training", 1)}
    assert all(abs(r["error"]) < 0.05 for r in data["rows"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory-accuracy.json", "memory-accuracy.md"]


def test_accuracy_report_lists_what_wasnt_run(tmp_path, capsys):
    assert main(["squeezenet1_1", "--batches", "1", "--limit", "1MiB", "--reports", str(tmp_path)]) == 1
    text = (tmp_path / "memory-accuracy.md").read_text()
    assert "squeezenet1_1, training, batch 1: predicted peak of 0.0 GiB is above the limit" in text


def test_accuracy_verdict():
    def row(error):
        measured = MeasuredMemory(device="cpu", method="", mode="inference", resident_bytes=1000)
        result = memory(trace(nn.Sequential(nn.ReLU()), ((1, 4),)))
        found = compare(result, [], measured)
        object.__setattr__(found, "predicted_peak_bytes", round(1000 * (1 + error)))
        return Row(case=Case("m", 1, False), predicted_bytes=1, convention_bytes=1, measured_bytes=1, comparison=found)

    good = [row(0.01)] * 19
    assert summary([*good, row(0.14)])["passes"] is True  # 95 %
    assert summary([*good, row(-0.16)])["passes"] is False  # beyond 15 %
    assert summary([*good, row(0.1), row(0.1)])["passes"] is False  # 19 of 21
    assert summary([])["passes"] is False
    assert "+14.00 %" in markdown([row(0.14)], "torch x")
