"""The whole of ``gpu_check`` on a fake CUDA device, whose times are worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_cuda import FACTS, FakeCuda

from cnnprof.errors import DeviceError
from cnnprof.measure import calibrate_cuda as module
from cnnprof.measure import gpu_check
from cnnprof.measure import gpu_check_parts as parts
from cnnprof.measure.accuracy import Compared
from cnnprof.measure.calibrate import Calibration
from cnnprof.measure.gpu_check import LIMIT_S, MEMORY_MODELS, MODELS, Check, main
from cnnprof.measure.gpu_check_parts import Profiles, check_timing, works
from cnnprof.measure.memory_record import MeasuredMemory
from cnnprof.measure.session import Plan

SIZES = {"side": 4096, "channels": 256, "spatial": 56, "batch": 64}
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_cuda: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_TIMING", "_MODEL", "_AGAIN"):
            patch.setattr(parts, name, Plan(visits=3, samples=3, seconds=0.0))
        yield


def test_what_fails_on_the_device_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_reference: str, _cuda: FakeCuda) -> None:
        raise RuntimeError("CUDA error: misaligned address\nlong story")

    monkeypatch.setattr(parts, "TorchCuda", FakeCuda)
    with pytest.raises(DeviceError, match="RuntimeError: CUDA error: misaligned address;") as caught:
        parts._on_torch(breaks, ("resnet18",))
    assert "long story" not in str(caught.value)
    assert parts._on_torch(lambda value, cuda: (value, type(cuda)), (3,)) == (3, FakeCuda)


def test_timing_by_three_clocks() -> None:
    """By hand: 2·4096³ = 137 438 953 472 FLOP at 20 000/ns = 6 871 947 ns, + 2 µs. One run by events also has its
    launch, 6 µs; twenty in a row have one launch in all."""
    cuda = FakeCuda()
    matmul, conv = works(cuda, **SIZES)
    found = check_timing(cuda, matmul)
    kernel = 6_873_947e-9
    assert found["kernel_s"] == pytest.approx(kernel)
    assert found["session_s"] == pytest.approx(kernel + 6e-6)
    assert found["events_alone_s"] == pytest.approx(kernel + 6e-6)
    assert found["events_by_hand_s"] == pytest.approx(kernel + 0.3e-6)
    assert found["passed"] and found["failed"] == []
    # The H100's datasheet says 66.9 TFLOP/s (SXM).
    assert found["share_of_peak"] == pytest.approx(137_438_953_472 / (kernel + 0.3e-6) / 66.9e12)
    assert conv.flops == 4 * 2 * 64 * 56 * 56 * 256 * 256 * 9 and conv.tf32 and not matmul.tf32


def test_measured_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two quiet measurements: their middle counts. A noisy first one gives way to a quiet second one, and stays where
    that is noisy too."""
    first = Compared(
        model="m", measured_s=2.0, first_s=2.0, predicted_s=2.0, low_s=1.0, high_s=3.0, half_width=0.2, quiet=True
    )
    noisy = replace(first, quiet=False, reasons=("why",))
    profile = SimpleNamespace(data={})
    found = SimpleNamespace(
        statistics=SimpleNamespace(latency_s=8.0, half_width=0.01), noise=SimpleNamespace(quiet=True)
    )
    monkeypatch.setattr(parts, "measure", lambda *_, **__: found)
    monkeypatch.setattr(parts, "load_graph", lambda _: None)
    monkeypatch.setattr(parts, "TorchRunner", lambda *_, **__: SimpleNamespace(close=lambda: None))

    def again(row: Compared) -> Compared:
        return parts.measured_again("m", row, profile, FakeCuda())  # type: ignore[arg-type]

    assert (again(first).measured_s, again(first).first_s, again(first).again_s) == (4.0, 2.0, 8.0)
    quiet = again(noisy)
    assert (quiet.measured_s, quiet.half_width, quiet.quiet, quiet.reasons, quiet.again_s) == (
        8.0,
        0.01,
        True,
        (),
        None,
    )
    found.noise.quiet = False
    assert again(first) == first and again(noisy) == noisy


