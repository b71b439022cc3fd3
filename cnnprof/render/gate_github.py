"""GitHub Actions: workflow commands that annotate the config's lines. They need no token, so forks get them too."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.gate.budget import Origin
from cnnprof.gate.verdict import Report, Status
from cnnprof.render.gate_escape import command_data, command_property, within
from cnnprof.render.quantities import plain

__all__ = ["workflow_commands"]

_COMMANDS = {Status.FAIL: "error", Status.UNDECIDED: "error", Status.WARN: "warning"}


def workflow_commands(report: Report, folder: str = "") -> Iterator[str]:
    """One ``::error file=…,line=…::message`` per broken, undecided or warning rule.

    ``folder`` is the working directory within the repository ("" for its root): GitHub wants paths from there.
    """
    for failure in report.failures:
        text = failure.message if failure.hint is None else f"{failure.message}; {failure.hint}"
        yield _command("error", failure.origin, folder, f"{failure.budget}: {failure.model}", text)
    for verdict in report.verdicts:
        for finding in (f for status in _COMMANDS for f in verdict.of(status)):
            text = f"{verdict.model}: {finding.rule}: {finding.message}"
            if finding.hint:
                text += f"\n{finding.hint}"
            yield _command(_COMMANDS[finding.status], finding.origin, folder, f"cnnprof budget {verdict.budget}", text)


def _command(command: str, origin: Origin | None, folder: str, title: str, text: str) -> str:
    properties = []
    if origin is not None and origin.file is not None:
        properties.append(f"file={command_property(within(folder, origin.file))}")
        if origin.line is not None:
            properties.append(f"line={origin.line}")
    properties.append(f"title={command_property(plain(title))}")
    safe = "\n".join(plain(line) for line in text.split("\n"))
    return f"::{command} {','.join(properties)}::{command_data(safe)}"
