"""``cnnprof zoo``: the networks the field learnt from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof zoo list
  cnnprof zoo list --theme mobile
  cnnprof zoo show lenet5
  cnnprof analyze zoo:lenet5
"""


@click.group("zoo", epilog=_EPILOG, short_help="The networks the field learnt from.")
def command() -> None:
    """The networks the field learnt from, each with its published facts.

    Any of them is a model reference: cnnprof analyze zoo:NAME (needs torch; most need torchvision).
    """


@command.command("list")
@click.option("--theme", metavar="WORD", help="Only one family: mlp, digits, mobile, ...")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_(theme: str | None, form: str) -> None:
    """List every network: name, year, title, and what it is there to show.

    \b
    Examples:
      cnnprof zoo list
      cnnprof zoo list --theme faces --format json
    """
    from cnnprof.errors import UsageError
    from cnnprof.zoo.catalogue import FAMILIES, entries

    if theme is not None and theme not in FAMILIES:
        raise UsageError(f"--theme {theme}: no such family", f"one of {', '.join(FAMILIES)}")
    rows = [row for row in entries() if theme in (None, row.family)]
    if form == "json":
        click.echo(json.dumps([asdict(row) for row in rows], indent=1, sort_keys=True, ensure_ascii=False))
        return
    _table(rows)


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Show what is known of NAME: paper, idea, published numbers with their sources.

    \b
    Examples:
      cnnprof zoo show lenet5
    """
    from cnnprof.render.quantities import exact, si
    from cnnprof.zoo.catalogue import entry

    row = entry(name.removeprefix("zoo:"))
    click.echo(f"{row.title} ({row.year}) · zoo:{row.name}")
    click.echo(f"{row.authors}: {row.paper}")
    click.echo(f"{row.link}\n")
    click.echo(f"{row.idea}\n")
    click.echo(f"inputs      {', '.join(row.inputs)}")
    for fact in row.published:
        whole = float(fact.value).is_integer()
        value = exact(int(fact.value)) if fact.exact and whole else si(fact.value) if whole else f"{fact.value:g}"
        click.echo(f"published   {fact.metric.replace('_', ' ')} {value} ({fact.source})")
    if row.difference:
        click.echo(f"difference  {row.difference}")
    for stage, model, times in row.calls:
        click.echo(f"stage       {stage}: zoo:{model}, {times:g} times")


def _table(rows: list[Any]) -> None:
    from rich.table import Table

    from cnnprof.cli.output import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "year", "title"):
        table.add_column(title, no_wrap=True)
    theme = ""
    for row in rows:
        if row.theme != theme:
            theme = row.theme
            table.add_row(f"{theme}", "", "", style="bold")
        table.add_row(f"  {row.name}", str(row.year), row.title)
    terminal = console()
    terminal.print(table)
    terminal.print(f"{len(rows)} networks; cnnprof zoo show NAME tells more, cnnprof analyze zoo:NAME costs one")
