"""``cnnprof strip``: an ONNX model's structure without its weights."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof strip model.onnx -o skeleton.onnx
  cnnprof strip model.onnx -o - | cnnprof analyze -
"""


@click.command("strip", epilog=_EPILOG, short_help="An ONNX model without its weights, for the gate or a bug report.")
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write; - for standard output.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(model: str, output: str, force: bool) -> int:
    """Write MODEL's structure without weights: kilobytes that analyse to the same Profile.

    Commit it for the gate, or attach it to a bug report. MODEL itself is never touched.
    """
    import sys

    from cnnprof.cli.output import write_file
    from cnnprof.errors import ModelError, UsageError
    from cnnprof.frontends.onnx.strip import strip
    from cnnprof.render.quantities import nbytes, plain

    source = Path(model)
    if model != "-" and not source.is_file():
        raise ModelError(f"{model}: no such file", "give an ONNX file")
    content = sys.stdin.buffer.read() if model == "-" else None
    try:
        skeleton = strip(source if content is None else content)
    except ModelError as error:
        text = error.message if model in error.message else f"{model}: {error.message}"
        raise ModelError(text, error.hint) from None
    if output == "-":
        sys.stdout.buffer.write(skeleton)
        return 0
    target = Path(output)
    if model != "-" and target.exists() and target.samefile(source):
        raise UsageError(f"{output}: is the model itself", "choose another -o FILE")
    if target.exists() and not force:
        raise UsageError(f"{output}: exists already", "choose another -o FILE, or add --force")
    write_file(output, skeleton)
    size = len(content) if content is not None else source.stat().st_size
    click.echo(f"{plain(output)}: {nbytes(len(skeleton))} (model file: {nbytes(size)})", err=True)
    return 0
