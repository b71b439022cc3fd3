"""``cnnprof diff``: what changed between two models, and what explains the total."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof diff old.onnx new.onnx
  cnnprof diff main:net.onnx net.onnx     a git revision against the work tree
  cnnprof diff v1.0:net.onnx v2.0:net.onnx --format markdown
  cnnprof diff torchvision:resnet50 exported.onnx --input 1x3x224x224
  cnnprof diff monday.json tuesday.json   saved profiles
"""


@click.command("diff", epilog=_EPILOG, short_help="What changed between two models, layer by layer.")
@click.argument("old")
@click.argument("new")
@click.option("-i", "--input", "inputs", multiple=True, metavar="[NAME=][DTYPE:]SHAPE", help="For both models.")
@click.option("-b", "--batch", type=click.IntRange(min=1), help="Set the batch dimension of both.")
@click.option("--kwargs", multiple=True, metavar="KEY=VALUE", help="Argument of a PyTorch model's factory.")
@click.option(
    "-f", "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text",
    show_default=True,
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.option("--all", "every", is_flag=True, help="Every row, however many.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 unless the verdict is same or renamed only.")
@click.option("--no-cache", is_flag=True, help="Analyse again what the cache holds.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, metavar="SECONDS",
              help="For one model.", show_default=True)  # fmt: skip
def command(old: str, new: str, **options: Any) -> int:
    """What changed from OLD to NEW, the verdict first: same, renamed only, costlier, cheaper, ...

    OLD and NEW are model references, saved profiles (.json), or REVISION:PATH for a model file in git. Layers are
    aligned by structure, not by name: renamed, changed, inserted, removed.
    """
    from cnnprof.cli.gate_options import runner
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.cli.output import deliver
    from cnnprof.gate.diff import Change, diff
    from cnnprof.gate.sides import profiles_of
    from cnnprof.render.gate_diff import diff_markdown, diff_text

    before, after = profiles_of(
        (old, new),
        runner({**options, "quiet": True, "processes": None}),
        cwd=Path.cwd(),
        inputs=options["inputs"],
        batch=options["batch"],
        kwargs=parse_kwargs(options["kwargs"]),
    )
    result = diff(before, after)
    if options["form"] == "json":
        document = result.to_dict()
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    elif options["form"] == "markdown":
        text = diff_markdown(result, most=len(result.layers) if options["every"] else 100)
    else:
        text = diff_text(result, every=options["every"])
    deliver(text, options["output"])
    moved = result.of(Change.CHANGED, Change.INSERTED, Change.REMOVED)
    return 1 if options["exit_code"] and moved else 0
