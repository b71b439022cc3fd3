"""``cnnprof check``: hold models against their budgets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnprof.cli.gate_options import config_of, run_options, runner

if TYPE_CHECKING:
    from cnnprof.gate.plan import Flags
    from cnnprof.gate.verdict import Report

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof check                   every budget of cnnprof.toml (or pyproject)
  cnnprof check model.onnx --max-macs 5G --max-params 30M
  cnnprof check --baseline-ref origin/main --why
  cnnprof check --github --junit report.xml --markdown comment.md

\b
In cnnprof.toml (or below [tool.cnnprof] in pyproject.toml):
  [budgets.mobile]
  model = "models/*.onnx"
  macs = "600M"
  parameters = { max = "5M", level = "warn" }
  peak_bytes = "64 MiB"
  max_increase = { macs = "2%", parameters = 0 }

\b
Exit code: 0 all budgets hold, 1 one is broken (whatever else went wrong),
2 usage or config, 3 a model can't be analysed, 4 something isn't installed,
5 a baseline of another schema.
"""

_LIMITS = (
    ("macs", "--max-macs", "5G"),
    ("flops", "--max-flops", "10G"),
    ("parameters", "--max-params", "25M"),
    ("parameter_bytes", "--max-param-bytes", "100 MB"),
    ("buffer_bytes", "--max-buffer-bytes", "1 MB"),
    ("transcendentals", "--max-transcendentals", "1M"),
    ("activation_elements", "--max-activation-elements", "10M"),
    ("activation_bytes", "--max-activation-bytes", "40 MiB"),
    ("peak_bytes", "--max-peak", "64 MiB"),
    ("peak_activation_bytes", "--max-peak-activation-bytes", "320 KiB"),
    ("bytes_read", "--max-bytes-read", "1 GB"),
    ("bytes_written", "--max-bytes-written", "1 GB"),
    ("bytes_moved", "--max-bytes-moved", "1 GB"),
    ("latency", "--max-latency", "5 ms"),
)


def _limit_options(function: Any) -> Any:
    for key, flag, example in reversed(_LIMITS):
        helped = f"At most this, e.g. {example!r}." + (" Needs --device." if key == "latency" else "")
        function = click.option(flag, f"limit_{key}", metavar="QUANTITY", help=helped)(function)
    return function