def test_a_wrong_clock_is_found() -> None:
    class Slow(FakeCuda):
        """Events say half of what passes."""

        def __init__(self) -> None:
            super().__init__()
            whole = self.events.elapsed_s
            self.events.elapsed_s = lambda a, b: whole(a, b) / 2

    cuda = Slow()
    found = check_timing(cuda, works(cuda, **SIZES)[0])
    assert found["failed"] == ["kernels agree with events"] and not found["passed"]

    class Fast(FakeCuda):
        """Everything in a tenth of the time: 200 TFLOP/s of float32."""

        def launch(self, name: str, duration_ns: int, host_ns: int = 600) -> None:
            super().launch(name, duration_ns // 10, 600)

    cuda = Fast()
    assert check_timing(cuda, works(cuda, **SIZES)[0])["failed"] == ["not above the peak"]


def test_the_whole_check(tmp_path: Path, cuda_calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "calibrate_cuda", lambda **_: cuda_calibration)
    models = ("torchvision:squeezenet1_1", "torchvision:mnasnet0_5", "nowhere:model")
    memory = MeasuredMemory(
        device="cuda", method="fake", mode="inference", resident_bytes=20 * MIB, tensor_peak=30 * MIB,
        allocator_peak_bytes=42 * MIB, held_bytes=10 * MIB,
    )  # fmt: skip
    cuda = FakeCuda(memory={models[0]: memory})
    out = tmp_path / "reports" / "gpu.json"
    found = Check(cuda, out, models=models, memory_models=models[:1]).run()
    assert json.loads(out.read_text())["models"] == found["models"]
    assert found["schema"] == "cnnprof.accuracy/1" and found["gpu_check"]["schema"] == "cnnprof.gpu-check/1"
    assert [row["model"] for row in found["models"]] == list(models[:2])
    assert list(found["failed"]) == ["nowhere:model"]
    assert found["gpu_check"]["timing_passed"] and found["gpu_check"]["skipped"] == []
    assert found["versions"]["driver"] == "550.54.15" and found["hardware"]["processor"] == FACTS.name
    assert found["runner"] == "torch" and found["cuda_graph"]["runner"] == "torch-cuda-graph"
    # The fake device has no noise: measured twice, the same.
    assert all(row["again_s"] == pytest.approx(row["measured_s"]) for row in found["models"])
    assert found["layers"] == {} and found["cuda_graph"]["layers"]["count"] > 20
    assert found["errors"]["worst"] < 0.10 and found["cuda_graph"]["errors"]["worst"] < 0.35
    (row,) = found["gpu_check"]["memory"]["models"]
    weights = 1_235_496 * 4  # squeezenet1_1: torchvision's own count
    assert row["held_by_libraries_bytes"] == 10 * MIB
    assert row["error"] == pytest.approx(row["predicted_bytes"] / (42 * MIB) - 1)
    assert row["error_of_tensors"] == pytest.approx(row["predicted_bytes"] / (32 * MIB) - 1)
    assert row["allocated_bytes"] == 42 * MIB and row["requested_bytes"] == 30 * MIB
    assert weights < row["predicted_bytes"] < weights + 12 * MIB


class Hours:
    """Steps of known length on a clock that only they move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
        self.now_s = 0.0
        row = Compared(model="m", measured_s=1.0, predicted_s=1.1, low_s=1.0, high_s=1.2, half_width=0.0, quiet=True)
        profile = Calibration.__new__(Calibration)
        facts = {"name": "p", "runner": "torch"}
        device = type("Device", (), {**facts, "data": {}})()
        object.__setattr__(profile, "profile", device)
        object.__setattr__(profile, "graph", device)
        object.__setattr__(profile, "interrupted", False)
        results: dict[str, Any] = {
            "check_work": {"passed": True},
            "judge_model": (row, None),
            "check_memory": {"error_of_tensors": 0.01},
            "measured_again": row,
        }
        monkeypatch.setattr(gpu_check, "gc", SimpleNamespace(collect=lambda: 0))
        for name, result in results.items():
            monkeypatch.setattr(gpu_check, name, self._step(seconds[name], result))
        monkeypatch.setattr(module, "calibrate_cuda", self._step(seconds["calibrate"], profile))

    def _step(self, seconds: float, result: Any) -> Any:
        def step(*_: Any, **__: Any) -> Any:
            self.now_s += seconds
            if isinstance(result, BaseException):
                raise result
            return result

        return step


def test_the_limit_holds_and_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 450 s: timing 2 · 5, calibration 150: 290 left. A network takes 25, and 45 for memory and the longest one so
    far must be left: nine fit (after eight 90 are left, after nine 65). Memory 10 · 4: 25 left, enough for one more
    network at its longest; it takes 10, and 15 aren't enough for the next."""
    hours = Hours(
        monkeypatch, check_work=5.0, calibrate=150.0, judge_model=25.0, check_memory=4.0, measured_again=10.0
    )  # fmt: skip
    found = Check(FakeCuda(), tmp_path / "x.json", now=lambda: hours.now_s).run()["gpu_check"]
    assert found["spent_s"] == 435.0 <= LIMIT_S
    judged = [f"{model}: no time left" for model in MODELS[9:]]
    assert found["skipped"] == judged + [f"again {model}: no time left" for model in reversed(MODELS[:8])]
    assert len(found["memory"]["models"]) == len(MEMORY_MODELS) == 10


def test_without_a_calibration_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hours = Hours(monkeypatch, check_work=1.0, calibrate=1.0, judge_model=1.0, check_memory=1.0, measured_again=1.0)

    def broken(**_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access\nlong story")

    monkeypatch.setattr(module, "calibrate_cuda", broken)
    found = Check(FakeCuda(), tmp_path / "x.json", now=lambda: hours.now_s).run()
    assert found["failed"] == {"calibration": "RuntimeError: CUDA error: an illegal memory access"}
    assert found["gpu_check"]["skipped"] == [f"{model}: no calibration" for model in MODELS]
    assert len(found["gpu_check"]["memory"]["models"]) == 10 and found["calibration"] == {}


def test_ctrl_c_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hours = Hours(monkeypatch, check_work=1.0, calibrate=1.0, judge_model=1.0, check_memory=1.0, measured_again=1.0)
    monkeypatch.setattr(gpu_check, "check_memory", hours._step(1.0, KeyboardInterrupt()))
    found = (
        json.loads((tmp_path / "x.json").read_text())
        if Check(FakeCuda(), tmp_path / "x.json", now=lambda: hours.now_s).run()
        else {}
    )
    assert found["interrupted"] is True and len(found["models"]) == len(MODELS)


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Hours(monkeypatch, check_work=0.0, calibrate=0.0, judge_model=0.0, check_memory=0.0, measured_again=0.0)
    out = tmp_path / "a" / "x.json"
    assert main(["-o", str(out)], FakeCuda()) == 0
    assert "timing right" in capsys.readouterr().out and out.exists()
    monkeypatch.setattr(gpu_check, "check_work", lambda *_: {"passed": False})
    assert main(["-o", str(out)], FakeCuda()) == 1
    assert "timing WRONG" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["-o", str(tmp_path / "file" / "x.json")], FakeCuda()) == 2
    assert capsys.readouterr().err.count("error: ") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_without_a_device_one_line_and_nothing_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cnnprof.measure.gpu_check", "-o", str(tmp_path / "x.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4 and done.stdout == "" and list(tmp_path.iterdir()) == []
    assert done.stderr.startswith("error: --device cuda: ") and done.stderr.count("\n") == 1


def test_the_lists_are_of_the_ones_judged_on() -> None:
    from cnnprof.measure.accuracy_models import MODELS as ALL

    assert len(MODELS) == len(ALL) and set(MODELS) == set(ALL)
    assert len(set(MEMORY_MODELS)) == 10 and set(MEMORY_MODELS) <= set(MODELS[:20])
    assert math.isclose(LIMIT_S, 450.0)
    assert Profiles.__dataclass_fields__.keys() == {"eager", "graph"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_really_on_a_gpu(tmp_path: Path) -> None:
    from cnnprof.measure.cuda_torch import TorchCuda

    found = Check(
        TorchCuda(), tmp_path / "x.json", models=MODELS[:2], memory_models=MEMORY_MODELS[:2], calibrate_s=25.0
    ).run()
    assert found["failed"] == {} and found["gpu_check"]["timing_passed"]
    assert len(found["models"]) == 2 and len(found["cuda_graph"]["models"]) == 2
