"""``cnnprof analyze``: what a model costs, layer by layer."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.options import model_argument, model_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof analyze model.onnx
  cnnprof analyze model.onnx --input 1x3x480x640 --sort macs --top 10
  cnnprof analyze torchvision:resnet50 --depth 2
  cnnprof analyze model.onnx --format csv -o layers.csv
  cnnprof analyze model.onnx --format json | jq .totals
  cat model.onnx | cnnprof analyze -
"""


@click.command("analyze", epilog=_EPILOG, short_help="What a model costs, layer by layer.")
@model_argument
@model_options
@click.option(
    "-f", "--format", "form", type=click.Choice(["table", "json", "csv", "markdown"]), default="table",
    help="JSON and CSV are exact.", show_default=True,
)  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
@click.option("--depth", type=click.IntRange(min=0), help="Sum layers up by this many levels of modules.")
@click.option(
    "--sort", type=click.Choice(["macs", "flops", "params", "activations", "memory", "name"]),
    help="Largest first (default: execution order).",
)  # fmt: skip
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the N largest rows.")
@click.option("--all", "every", is_flag=True, help="Every layer, however many.")
@click.option("--strict", is_flag=True, help="Fail (exit 3) if any operator's cost is unknown.")
@click.option("-q", "--quiet", is_flag=True, help="No notes on standard error.")
def command(
    *,
    model: str,
    form: str,
    output: str | None,
    depth: int | None,
    sort: str | None,
    top: int | None,
    every: bool,
    strict: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """What MODEL costs, layer by layer: MACs, FLOPs, parameters, activations, memory traffic.

    MODEL is an ONNX file (or - for standard input), torchvision:NAME, timm:NAME, zoo:NAME,
    package.module:callable, file.py:callable, a torch.export archive (.pt2), or a saved profile (.json).

    A cost that isn't known is shown as "?", never as zero; totals are then lower bounds.
    """
    from cnnprof.cli.options import profile_of_reference
    from cnnprof.cli.output import deliver, say_notes
    from cnnprof.errors import UsageError

    if every and (depth is not None or top is not None):
        raise UsageError("--all: doesn't go with --depth or --top", "leave one of them out")
    profile = profile_of_reference(model, options, strict=strict)
    say_notes(profile, quiet=quiet)
    if form == "json":
        deliver(profile.to_json(), output)
        return
    from cnnprof.render import flat, rollup

    if form == "csv":
        deliver(flat.to_csv(profile), output)
        return
    if depth is None and not every:
        depth = rollup.best_depth(profile)
    rows = rollup.layer_rows(profile.layers) if depth is None else rollup.rolled_rows(profile, depth)
    if not every and top is None and depth is None and len(rows) > rollup.ROWS_AT_A_GLANCE:
        top = rollup.ROWS_AT_A_GLANCE
    selection = rollup.select(rows, sort=sort, top=top)
    if form == "markdown":
        deliver(flat.to_markdown(profile, selection), output)
        return
    _table(profile, selection, rolled=depth is not None, output=output)


def _table(profile: Any, selection: Any, *, rolled: bool, output: str | None) -> None:
    from cnnprof.cli.output import console, deliver
    from cnnprof.render.table import print_profile

    terminal = console()
    if output is None or output == "-":
        print_profile(terminal, profile, selection, rolled=rolled)
        return
    with terminal.capture() as captured:
        print_profile(terminal, profile, selection, rolled=rolled)
    deliver(captured.get(), output)
