"""``cnnprof rf`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from cnnprof.analyses.receptive_field import receptive_field
from cnnprof.api import load
from cnnprof.frontends.torch.trace import trace


@pytest.fixture(scope="module")
def gridded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """x(1,1,20,16) -> three 3x3 of rate 2, with weights."""
    nodes, weights, source = [], [], "x"
    for number in range(3):
        weights.append(helper.make_tensor(f"w{number}", TensorProto.FLOAT, (1, 1, 3, 3), [0.5] * 9))
        nodes.append(
            helper.make_node(
                "Conv", [source, f"w{number}"], [f"y{number}"], f"conv{number}", dilations=[2, 2], pads=[2] * 4
            )
        )
        source = f"y{number}"
    graph = helper.make_graph(
        nodes,
        "gridded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 20, 16))],
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, (1, 1, 20, 16))],
        weights,
    )
    path = tmp_path_factory.mktemp("rf") / "gridded.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return str(path)


def test_the_table_names_gridding(cnnprof, gridded):
    done = cnnprof("rf", gridded)
    assert done.returncode == 0, done.stderr
    assert "13×13" in done.stdout and "gridding" in done.stdout
    assert "holes open at: conv0" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 92
    assert "\x1b" not in done.stdout


def test_the_picture_shows_the_holes(cnnprof, gridded):
    """The middle unit: every second row and column of 13, seven of them, drawn two characters wide."""
    done = cnnprof("rf", gridded, "--layer", "conv2", "--position", "10,8")
    assert done.returncode == 0, done.stderr
    rows = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith(("·", "█"))]
    full = [row for row in rows if row.count("██") == 7]
    assert len(full) == 7
    assert "49 positions" in done.stdout


def test_a_position_alone_is_of_the_last_layer(cnnprof, gridded):
    done = cnnprof("rf", gridded, "--position", "0,0")
    assert done.returncode == 0, done.stderr
    assert "conv2 (conv) sees of x" in done.stdout
    # three steps of rate 2 reach 0, 2, 4, 6 on each axis from a corner: 4·4
    assert "16 positions" in done.stdout


def test_verify_onnx_agrees(cnnprof, gridded):
    done = cnnprof("rf", gridded, "--verify", "--format", "json")
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["verified"]
    assert len(checks) == 6  # two layers, three units each
    assert all(check["agrees"] and check["reached"] == check["predicted"] > 0 for check in checks)
    middle = next(c for c in checks if c["layer"] == "conv2" and c["position"] == [10, 8])
    assert middle["reached"] == 49


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--layer", "conv9"), "did you mean"),
        (("--layer", "conv1", "--position", "99,0"), "outside"),
        (("--layer", "conv1", "--position", "1"), "spatial axes"),
        (("--layer", "conv1", "--position", "a,b"), "not indices"),
        (("--position", "99,0"), "outside"),
        (("--verify", "--batch", "3"), "run one sample"),
        (("--layer", "conv1", "--effective"), "PyTorch"),
    ],
)
def test_bad_requests_are_one_line(cnnprof, gridded, arguments, part):
    done = cnnprof("rf", gridded, *arguments)
    assert done.returncode == 2
    assert part in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_verify_and_effective_of_a_torch_model(cnnprof, tmp_path: Path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 1, 1))\n",
        encoding="utf-8",
    )
    done = cnnprof(
        "rf", "net.py:net", "--input", "1x3x24x20", "--verify", "--layer", "3", "--effective", "--samples", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "all positions equal" in done.stdout
    assert "effective field at initialisation, 2 inputs" in done.stdout


def test_torch_and_onnx_give_the_same_fields(tmp_path: Path):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 7, 2, 3)
            self.left = nn.Conv2d(8, 8, 3, 1, 1)
            self.right = nn.Conv2d(8, 8, 3, 1, 2, dilation=2)
            self.up = nn.ConvTranspose2d(16, 4, 4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x))
            x = torch.cat([self.left(x), self.right(x)], 1)
            return self.up(nn.functional.max_pool2d(x, 3, 2, 1))

    module, x = Net().eval(), torch.zeros(1, 3, 48, 40)
    path = tmp_path / "net.onnx"
    torch.onnx.export(module, (x,), path, dynamo=True, verbose=False)
    ours = receptive_field(trace(module, (x,))).rows
    theirs = receptive_field(load(path)).rows

    def windows(rows):
        return [
            (r.kind, r.size, r.stride, r.padding, r.density, r.aligned)
            for r in rows
            if r.kind in ("conv", "max_pool", "conv_transpose", "concat")
        ]

    assert len(windows(ours)) == 6
    assert windows(ours) == windows(theirs)
