"""``cnnprof crosscheck``: our count beside another tool's, or in its convention."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cnnprof.cli.options import model_argument, model_options

if TYPE_CHECKING:
    from cnnprof.analyses.conventions import Projection
    from cnnprof.analyses.crosscheck import Crosscheck

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof crosscheck torchvision:resnet50 --against fvcore
  cnnprof crosscheck torchvision:mobilenet_v2 --against torch --training
  cnnprof crosscheck model.onnx --convention thop
"""


@click.command("crosscheck", epilog=_EPILOG, short_help="Our count beside another tool's, every difference explained.")
@model_argument
@model_options
@click.option(
    "--against", type=click.Choice(["fvcore", "torch"]),
    help="Run that tool too and explain every difference (PyTorch models).",
)  # fmt: skip
@click.option(
    "--convention", type=click.Choice(["paper", "fvcore", "thop", "ptflops", "torch"]),
    help="Count as that tool would, without running it (any model).",
)  # fmt: skip
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of standard output.")
def command(
    *, model: str, against: str | None, convention: str | None, form: str, output: str | None, **options: Any
) -> None:
    """Set our count of MODEL beside another tool's.

    --against runs the tool on the same model and lists, by module and operator, where it differs and why; the
    explained differences sum to the whole gap, or what is left is shown. --convention projects our count onto a tool's
    formulas without it.
    """
    from cnnprof.cli.output import deliver
    from cnnprof.errors import UsageError

    if (against is None) == (convention is None):
        raise UsageError("crosscheck: expected one of --against and --convention", "e.g. --against torch")
    if convention is not None:
        from cnnprof.analyses.conventions import project
        from cnnprof.cli.options import graph_of

        projection = project(graph_of(model, options), convention)
        deliver(_json(projection.to_dict()) if form == "json" else _projection(projection), output)
        return
    found = _run(model, against or "", options)
    deliver(_json(found.to_dict()) if form == "json" else _crosscheck(found), output)


def _run(model: str, against: str, options: dict[str, Any]) -> Crosscheck:
    from cnnprof.cli.options import parse_kwargs
    from cnnprof.errors import UsageError
    from cnnprof.frontends.inputs import parse_inputs
    from cnnprof.frontends.sources import is_torch_reference

    if not is_torch_reference(model):
        raise UsageError(
            f"--against {against}: runs PyTorch models only, got {model}",
            f"cnnprof crosscheck {model} --convention fvcore",
        )
    from cnnprof.measure.crosscheck_torch import crosscheck_reference

    return crosscheck_reference(
        model,
        against,
        inputs=parse_inputs(options.get("inputs") or ()),
        kwargs=parse_kwargs(options.get("kwargs") or ()),
        batch=options.get("batch"),
        training=bool(options.get("training")),
    )


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _projection(projection: Projection) -> str:
    chosen = projection.convention
    lines = [f"{chosen.name}: {chosen.title} ({chosen.source})", ""]
    lines += [f"{value:>22,}  {kind}" for kind, value in projection.by_kind().items()]
    lines += [f"{projection.total:>22,}  total, in {chosen.unit}"]
    if not projection.complete:
        lines += ["", "A lower bound: some operators can't be counted."]
    return "\n".join(lines) + "\n"


def _crosscheck(found: Crosscheck) -> str:
    lines = [
        f"in {found.tool}'s unit: {found.unit}",
        f"{found.ours:>22,}  ours",
        f"{found.theirs:>22,}  {found.tool}",
        f"{found.gap:>+22,}  gap",
    ]
    if found.differences:
        lines += ["", "why:"]
        lines += [f"{gap:>+22,}  {reason}" for reason, gap in found.by_reason().items()]
        lines += ["", "where:"]
        lines += [
            f"{d.gap:>+22,}  {d.scope or '(top)'} · {d.operator}: {d.ours:,} ours, {d.theirs:,} {found.tool}"
            for d in found.differences
        ]
    verdict = (
        "Every difference is explained, and together they are the gap."
        if found.closes
        else f"{len(found.unexplained)} differences are NOT explained; the explained ones sum to {found.explained:+,}."
    )
    return "\n".join([*lines, "", verdict]) + "\n"
