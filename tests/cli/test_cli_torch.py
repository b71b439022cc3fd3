"""The command line on PyTorch models: references, options, exit codes, cross-checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cnnprof.cli.main import entry

Run = Callable[..., "CompletedProcess[str]"]

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, groups=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
    def forward(self, image, scale=None):
        y = self.norm(self.conv(image))
        return y if scale is None else y * scale

def raises():
    raise RuntimeError("no such backbone")
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    return "nets.py"


def test_analyze_a_factory_with_options(cnnprof: Run, nets: str) -> None:
    done = cnnprof(
        "analyze", f"{nets}:Net", "--input", "image=1x3x10x8", "--input", "scale=1x1x1x1", "--batch", "2",
        "--kwargs", "width=5", "--format", "json",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    # 2 samples, 5 channels, 8x6 positions, 27 taps.
    assert data["totals"]["macs"] == 2 * 5 * 48 * 27
    assert data["model"]["format"] == "torch"
    assert [layer["name"] for layer in data["layers"]] == ["conv/conv", "norm/batch_norm", "mul"]


def test_a_file_by_its_module_name_in_the_current_folder(cnnprof: Run, nets: str) -> None:
    done = cnnprof("analyze", "nets:Net", "--input", "1x3x10x8", "--format", "json")
    assert json.loads(done.stdout)["totals"]["macs"] == 4 * 48 * 27


def test_training_with_an_optimizer(cnnprof: Run, nets: str) -> None:
    done = cnnprof(
        "analyze", f"{nets}:Net", "--input", "1x3x10x8", "--training", "--optimizer", "momentum", "--format", "json"
    )
    data = json.loads(done.stdout)
    assert data["mode"] == "training"
    # Forward and the weight gradient; nothing asks for the image's gradient.
    assert data["totals"]["macs"] == 2 * 4 * 48 * 27


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["{nets}:raises", "--input", "1x3"], 3, "no such backbone"),
        (["{nets}:Nett", "--input", "1x3"], 3, "did you mean Net"),
        (["{nets}:Net"], 3, "--input 1x3x224x224"),
        (["{nets}:Net", "--input", "1x4x10x8"], 3, "in conv: Conv2d(3, 4"),
        (["{nets}:Net", "--input", "picture=1x3x10x8"], 3, "image"),
        (["{nets}:Net", "--input", "int64:1x3x10x8"], 3, "the input's dtype doesn't fit"),
        (["nowhere.nets:Net", "--input", "1x3"], 3, "no module named 'nowhere'"),
        (["torch:tensor", "--input", "1x3", "--kwargs", "data=1"], 3, "expected a torch.nn.Module, got Tensor"),
        (["torchvision:resnet51"], 3, "did you mean resnet50"),
        (["missing.pt2"], 3, "no such file"),
        (["{nets}:Net", "--input", "1x3x10x8", "--optimizer", "sgd"], 2, "--training"),
    ],
)
def test_bad_input_is_one_line(
    nets: str,
    arguments: list[str],
    code: int,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: importing torch a dozen times would be all the test does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cnnprof", "analyze", *(a.format(nets=nets) for a in arguments)])
    with pytest.raises(SystemExit) as left:
        entry()
    said = capsys.readouterr()
    assert left.value.code == code
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert named in said.err


def test_debug_shows_the_traceback(cnnprof: Run, nets: str) -> None:
    done = cnnprof("--debug", "analyze", f"{nets}:raises", "--input", "1x3")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert 'raise RuntimeError("no such backbone")' in done.stderr


def test_crosscheck_lists_and_closes(cnnprof: Run, nets: str) -> None:
    done = cnnprof("crosscheck", f"{nets}:Net", "--input", "1x3x10x8", "--against", "fvcore")
    assert (done.returncode, done.stderr) == (0, "")
    assert "norm · normalisation: 0 ours, 384 fvcore" in done.stdout  # 4 channels x 48 positions x 2
    assert "Every difference is explained" in done.stdout
    done = cnnprof("crosscheck", f"{nets}:Net", "--input", "1x3x10x8", "--against", "torch", "--format", "json")
    assert json.loads(done.stdout)["gap"] == 0


def test_crosscheck_by_convention(cnnprof: Run, nets: str, light_resnet50: str) -> None:
    done = cnnprof("crosscheck", f"{nets}:Net", "--input", "1x3x10x8", "--convention", "thop", "--format", "json")
    assert json.loads(done.stdout)["total"] == 4 * 48 * 27 + 4 * 48 * 4
    done = cnnprof("crosscheck", light_resnet50, "--convention", "paper")
    assert done.returncode == 0
    assert "total, in MACs" in done.stdout


def test_crosscheck_wrong_uses(cnnprof: Run, nets: str, light_resnet50: str) -> None:
    for arguments in ([f"{nets}:Net"], [light_resnet50, "--against", "torch"]):
        done = cnnprof("crosscheck", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
