"""The gate in a real git repository: every outcome a team meets, with exit code, text, JSON, JUnit and SARIF."""

from __future__ import annotations

import json
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
