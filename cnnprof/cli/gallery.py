"""``python -m cnnprof.cli.gallery``: make the committed gallery, or check that it is current."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]

_EPILOG = """\b
Examples:
  python -m cnnprof.cli.gallery -o reports/
  python -m cnnprof.cli.gallery -o reports/ --check
  python -m cnnprof.cli.gallery -o /somewhere --only zoo:lenet5 --only zoo:resnet50
"""


@click.command("gallery", epilog=_EPILOG)
@click.option("-o", "--output", metavar="DIR", default="reports", show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if DIR isn't what would be written.")
@click.option("--only", multiple=True, metavar="MODEL", help="These networks alone. Repeat for several.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Processes (default: one per processor).")
def command(*, output: str, check: bool, only: tuple[str, ...], jobs: int | None) -> None:
    """Reports of every network of the zoo, the comparison, the story in both languages, and a page for every
    accuracy record (accuracy/*.json) that DIR holds."""
    from cnnprof.cli.site_files import write_site
    from cnnprof.errors import CnnprofError, UsageError
    from cnnprof.render.gallery import LIMIT_BYTES, gallery, references, stale

    try:
        names = only or references()
        there = sorted((Path(output) / "accuracy").glob("*.json"))
        records = {f"accuracy/{path.name}": path.read_bytes() for path in there}
        files = gallery(names, records=records, jobs=jobs, progress=lambda name: click.echo(f"  {name}", err=True))
        size = sum(len(text.encode()) for text in files.values())
        if size > LIMIT_BYTES:
            raise UsageError(f"gallery: {size:,} bytes, over the limit of {LIMIT_BYTES:,}", "leave networks out")
        if not check:
            write_site(output, files)
            for line in stale(Path(output), files):
                click.echo(f"{line} (remove it)" if line.startswith("left over") else line, err=True)
            click.echo(f"wrote {len(files)} files, {size / 1e6:.1f} MB, to {output}", err=True)
            return
        found = stale(Path(output), files)
    except CnnprofError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    for line in found:
        click.echo(line, err=True)
    if found:
        click.echo(f"{output}: {len(found)} files are not current; run: make reports", err=True)
        sys.exit(1)
    click.echo(f"{output}: {len(files)} files are current ({size / 1e6:.1f} MB)", err=True)


if __name__ == "__main__":
    command()
