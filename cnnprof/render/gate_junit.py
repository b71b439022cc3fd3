"""The report as JUnit XML, as Jenkins' xUnit plugin (junit-10.xsd), GitLab and others read it.

A suite per budget and model, a case per rule; a broken rule is a failure, an undecided one or a model that can't
be analysed an error; a warning passes and is said in ``system-out``.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from cnnprof.gate.verdict import Failure, Finding, Report, Status, Verdict
from cnnprof.render.gate_escape import xml_text

__all__ = ["to_junit"]


def to_junit(report: Report) -> str:
    """The document, UTF-8 text with declaration."""
    root = ET.Element("testsuites", name="cnnprof")
    for failure in report.failures:
        _failure(root, failure)
    for verdict in report.verdicts:
        _suite(root, verdict)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, verdict: Verdict) -> None:
    suite = ET.SubElement(
        root,
        "testsuite",
        name=xml_text(f"{verdict.budget} {verdict.model}"),
        tests=str(len(verdict.findings)),
        failures=str(len(verdict.of(Status.FAIL))),
        errors=str(len(verdict.of(Status.UNDECIDED))),
        skipped="0",
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in sorted(verdict.metrics.items()):
        ET.SubElement(properties, "property", name=key, value=str(value))
    for finding in verdict.findings:
        _case(suite, verdict, finding)


def _case(suite: ET.Element, verdict: Verdict, finding: Finding) -> None:
    case = ET.SubElement(
        suite, "testcase", name=xml_text(finding.rule),
        classname=xml_text(f"cnnprof.{verdict.budget}.{verdict.model}"), time="0",
    )  # fmt: skip
    message = xml_text(finding.message)
    if finding.status in (Status.FAIL, Status.UNDECIDED):
        tag = "failure" if finding.status is Status.FAIL else "error"
        ET.SubElement(case, tag, type=finding.status.value, message=message).text = xml_text(_details(finding))
    elif finding.status is Status.WARN:
        ET.SubElement(case, "system-out").text = f"warning: {message}"


def _details(finding: Finding) -> str:
    lines = [finding.message, f"set at {finding.origin}"]
    if finding.layers:
        lines.append(f"layers: {', '.join(finding.layers)}")
    if finding.hint:
        lines.append(finding.hint)
    return "\n".join(lines)


def _failure(root: ET.Element, failure: Failure) -> None:
    name = xml_text(f"{failure.budget} {failure.model}")
    suite = ET.SubElement(root, "testsuite", name=name, tests="1", failures="0", errors="1", skipped="0")
    classname = xml_text(f"cnnprof.{failure.budget}.{failure.model}")
    case = ET.SubElement(suite, "testcase", name="model", classname=classname, time="0")
    error = ET.SubElement(case, "error", type="model", message=xml_text(failure.message))
    error.text = xml_text("\n".join(filter(None, [failure.message, failure.hint])))
