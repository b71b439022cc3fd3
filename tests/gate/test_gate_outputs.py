"""What CI systems read: GitHub's annotations and summary, the pull request's comment; names that attack."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

from cnnprof.gate.budget import Level, Origin
from cnnprof.gate.quantity import Dimension
from cnnprof.gate.verdict import Failure, Finding, Report, Status, Verdict
from cnnprof.render.gate_github import workflow_commands
from cnnprof.render.gate_junit import to_junit
from cnnprof.render.gate_markdown import LIMIT, MARKER, to_markdown
from cnnprof.render.gate_sarif import to_sarif
from cnnprof.render.gate_text import to_text

NASTY = "a|b<img src=x>\n::error::pwn\x1b[31m\x00,%@everyone`*_[x](y)"


def finding(status: Status = Status.FAIL, layers: tuple[str, ...] = (NASTY,), rule: str = "macs") -> Finding:
    return Finding(
        rule=rule, status=status, level=Level.ERROR, origin=Origin("budgets.net.macs", "cfg,1:x.toml", 4),
        expected="at most 10", found="12", dimension=Dimension.MACS, limit=10, value=12, layers=layers,
        hint=f"hint {NASTY}",
    )  # fmt: skip


def report(count: int = 1, model: str = NASTY) -> Report:
    metrics, before = {"macs": 12, "parameters": 5}, {"macs": 10, "parameters": 5, "flops": 3}
    verdicts = tuple(
        Verdict(budget="net", model=f"{model}{i}", findings=(finding(),), metrics=metrics, before=before)
        for i in range(count)
    )
    return Report(verdicts=verdicts, failures=(Failure(budget="net", model=NASTY, message=NASTY, hint="x"),))


def test_annotations_stay_one_line_each_whatever_names_say() -> None:
    lines = list(workflow_commands(report()))
    assert len(lines) == 2
    for line in lines:
        assert "\n" not in line
        assert line.startswith("::error ")
        assert "\x1b" not in line
    head = lines[1].removeprefix("::error ").partition("::")[0]
    assert head == "file=cfg%2C1%3Ax.toml,line=4,title=cnnprof budget net"


def test_comment_is_marked_six_columns_wide_and_only_what_changed() -> None:
    text = to_markdown(report())
    assert text.startswith(MARKER + "\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    for row in table:
        assert len(re.split(r"(?<!\\)\|", row)) - 2 == 6, row
    assert not any("parameters" in row for row in table)  # unchanged
    assert any("| 10 | 12 (+20%) | 10 |" in row for row in table)
    assert "<details>" in text
    assert "<img" not in text
    assert "@everyone" not in text


def test_comment_fits_whatever_is_in_it() -> None:
    text = to_markdown(report(3000, model="m" * 300))
    assert len(text) < LIMIT
    assert text.startswith(MARKER)
    assert "more" in text
    assert text.count("<details>") == text.count("</details>")


def test_nothing_changed() -> None:
    held = Verdict(budget="net", model="m", findings=(finding(Status.PASS),), metrics={"macs": 12}, before={"macs": 12})
    assert "Nothing changed." in to_markdown(Report(verdicts=(held,)))


def test_xml_and_json_hold_any_name(junit_of, sarif_of, tmp_path) -> None:
    (tmp_path / "j.xml").write_text(to_junit(report()), encoding="utf-8")
    root = junit_of(tmp_path / "j.xml")
    assert root.find(".//failure") is not None
    (tmp_path / "s.json").write_text(to_sarif(report()), encoding="utf-8")
    assert len(sarif_of(tmp_path / "s.json")["runs"][0]["results"]) == 2
    assert "\x1b" not in to_text(report())


def test_the_junit_check_itself_refuses(junit_of, tmp_path) -> None:
    """The reader in conftest.py is no rubber stamp: what the schema forbids is refused."""
    import pytest

    for bad in (
        "<testsuites skipped='0'/>",
        "<testsuites><testcase name='a'/></testsuites>",
        "<testsuite name='a' tests='1' failures='0' errors='0'/>",
        "<testsuite tests='0' failures='0' errors='0'/>",
        "<testsuite name='a' tests='1' failures='0' errors='0'><testcase name='b' file='c'/></testsuite>",
        "<testsuite name='a' tests='0' failures='0' errors='0' time='soon'/>",
    ):
        (tmp_path / "bad.xml").write_text(bad)
        with pytest.raises(AssertionError):
            junit_of(tmp_path / "bad.xml")


def test_github_run(repo, write_net) -> None:
    write_net(repo.root / "net.onnx")
    repo.write(
        "cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmacs = "1M"\nparameters = { max = 1, level = "warn" }\n'
    )
    summary = repo.root / "summary.md"
    summary.write_text("before\n")
    run = repo.run("check", "--github", GITHUB_STEP_SUMMARY=str(summary))
    assert run.code == 1
    lines = [line for line in run.out.splitlines() if line.startswith("::")]
    assert lines[0].startswith("::error file=cnnprof.toml,line=3,title=cnnprof budget net::net.onnx: macs: expected")
    assert lines[1].startswith("::warning file=cnnprof.toml,line=4,")
    assert summary.read_text().startswith("before\n" + MARKER)
    as_json = repo.run("check", "--github", "-f", "json", GITHUB_STEP_SUMMARY=str(summary))
    assert json.loads(as_json.out)["exit_code"] == 1
    assert "::error file=cnnprof.toml" in as_json.err
    repo.run("check", "--markdown", "comment.md")
    assert "1.05M" in (repo.root / "comment.md").read_text() or "1,050,624" in (repo.root / "comment.md").read_text()


def test_an_output_that_cannot_be_written_is_said(repo, write_net) -> None:
    write_net(repo.root / "net.onnx")
    run = repo.run("check", "net.onnx", "--max-macs", "5M", "--junit", "nowhere/junit.xml")
    assert run.code == 2
    assert "nowhere/junit.xml: can't write" in run.err


def test_xml_roundtrip_of_properties() -> None:
    root = ET.fromstring(to_junit(report()).encode())
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert properties == {"macs": "12", "parameters": "5"}


def test_paths_are_the_repositorys_where_the_budgets_live_below_its_root(repo, write_net, sarif_of) -> None:
    write_net(repo.root / "ml" / "net.onnx")
    repo.write("ml/cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmacs = 1\n')
    run = repo.run("check", "--github", "--sarif", "out.sarif", cwd=repo.root / "ml")
    assert "::error file=ml/cnnprof.toml,line=3," in run.out
    (result,) = sarif_of(repo.root / "ml" / "out.sarif")["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "ml/cnnprof.toml"
    assert "[cnnprof.toml:3]" in run.out  # for the person in that folder


def test_standard_input_is_refused_not_waited_for(repo) -> None:
    run = repo.run("check", "-", "--max-macs", "5G")
    assert run.code == 2
    assert "standard input can't be held to a budget" in run.err
