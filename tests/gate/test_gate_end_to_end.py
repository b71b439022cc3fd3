"""The gate in a real git repository: every outcome a team meets, with exit code, text, JSON, JUnit and SARIF."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

# Costs worked in conftest.py: width 8 has 1,050,624 MACs and 1,368 parameters, width 12 1,575,936 and 2,052.
ABSOLUTE = '[budgets.net]\nmodel = "net.onnx"\nmacs = "{macs}"\n'
RELATIVE = '[budgets.net]\nmodel = "net.onnx"\nmax_increase = { macs = "2%", parameters = 0 }\n'
OTHER = '\n[budgets.other]\nmodel = "other.onnx"\nmacs = "1 MMACs"\n'


@dataclass(frozen=True)
class Case:
    """``arrange`` makes the repository; the rest is what must come out. ``rules``: rule -> status of the JSON;
    ``junit``: (tests, failures, errors); ``sarif``: rule -> level."""

    arrange: Callable[[Any, Any], None]
    code: int
    text: tuple[str, ...]
    rules: dict[str, str]
    junit: tuple[int, int, int]
    sarif: dict[str, str]
    failures: tuple[str, ...] = ()
    arguments: tuple[str, ...] = field(default=())


def _passes(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1050624"))
    repo.commit("a budget that fits to the MAC")


def _breaks(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1050623"))
    repo.commit("one MAC too few")


def _grows(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", RELATIVE)
    assert repo.run("baseline", "update").code == 0
    repo.commit("baseline")
    net(repo.root / "net.onnx", width=12)
    repo.commit("wider")


def _warns(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmacs = { max = "1M", level = "warn" }\n')


def _ratchets(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nratchet = ["parameters"]\n')
    assert repo.run("baseline", "update").code == 0
    net(repo.root / "net.onnx", width=12)


def _renames(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", RELATIVE)
    assert repo.run("baseline", "update").code == 0
    net(repo.root / "net.onnx", names="features.")


def _missing(repo: Any, net: Any) -> None:
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M"))


def _unreadable(repo: Any, net: Any) -> None:
    (repo.root / "net.onnx").write_bytes(b"\x08\xff not a model \x00\xff\xff")
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M"))


def _broken_beside_unreadable(repo: Any, net: Any) -> None:
    (repo.root / "net.onnx").write_bytes(b"\x08\xff not a model \x00\xff\xff")
    net(repo.root / "other.onnx")
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M") + OTHER)


def _unknown_operator(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx", odd=True)
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M"))


def _coverage_stated(repo: Any, net: Any) -> None:
    # 4 of 5 operators are known: 80%.
    net(repo.root / "net.onnx", odd=True)
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M") + 'min_coverage = "80%"\n')


def _no_baseline(repo: Any, net: Any) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", RELATIVE)


def _not_in_baseline(repo: Any, net: Any) -> None:
    _no_baseline(repo, net)
    repo.write("cnnprof-baseline.json", '{"schema": "cnnprof.baseline/1", "cnnprof": "0.1.0", "budgets": {}}')


def _old_baseline(repo: Any, net: Any) -> None:
    _no_baseline(repo, net)
    repo.write("cnnprof-baseline.json", '{"schema": "cnnprof.baseline/0", "budgets": {}}')


def _inputs_moved(repo: Any, net: Any) -> None:
    _renames(repo, net)
    repo.write("cnnprof.toml", RELATIVE + "batch = 2\n")


CASES = {
    "pass": Case(
        _passes, 0, ("pass: the budget holds", "pass  net · net.onnx"),
        {"macs": "pass", "min_coverage": "pass"}, (2, 0, 0), {},
    ),
    "absolute": Case(
        _breaks, 1,
        ("fail: the budget is broken", "expected at most 1.05M (1,050,623), found 1.05M (1,050,624)",
         "[cnnprof.toml:3]"),
        {"macs": "fail", "min_coverage": "pass"}, (2, 1, 0), {"macs": "error"},
    ),
    "relative": Case(
        # 1,575,936 / 1,050,624 = 1.5 exactly; 1,575,936 - 1,050,624 = 525,312; 2,052 - 1,368 = 684.
        _grows, 1,
        ("max_increase.macs", "+50% (+525,312)", "+50% (+684)", "why: costlier: +50.0% MACs",
         "~ conv1 (conv): +442,368 MACs, 84% of the change", "~ conv0 (conv): +82,944 MACs, 16% of the change"),
        {"max_increase.macs": "fail", "max_increase.parameters": "fail", "min_coverage": "pass"},
        (3, 2, 0), {"max_increase.macs": "error", "max_increase.parameters": "error"}, arguments=("--why",),
    ),
    "relative to a revision": Case(
        _grows, 1, ("+50% (+525,312)", "~ conv1 (conv): +442,368 MACs"),
        {"max_increase.macs": "fail", "max_increase.parameters": "fail", "min_coverage": "pass"},
        (3, 2, 0), {"max_increase.macs": "error", "max_increase.parameters": "error"},
        arguments=("--baseline-ref", "HEAD~1", "--why"),
    ),
    "warn": Case(
        _warns, 0, ("warn: the budget warns", "warn  macs"),
        {"macs": "warn", "min_coverage": "pass"}, (2, 0, 0), {"macs": "warning"},
    ),
    "ratchet": Case(
        _ratchets, 1, ("ratchet.parameters", "no more parameters than the baseline (1,368)", "+50% (+684)"),
        {"ratchet.parameters": "fail"}, (1, 1, 0), {"ratchet.parameters": "error"},
    ),
    "renamed layers": Case(
        _renames, 0, ("pass: the budget holds",),
        {"max_increase.macs": "pass", "max_increase.parameters": "pass", "min_coverage": "pass"},
        (3, 0, 0), {},
    ),
    "model missing": Case(
        _missing, 3, ("error: 1 model can't be analysed", "net.onnx: no such file"),
        {}, (1, 0, 1), {"model": "error"}, failures=("net.onnx",),
    ),
    "unreadable model": Case(
        _unreadable, 3, ("error: 1 model can't be analysed", "net.onnx"),
        {}, (1, 0, 1), {"model": "error"}, failures=("net.onnx",),
    ),
    "broken beside unreadable": Case(
        _broken_beside_unreadable, 1,
        ("fail: 1 of 2 budget checks is broken, 1 model can't be analysed", "fail  other · other.onnx",
         "error net · net.onnx"),
        {"macs": "fail", "min_coverage": "pass"}, (3, 1, 1), {"macs": "error", "model": "error"},
        failures=("net.onnx",),
    ),
    "unknown operator": Case(
        _unknown_operator, 1,
        ("min_coverage", "4 of 5 (80%), unknown: nobody:Odd ×1", "found at least 1.05M (1,050,624)"),
        {"macs": "pass", "min_coverage": "fail"}, (2, 1, 0), {"min_coverage": "error"},
    ),
    "coverage stated": Case(
        _coverage_stated, 0, ("pass: the budget holds",),
        {"macs": "pass", "min_coverage": "pass"}, (2, 0, 0), {},
    ),
    "baseline absent": Case(
        _no_baseline, 2,
        ("error: the budget can't be decided", "cnnprof-baseline.json doesn't exist",
         "run: cnnprof baseline update"),
        {"max_increase.macs": "undecided", "max_increase.parameters": "undecided", "min_coverage": "pass"},
        (3, 0, 2), {"max_increase.macs": "error", "max_increase.parameters": "error"},
    ),
    "model not in baseline": Case(
        _not_in_baseline, 2, ("no baseline for this model", "run: cnnprof baseline update"),
        {"max_increase.macs": "undecided", "max_increase.parameters": "undecided", "min_coverage": "pass"},
        (3, 0, 2), {"max_increase.macs": "error", "max_increase.parameters": "error"},
    ),
    "baseline of an older schema": Case(
        _old_baseline, 5,
        ("expected schema cnnprof.baseline/1, got 'cnnprof.baseline/0'", "cnnprof baseline update"),
        {"max_increase.macs": "undecided", "max_increase.parameters": "undecided", "min_coverage": "pass"},
        (3, 0, 2), {"max_increase.macs": "error", "max_increase.parameters": "error"},
    ),
    "inputs changed since the baseline": Case(
        _inputs_moved, 2, ("inputs x=float32:2x3x32x24, the baseline's were x=float32:1x3x32x24",),
        {"max_increase.macs": "undecided", "max_increase.parameters": "undecided", "min_coverage": "pass"},
        (3, 0, 2), {"max_increase.macs": "error", "max_increase.parameters": "error"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_outcome_in_every_output(repo, write_net, junit_of, sarif_of, name: str) -> None:
    case = CASES[name]
    case.arrange(repo, write_net)

    text = repo.run("check", *case.arguments)
    assert text.code == case.code, text
    for expected in case.text:
        assert expected in text.out
    assert "Traceback" not in text.err

    run = repo.run("check", "-f", "json", "--junit", "junit.xml", "--sarif", "out.sarif", *case.arguments)
    assert run.code == case.code
    document = json.loads(run.out)
    assert document["schema"] == "cnnprof.verdict/1"
    assert document["exit_code"] == case.code
    assert document["verdict"] == text.out.partition(":")[0]
    found = {f["rule"]: f["status"] for check in document["checks"] for f in check["findings"]}
    assert found == case.rules
    assert tuple(failure["model"] for failure in document["failures"]) == case.failures

    junit = junit_of(repo.root / "junit.xml")
    assert tuple(int(junit.get(key)) for key in ("tests", "failures", "errors")) == case.junit

    sarif = sarif_of(repo.root / "out.sarif")
    (only,) = sarif["runs"]
    assert {result["ruleId"]: result["level"] for result in only["results"]} == case.sarif
    assert only["invocations"][0]["exitCode"] == case.code
    for result in only["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "cnnprof.toml"
        assert only["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_finding_points_at_its_line(repo, write_net, sarif_of) -> None:
    _breaks(repo, write_net)
    repo.run("check", "--sarif", "out.sarif")
    (result,) = sarif_of(repo.root / "out.sarif")["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}


def test_ratchet_locks_in_only_downwards(repo, write_net) -> None:
    _ratchets(repo, write_net)
    before = (repo.root / "cnnprof-baseline.json").read_text()
    refused = repo.run("baseline", "update")
    assert refused.code == 1
    assert "ratchet.parameters would go up from 1,368 to 2,052" in refused.err
    assert (repo.root / "cnnprof-baseline.json").read_text() == before
    assert repo.run("baseline", "update", "--allow-increase").code == 0
    assert repo.run("check").code == 0
    write_net(repo.root / "net.onnx", width=4)  # 4·171 = 684 parameters
    better = repo.run("check")
    assert better.code == 0
    assert "lock it in with cnnprof baseline update" in better.out
    assert repo.run("baseline", "update").code == 0
    write_net(repo.root / "net.onnx", width=8)
    assert repo.run("check").code == 1


def test_baseline_is_stable_sorted_and_one_line_a_layer(repo, write_net) -> None:
    _renames(repo, write_net)
    path = repo.root / "cnnprof-baseline.json"
    write_net(repo.root / "net.onnx")
    text = path.read_text()
    again = repo.run("baseline", "update", "--no-cache")
    assert "unchanged" in again.out
    assert path.read_text() == text
    assert sum('"name": "conv' in line for line in text.splitlines()) == 2
    entry = json.loads(text)["budgets"]["net"]["net.onnx"]
    assert entry["metrics"]["macs"] == 1_050_624
    assert list(entry["metrics"]) == sorted(entry["metrics"])
    shown = repo.run("baseline", "show")
    assert shown.code == 0
    assert "net · net.onnx" in shown.out
    assert "1,050,624" in shown.out


def test_baseline_writes_nothing_when_a_model_fails(repo, write_net) -> None:
    _unreadable(repo, write_net)
    run = repo.run("baseline", "update")
    assert run.code == 3
    assert not (repo.root / "cnnprof-baseline.json").exists()


def test_new_model_passes_against_a_revision_and_unknown_revision_is_usage(repo, write_net) -> None:
    repo.write("cnnprof.toml", RELATIVE)
    repo.commit("no model yet")
    write_net(repo.root / "net.onnx")
    run = repo.run("check", "--baseline-ref", "HEAD", "--all")
    assert run.code == 0, run
    assert "(new model)" in run.out
    unknown = repo.run("check", "--baseline-ref", "origin/main")
    assert unknown.code == 2
    assert "'origin/main': not in this repository" in unknown.err
    assert unknown.out == ""


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
    _passes(repo, write_net)
    assert repo.run("check").code == 0
    (entry,) = repo.cache.rglob("*.json")
    entry.write_text("{")
    again = repo.run("check")
    assert again.code == 0
    assert "[1/1]" in again.err
    assert json.loads(entry.read_text())["totals"]["macs"] == 1_050_624


def test_onnx_budgets_need_no_torch(repo, write_net) -> None:
    """A torch that can't be imported stands first on the path, for the command and its workers alike."""
    _passes(repo, write_net)
    repo.write("poison/torch/__init__.py", "raise ImportError('torch was imported')")
    run = repo.run("check", "--no-cache", PYTHONPATH=str(repo.root / "poison"))
    assert run.code == 0, run


