"""``cnnprof compare``: several models side by side, as a page or a table."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.options import model_options
from cnnprof.cli.report import lang_option, models_argument

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof compare zoo:resnet50 zoo:mobilenet_v2 -o compare.html
  cnnprof compare old.onnx new.onnx
  cnnprof compare a.json b.json c.json -o compare.html --lang zh-CN
"""


@click.command("compare", epilog=_EPILOG, short_help="Several models side by side.")
@models_argument
@model_options
@click.option("-o", "--output", metavar="FILE", help="Write an HTML page there; without it, print a table.")
@lang_option
@click.option("-q", "--quiet", is_flag=True, help="No notes on standard error.")
def command(*, models: tuple[str, ...], output: str | None, lang: str, quiet: bool, **options: Any) -> None:
    """Compare two or more MODELs: cost, receptive field, cost over depth; accuracy where it is published.

    For exactly two, the page also says stage by stage what differs and which layers explain it.
    """
    from cnnprof.cli.options import profile_of_reference
    from cnnprof.cli.output import deliver, say_notes, write_file
    from cnnprof.cli.site_files import drawing
    from cnnprof.errors import UsageError

    if len(models) < 2:
        raise UsageError("compare: expected at least two models, got 1", "cnnprof compare A B [C ...]")
    if output is not None and not output.lower().endswith((".html", ".htm")):
        raise UsageError(f"{output}: a comparison is one HTML file", "e.g. -o compare.html")
    profiles = []
    for reference in models:
        profiles.append(profile_of_reference(reference, options))
        say_notes(profiles[-1], quiet=quiet)
    from cnnprof.render.views.compare import Subject, compare_rows, told_apart
    from cnnprof.render.views.published import published_of

    subjects = [Subject(profile=profile, published=published_of(profile)) for profile in profiles]
    if output is None:
        from cnnprof.render.compare_text import compare_text

        deliver(compare_text(compare_rows(told_apart(subjects))), None)
        return
    from cnnprof.render.compare_html import compare_page

    with drawing(models):
        page = compare_page(subjects, lang=lang)
    write_file(output, page)
    if not quiet:
        click.echo(f"wrote {output}", err=True)
