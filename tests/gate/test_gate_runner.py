"""How the gate runs: processes, the cache, models that hang or die, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cnnprof.gate.cache import ProfileCache
from cnnprof.gate.job import Job
from cnnprof.gate.runner import run_jobs


def _passes(repo, net) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmacs = "1050624"\n')


def test_fifty_models_take_seconds_and_the_cache_serves_the_second_run(repo, write_net) -> None:
    for index in range(50):
        write_net(repo.root / f"models/net{index:02}.onnx", width=index + 1)
    repo.write("cnnprof.toml", '[budgets.all]\nmodel = "models/*.onnx"\nmacs = "10M"\n')
    first = repo.run("check", "--jobs", "2")
    assert first.code == 0, first
    assert first.out.startswith("pass: all 50 budget checks hold")
    assert "[50/50]" in first.err
    assert len(list(repo.cache.rglob("*.json"))) == 50
    second = repo.run("check", "-f", "json")
    assert second.err == ""  # nothing was analysed
    macs = {check["model"]: check["metrics"]["macs"] for check in json.loads(second.out)["checks"]}
    # width·171·768, see conftest
    assert macs["models/net00.onnx"] == 131_328
    assert macs["models/net49.onnx"] == 6_566_400


def test_a_damaged_cache_entry_is_a_miss(repo, write_net) -> None:
    write_net(repo.root / "net.onnx")
    job = Job(reference="net.onnx", shown="net.onnx", root=str(repo.root))
    cache, seen = ProfileCache(repo.cache), []
    for _ in range(2):
        run_jobs([job], cache=cache, progress=lambda progress: seen.append(progress.cached))
    (entry,) = repo.cache.rglob("*.json")
    entry.write_text("{")
    result = run_jobs([job], cache=cache, progress=lambda progress: seen.append(progress.cached))[job.key]
    assert seen == [False, True, False]
    assert result.macs == 1_050_624
    assert json.loads(entry.read_text())["totals"]["macs"] == 1_050_624


def test_onnx_budgets_need_no_torch(repo, write_net) -> None:
    """A torch that can't be imported stands first on the path, for the command and its workers alike."""
    _passes(repo, write_net)
    repo.write("poison/torch/__init__.py", "raise ImportError('torch was imported')")
    run = repo.run("check", "--no-cache", PYTHONPATH=str(repo.root / "poison"))
    assert run.code == 0, run


def test_a_model_that_hangs_fails_alone(repo, write_net) -> None:
    """A pipe that nobody writes to: reading it never ends."""
    write_net(repo.root / "net.onnx")
    os.mkfifo(repo.root / "pipe.onnx")
    repo.write(
        "cnnprof.toml",
        '[budgets.net]\nmodel = ["pipe.onnx", "net.onnx"]\nmacs = "2M"\n',
    )
    run = repo.run("check", "--jobs", "1", "--timeout", "8", "--all")
    assert run.code == 3, run
    assert "pipe.onnx: the analysis took longer than 8 s" in run.out
    assert "pass  net · net.onnx" in run.out


def test_an_interrupt_ends_it_at_once(repo, write_net) -> None:
    """Ctrl-C while the first of many models hangs: exit code 130, and none of the others is begun."""
    os.mkfifo(repo.root / "a.onnx")
    for index in range(5):
        write_net(repo.root / f"b{index}.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = ["a.onnx", "b*.onnx"]\nmacs = "2M"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnprof", "check", "--jobs", "1"],
        cwd=repo.root, env=repo.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        # Where the tests themselves run in the background, Ctrl-C is ignored and would be in every child too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "[" not in err


def test_a_model_that_kills_its_process_fails_alone(repo, write_net) -> None:
    pytest.importorskip("torch")
    write_net(repo.root / "net.onnx")
    repo.write("nets.py", "import os\n\ndef dies():\n    os._exit(7)\n")
    repo.write(
        "cnnprof.toml",
        '[budgets.bad]\nmodel = "nets.py:dies"\ninputs = "1x3"\nmacs = 1\n'
        '[budgets.net]\nmodel = "net.onnx"\nmacs = "2M"\n',
    )
    run = repo.run("check", "--jobs", "1", "--all")
    assert run.code == 3, run
    assert "the analysis process died (exit code 7)" in run.out
    assert "pass  net · net.onnx" in run.out


def test_latency_is_predicted_for_the_budgets_device(repo, write_net) -> None:
    """A datasheet device: the gate's figure is the predictor's own; a device that isn't there is exit 4."""
    import cnnprof
    from cnnprof.predict.front import predict

    expected = predict(cnnprof.load(write_net(repo.root / "net.onnx")), "rtx4090").latency_s
    run = repo.run("check", "net.onnx", "--max-latency", "1 s", "--device", "rtx4090", "-f", "json")
    assert run.code == 0, run
    (check,) = json.loads(run.out)["checks"]
    assert check["metrics"]["latency"] == expected
    assert 0 < expected < 0.01
    assert repo.run("check", "net.onnx", "--max-latency", "1 ns", "--device", "rtx4090").code == 1
    gone = repo.run("check", "net.onnx", "--max-latency", "1 s", "--device", "rtx409O")
    assert gone.code == 4
    assert "no device 'rtx409O'" in gone.out
