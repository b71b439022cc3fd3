"""``cnnprof report``: HTML reports, a site or one self-contained file."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.options import model_options

__all__ = ["command", "lang_option", "models_argument"]

_EPILOG = """\b
Examples:
  cnnprof report model.onnx -o report.html
  cnnprof report torchvision:resnet50 zoo:lenet5 model.onnx -o out/
  cnnprof report profile.json -o report.html --lang zh-CN
  cnnprof report reports/accuracy/my-laptop.json -o accuracy.html
"""

models_argument = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(exists=False, allow_dash=True)
)
lang_option = click.option(
    "--lang", type=click.Choice(["en", "zh-CN"]), default="en", show_default=True,
    help="Language of labels and captions; names and numbers stay.",
)  # fmt: skip


@click.command("report", epilog=_EPILOG, short_help="HTML reports: a site, or one file.")
@models_argument
@model_options
@click.option(
    "-o", "--output", metavar="PATH", help="A file ending in .html, or a folder. Default: report.html or report/."
)
@lang_option
@click.option("--title", default="", help="Title of the site's first page.")
@click.option("-q", "--quiet", is_flag=True, help="No notes on standard error.")
def command(
    *,
    models: tuple[str, ...],
    output: str | None,
    lang: str,
    title: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Reports of one or more MODELs that people can read: where the cost goes, memory, receptive field, graph,
    every layer with its formula.

    A folder gets a site: index, a page per model, a compare page, data as JSON and CSV. A file that ends in .html is
    self-contained and holds one model. Pages need no network and no script.

    MODEL is what "cnnprof analyze" takes, saved profiles (.json) among it. An accuracy record of "cnnprof verify"
    (.json) gets its page of prediction against measurement.
    """
    from cnnprof.cli.options import profile_of_reference
    from cnnprof.cli.output import say_notes, write_file
    from cnnprof.cli.site_files import drawing, write_site
    from cnnprof.errors import UsageError

    output = output or ("report.html" if len(models) == 1 else "report/")
    single = output.lower().endswith((".html", ".htm"))
    if single and len(models) > 1:
        raise UsageError(
            f"{output}: one file holds one model, got {len(models)}",
            "give a folder (-o out/), or use: cnnprof compare A B -o compare.html",
        )
    if output == "-":
        raise UsageError("-o -: a report is written to a file or a folder", "e.g. -o report.html")
    if _accuracy_page(models, output, single=single, lang=lang):
        if not quiet:
            click.echo(f"wrote {output}", err=True)
        return
    profiles = []
    for reference in models:
        profiles.append(profile_of_reference(reference, options))
        say_notes(profiles[-1], quiet=quiet)
    if single:
        from cnnprof.render.html import model_page
        from cnnprof.render.views.published import published_of

        with drawing(models):
            page = model_page(profiles[0], lang=lang, published=published_of(profiles[0]))
        write_file(output, page)
    else:
        from cnnprof.render.site import site

        with drawing(models):
            files = site(profiles, lang=lang, title=title)
        write_site(output, files)
        output = f"{output.rstrip('/')}/index.html"
    if not quiet:
        click.echo(f"wrote {output}", err=True)


def _accuracy_page(models: tuple[str, ...], output: str, *, single: bool, lang: str) -> bool:
    """Write the page of an accuracy record, if the one file given is such a record."""
    from cnnprof.cli.options import read_bytes
    from cnnprof.cli.output import write_file
    from cnnprof.errors import UsageError
    from cnnprof.render.views.accuracy_record import accuracy_record, is_accuracy_record

    saved = [name for name in models if name.lower().endswith(".json")]
    record = next(((name, text) for name in saved if is_accuracy_record(text := read_bytes(name))), None)
    if record is None:
        return False
    name, text = record
    document = accuracy_record(text, origin=name)
    if len(models) > 1 or not single:
        raise UsageError(f"{name}: an accuracy record makes one page of its own", "give it alone, with -o FILE.html")
    from cnnprof.render.accuracy_html import accuracy_page

    write_file(output, accuracy_page(document, origin=name, lang=lang))
    return True