def test_since_when_it_is_broken(repo, write_net) -> None:
    """Commits: width 8 (holds), 12 (breaks), 16 (breaks): broken since the second, which has a name."""
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1.1M"))
    ids = []
    for width, message in ((8, "first"), (12, "widen the stem"), (16, "wider still")):
        write_net(repo.root / "net.onnx", width=width)
        ids.append(repo.commit(message))
    run = repo.run("check", "--why")
    assert run.code == 1
    assert re.search(rf"broken since {ids[1][:10]} \d\d\d\d-\d\d-\d\d widen the stem\n", run.out)
    document = json.loads(repo.run("check", "--why", "-f", "json").out)
    assert document["checks"][0]["since"]["commit"] == ids[1]
    # never held: the oldest commit is only as far as history goes
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1k"))
    assert f"broken since {ids[0][:10]}" in (text := repo.run("check", "--why").out)
    assert "(or earlier)" in text
    # broken only in the work tree: no commit is to blame
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="3M"))
    write_net(repo.root / "net.onnx", width=40)
    run = repo.run("check", "--why")
    assert run.code == 1
    assert "broken since" not in run.out


CODE = """
import torch

def make(width={width}):
    print("a model may print")
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.ReLU())
"""


def test_code_is_compared_with_its_own_past(repo) -> None:
    """A factory in the repository: at HEAD 8 channels, now 12; 3·9·32·24 = 20,736 MACs a channel."""
    pytest.importorskip("torch")
    repo.write("nets.py", CODE.format(width=8))
    repo.write(
        "cnnprof.toml",
        '[budgets.net]\nmodel = "nets.py:make"\ninputs = "1x3x32x24"\nmax_increase = { macs = 0 }\n',
    )
    repo.commit("eight channels")
    repo.write("nets.py", CODE.format(width=12))
    run = repo.run("check", "--baseline-ref", "HEAD", "-f", "json", "--why")
    assert run.code == 1, run
    (verdict,) = json.loads(run.out)["checks"]
    (finding,) = [f for f in verdict["findings"] if f["rule"] == "max_increase.macs"]
    assert (finding["baseline"], finding["value"]) == (165_888, 248_832)
    assert [row["change"] for row in verdict["diff"]["layers"]] == ["changed", "changed"][
        : len(verdict["diff"]["layers"])
    ]


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