@click.command("check", epilog=_EPILOG, short_help="Hold models against their budgets; for CI.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@run_options
@_limit_options
@click.option("--max-increase", multiple=True, metavar="KEY=AMOUNT", help="Over the baseline: macs=2%.")
@click.option("--max-share", multiple=True, metavar="KEY=SHARE", help="Of one layer: macs=30%.")
@click.option("--min-receptive-field", type=click.IntRange(min=0), metavar="PIXELS", help="Of every output.")
@click.option("--max-receptive-field", type=click.IntRange(min=0), metavar="PIXELS", help="Of every output.")
@click.option("--min-coverage", metavar="SHARE", help="Of operators with a known cost (default: 100%).")
@click.option("--forbid-op", multiple=True, metavar="GLOB", help="Operator kind or type that must not occur.")
@click.option("--forbid-dtype", multiple=True, metavar="DTYPE", help="Element type that must not occur.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="[NAME=][DTYPE:]SHAPE", help="An input's shape.")
@click.option("-b", "--batch", type=click.IntRange(min=1), help="Set the batch dimension.")
@click.option("--kwargs", multiple=True, metavar="KEY=VALUE", help="Argument of a PyTorch model's factory.")
@click.option("--device", metavar="NAME", help="Predict the latency for this device.")
@click.option("--baseline", metavar="FILE", help="The committed baseline (default: beside the config).")
@click.option("--baseline-ref", metavar="REVISION", help="Compare with the models at this git revision instead.")
@click.option("--why", is_flag=True, help="Layers that moved since the baseline; since when it is broken.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.option("--all", "every", is_flag=True, help="Also list the limits that hold.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML.")
@click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0.")
@click.option("--markdown", metavar="FILE", help="Write a comment for the pull request.")
@click.option("--github", is_flag=True, help="Annotations, and the summary to $GITHUB_STEP_SUMMARY.")
def command(models: tuple[str, ...], **options: Any) -> int:
    """Hold models against their budgets. Without MODEL: every budget of the config.

    With MODEL: the budgets that cover it, and the limits given as flags. Limits are quantities as people write
    them: "4.2 GMACs", 25M, "64 MiB", "5 ms".
    """
    from cnnprof.gate.plan import choose, select
    from cnnprof.gate.run import gate

    config = config_of(options["config"])
    budgets = select(config.budgets, options["names"])
    targets = choose(budgets, models, _flags(options), cwd=Path.cwd())
    baseline = Path(options["baseline"]) if options["baseline"] else config.baseline
    report = gate(
        targets, runner(options), baseline=baseline, revision=options["baseline_ref"],
        why=options["why"] or bool(options["markdown"]) or options["github"],
    )  # fmt: skip
    _write(report, options)
    return report.exit_code


def _flags(options: dict[str, Any]) -> Flags:
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.gate.plan import Flags

    table: dict[str, Any] = {
        key: options[f"limit_{key}"] for key, _, _ in _LIMITS if options[f"limit_{key}"] is not None
    }
    field = {
        end: options[f"{end}_receptive_field"]
        for end in ("min", "max")
        if options[f"{end}_receptive_field"] is not None
    }
    others = {
        "max_increase": _pairs("--max-increase", options["max_increase"]),
        "max_share": _pairs("--max-share", options["max_share"]),
        "receptive_field": field,
        "min_coverage": options["min_coverage"],
        "forbid_ops": list(options["forbid_op"]),
        "forbid_dtypes": list(options["forbid_dtype"]),
    }
    table |= {key: value for key, value in others.items() if value}
    return Flags(
        table=table, inputs=options["inputs"], batch=options["batch"], device=options["device"],
        kwargs=parse_kwargs(options["kwargs"]),
    )  # fmt: skip


def _pairs(flag: str, texts: tuple[str, ...]) -> dict[str, Any]:
    from cnnprof.errors import UsageError

    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise UsageError(f"{flag} {text!r}: not KEY=AMOUNT", f"e.g. {flag} macs=2%")
        if key in found:
            raise UsageError(f"{flag} {key}: given twice", "give it once")
        found[key] = int(value) if value.isdecimal() else value
    return found


def _write(report: Report, options: dict[str, Any]) -> None:
    import json

    from cnnprof.cli.output import deliver, write_file
    from cnnprof.render.gate_text import to_text

    if options["junit"]:
        from cnnprof.render.gate_junit import to_junit

        write_file(options["junit"], to_junit(report))
    if options["sarif"]:
        from cnnprof.render.gate_sarif import to_sarif

        write_file(options["sarif"], to_sarif(report, _folder()))
    if options["markdown"]:
        from cnnprof.render.gate_markdown import to_markdown

        write_file(options["markdown"], to_markdown(report))
    shown = report if options["why"] else _without_why(report)
    if options["form"] == "json":
        text = json.dumps(shown.to_dict(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = to_text(shown, every=options["every"])
    deliver(text, options["output"])
    if options["github"]:
        _github(report, to_stderr=options["form"] == "json" and options["output"] is None)


def _without_why(report: Report) -> Report:
    import dataclasses

    verdicts = tuple(dataclasses.replace(verdict, diff=None, since=None) for verdict in report.verdicts)
    return dataclasses.replace(report, verdicts=verdicts)


def _folder() -> str:
    """The working directory as a path from the repository's root; "" where that's the same or unknown."""
    from cnnprof.errors import CnnprofError
    from cnnprof.gate.git import toplevel

    try:
        root = os.environ.get("GITHUB_WORKSPACE") or toplevel(Path.cwd())
        folder = Path.cwd().relative_to(Path(root).resolve()).as_posix()
    except (CnnprofError, ValueError):
        return ""
    return "" if folder == "." else folder


def _github(report: Report, *, to_stderr: bool) -> None:
    """Annotations beside the text (GitHub reads both streams), the summary appended where GitHub says."""
    from cnnprof.render.gate_github import workflow_commands
    from cnnprof.render.gate_markdown import to_markdown

    for line in workflow_commands(report, _folder()):
        click.echo(line, file=sys.stderr if to_stderr else sys.stdout)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(to_markdown(report))
        except OSError as error:
            click.echo(f"note: $GITHUB_STEP_SUMMARY: {error.strerror or error}", err=True)
