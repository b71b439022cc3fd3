"""``cnnprof memory`` as a user runs it."""

from __future__ import annotations

import json

import pytest

MODEL = """
import torch
def net():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1))
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "nets.py").write_text(MODEL)
    return ["nets.py:net", "--input", "1x3x16x16"]


# weights: 8·3·9 + 8 + 4·8 + 4 = 260 floats = 1040 bytes; input 3072; conv 8192, relu 8192, conv 4096
WEIGHTS, INPUT, WIDE = 1040, 3072, 8192
PEAK = WEIGHTS + INPUT + 2 * WIDE


def test_json_has_the_whole_section(cnnprof, net):
    done = cnnprof("memory", *net, "--format", "json", "--reorder")
    assert (done.returncode, done.stderr) == (0, "")
    section = json.loads(done.stdout)["memory"]
    assert section["peak_bytes"] == PEAK
    assert section["peak"]["index"] == 1
    assert section["timeline"]["live_bytes"] == [PEAK - WIDE, PEAK, PEAK - WIDE // 2]
    assert section["arena"]["bytes"] == section["arena"]["lower_bound_bytes"] == 2 * WIDE
    assert section["reordered"]["order"] == ["0/conv", "1/relu", "2/conv"]
    assert section["framework"]["peak"]["bytes"] == PEAK


def test_text_fits_80_columns(cnnprof, net):
    done = cnnprof("memory", *net, "--training", "--optimizer", "adam", "--measure", "--fit", "1MiB")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for part in ("Peak", "Planned arena", "Alive at the peak", "What would lower", "Fits into", "Measured on cpu"):
        assert part in done.stdout


def test_fit_is_exact(cnnprof, net):
    done = cnnprof("memory", *net, "--fit", "100000", "--format", "json")
    fit = json.loads(done.stdout)["memory"]["fit"]
    per_sample = INPUT + 2 * WIDE
    assert fit["batch"]["value"] == (100_000 - WEIGHTS) // per_sample == 5
    assert fit["side"]["value"] == 36  # 1040 + 36²·(12 + 32 + 32) = 99,536; 37: 105,084


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--fit", "1000"], 1, "the weights alone take 1.02 KiB"),
        (["--fit", "5000"], 1, "a batch of 1 needs 20.0 KiB"),
        (["--fit", "plenty"], 2, "size 'plenty'"),
        (["--dtype", "float17"], 2, "dtype 'float17'"),
        (["--dtype", "grads=float16"], 2, "grads=float16"),
        (["--training", "--checkpoint", "nope*"], 2, "--checkpoint nope*: matches no module"),
        (["--checkpoint", "0"], 2, "nothing is saved for backward in inference"),
        (["--measure", "--dtype", "float16"], 2, "--measure: runs the model as it is"),
    ],
)
def test_bad_input_is_one_line(cnnprof, net, options, code, message):
    done = cnnprof("memory", *net, *options)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_onnx_files_are_not_measured(cnnprof, light_resnet50):
    done = cnnprof("memory", light_resnet50, "--measure")
    assert done.returncode == 2
    assert "--measure runs PyTorch models" in done.stderr
