"""The report as SARIF 2.1.0 (OASIS), for code scanning and editors.

Broken, warned and undecided rules are results, at the line where the limit is written; a model that can't be
analysed is a result too and a notification of the invocation. What holds is not listed.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from cnnprof import __version__
from cnnprof.gate.budget import Origin
from cnnprof.gate.verdict import Failure, Finding, Report, Status, Verdict
from cnnprof.render.gate_escape import within

__all__ = ["to_sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Status.FAIL: "error", Status.UNDECIDED: "error", Status.WARN: "warning"}
_MODEL_RULE = "model"


def to_sarif(report: Report, folder: str = "") -> str:
    """The document as JSON text. ``folder`` is the working directory within the repository."""
    results = [
        _result(verdict, finding, folder)
        for verdict in report.verdicts
        for finding in verdict.of(Status.FAIL, Status.UNDECIDED, Status.WARN)
    ]
    results += [_failed(failure, folder) for failure in report.failures]
    rules = sorted({result["ruleId"] for result in results})
    for result in results:
        result["ruleIndex"] = rules.index(result["ruleId"])
    driver = {
        "name": "cnnprof",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules],
    }
    invocation: dict[str, Any] = {
        "executionSuccessful": report.exit_code in (0, 1),
        "exitCode": report.exit_code,
        "toolExecutionNotifications": [
            {"level": "error", "message": {"text": _sentence(failure.message, failure.hint)}}
            for failure in report.failures
        ],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rule(rule: str) -> dict[str, Any]:
    if rule == _MODEL_RULE:
        text = "A model that a budget names can't be analysed."
    else:
        text = f"The limit {rule} of a model's budget."
    return {"id": rule, "shortDescription": {"text": text}, "defaultConfiguration": {"level": "error"}}


def _result(verdict: Verdict, finding: Finding, folder: str) -> dict[str, Any]:
    text = f"{verdict.model} ({verdict.budget}): {finding.rule}: {finding.message}"
    logical = [{"name": name, "kind": "member"} for name in finding.layers[:10]]
    return {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.status],
        "message": {"text": _sentence(text, finding.hint)},
        "locations": [_location(finding.origin, verdict.model, logical, folder)],
        "partialFingerprints": {"budget/v1": f"{verdict.budget}:{verdict.model}:{finding.rule}"},
        "properties": {
            "budget": verdict.budget,
            "model": verdict.model,
            **{k: getattr(finding, k) for k in ("limit", "value", "baseline") if getattr(finding, k) is not None},
        },
    }


def _failed(failure: Failure, folder: str) -> dict[str, Any]:
    text = f"{failure.model} ({failure.budget}): {failure.message}"
    origin = failure.origin or Origin(failure.budget)
    return {
        "ruleId": _MODEL_RULE,
        "level": "error",
        "message": {"text": _sentence(text, failure.hint)},
        "locations": [_location(origin, failure.model, [], folder)],
        "partialFingerprints": {"budget/v1": f"{failure.budget}:{failure.model}:{_MODEL_RULE}"},
        "properties": {"budget": failure.budget, "model": failure.model},
    }


def _location(origin: Origin, model: str, logical: list[dict[str, Any]], folder: str) -> dict[str, Any]:
    """The limit's line in the config; without a file (flags) the model itself."""
    uri = quote(within(folder, origin.file or model), safe="/:")
    place: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if origin.file and origin.line:
        place["region"] = {"startLine": origin.line}
    location: dict[str, Any] = {"physicalLocation": place}
    if logical:
        location["logicalLocations"] = logical
    return location


def _sentence(text: str, hint: str | None) -> str:
    return text if hint is None else f"{text}; {hint}"
