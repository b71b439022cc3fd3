"""The pytest plugin, run for real: a test suite of its own in a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest
import cnnprof
from cnnprof.pytest_plugin import assert_within_budget as plain


def test_holds(assert_within_budget):
    verdict = assert_within_budget("net.onnx", macs="1050624", parameters="2k")
    assert verdict.metrics["macs"] == 1050624


def test_breaks(assert_within_budget):
    assert_within_budget("net.onnx", macs="1 MMACs")


def test_grows(assert_within_budget):
    assert_within_budget("net.onnx", max_increase={"macs": "2%"})


def test_plain():
    plain(cnnprof.analyze("net.onnx"), macs="2M")
    with pytest.raises(AssertionError, match="fail  macs"):
        plain("net.onnx", macs=1)


def test_wrong_keyword(assert_within_budget):
    with pytest.raises(cnnprof.CnnprofError, match="did you mean 'macs'"):
        assert_within_budget("net.onnx", macz=1)
"""


def run_pytest(repo, *arguments: str) -> subprocess.CompletedProcess[str]:
    registered = any(e.value == "cnnprof.pytest_plugin" for e in importlib.metadata.entry_points(group="pytest11"))
    plugin = [] if registered else ["-p", "cnnprof.pytest_plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "-p", "no:cacheprovider", *plugin, *arguments],
        cwd=repo.root, env=repo.env(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def suite(repo, write_net):
    repo.write("test_cost.py", SUITE)
    write_net(repo.root / "net.onnx")
    return repo


def test_limits_explain_and_update_sets_the_baseline(suite, write_net) -> None:
    first = run_pytest(suite)
    assert first.returncode == 1, first.stdout
    assert "2 failed, 3 passed" in first.stdout
    assert "expected at most 1.00M (1,000,000), found 1.05M (1,050,624), 5.06% over" in first.stdout
    assert "no baseline for this model" in first.stdout
    assert "run: pytest --cnnprof-update" in first.stdout
    assert not (suite.root / "cnnprof-baseline.json").exists()

    updated = run_pytest(suite, "--cnnprof-update", "-k", "grows")
    assert updated.returncode == 0, updated.stdout
    entries = json.loads((suite.root / "cnnprof-baseline.json").read_text())["budgets"]
    assert list(entries) == ["test_cost.py::test_grows"]
    assert run_pytest(suite, "-k", "grows").returncode == 0

    write_net(suite.root / "net.onnx", width=12)
    grown = run_pytest(suite, "-k", "grows")
    assert grown.returncode == 1
    assert "+50% (+525,312)" in grown.stdout
    assert "~ conv1 (conv): +442,368 MACs, 84% of the change" in grown.stdout


def test_modules_are_checked_where_they_stand(repo) -> None:
    pytest.importorskip("torch")
    repo.write(
        "test_module.py",
        "import torch\n\n"
        "def test_module(assert_within_budget):\n"
        "    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())\n"
        "    before = {k: v.clone() for k, v in model.state_dict().items()}\n"
        "    verdict = assert_within_budget(model, (torch.zeros(1, 3, 32, 24),), macs=165_888, parameters=224)\n"
        "    assert verdict.metrics['macs'] == 165_888  # 8*3*9*32*24\n"
        "    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())\n",
    )
    run = run_pytest(repo)
    assert run.returncode == 0, run.stdout


def test_loading_the_plugin_loads_no_analysis(repo) -> None:
    code = (
        "import sys, cnnprof.pytest_plugin; "
        "print([m for m in ('torch', 'onnx', 'numpy', 'networkx', 'jinja2', 'cnnprof.api') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(repo.root))
    assert done.stdout.strip() == "[]"


def test_update_refuses_several_processes(suite) -> None:
    pytest.importorskip("xdist")
    run = run_pytest(suite, "--cnnprof-update", "-n", "2")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "runs in one process" in run.stderr