def test_old_versions_need_no_weights_and_a_pointer_is_said(repo, write_net) -> None:
    """External weights aren't fetched from history; a Git LFS pointer can't be analysed and says what to do."""
    import onnx

    path = write_net(repo.root / "net.onnx")
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="net.weights", size_threshold=0)
    repo.write("cnnprof.toml", RELATIVE)
    repo.write(".gitignore", "net.weights\n")
    repo.commit("weights apart and not committed")
    run = repo.run("check", "--baseline-ref", "HEAD")
    assert run.code == 0, run

    repo.write("net.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5784\n")
    pointer = repo.commit("as an LFS pointer")
    write_net(repo.root / "net.onnx")
    run = repo.run("check", "--baseline-ref", pointer)
    assert run.code == 2, run
    assert "a Git LFS pointer, its content isn't here" in run.out
    assert "cnnprof strip" in run.out


def test_latency_of_a_saved_prediction(repo, write_net) -> None:
    """A profile saved with its prediction is gated on any machine; one without says what to run."""
    import cnnprof

    profile = cnnprof.analyze(write_net(repo.root / "net.onnx"))
    repo.write("plain.json", profile.to_json())
    section = {"device": "box", "latency_s": 0.0042, "low_s": 0.004, "high_s": 0.0045}
    repo.write("box.json", profile.with_sections(prediction=section).to_json())
    text = '[budgets.{name}]\nmodel = "{name}.json"\ndevice = "box"\nlatency = "{limit}"\n'
    repo.write("cnnprof.toml", text.format(name="box", limit="4.2 ms"))
    assert repo.run("check").code == 0
    repo.write("cnnprof.toml", text.format(name="box", limit="4 ms"))
    broken = repo.run("check")
    assert broken.code == 1
    assert "expected at most 4 ms, found 4.2 ms, 5% over" in broken.out
    repo.write("cnnprof.toml", text.format(name="plain", limit="4 ms"))
    missing = repo.run("check")
    assert missing.code == 3
    assert "the profile has no predicted latency" in missing.out
    assert "cnnprof predict MODEL --device NAME" in missing.out
