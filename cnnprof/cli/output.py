"""Where results go: standard output, or a file written whole or not at all; notes to standard error."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnprof.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from cnnprof.profile import Profile

__all__ = ["console", "deliver", "say_notes", "write_file"]


def console(*, width: int | None = None) -> Console:
    """A console on standard output: colour only on a terminal, 80 columns (or $COLUMNS) when piped."""
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with 1, which here means that the gate says no.
            raise BrokenPipeError

    return QuietConsole(width=width, highlight=False, emoji=False, markup=False)


def deliver(text: str, path: str | None) -> None:
    """Print ``text``, or write it to ``path``."""
    if path is None or path == "-":
        click.echo(text, nl=False)
    else:
        write_file(path, text)


def write_file(path: str, content: str | bytes) -> None:
    """Write through a temporary file beside it, so that a failure leaves no half-written file."""
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
            Path(name).chmod(mode)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{path}: can't write ({reason})", "choose another -o FILE") from None


def say_notes(profile: Profile, *, quiet: bool = False) -> None:
    """The profile's warnings on standard error."""
    from cnnprof.render.quantities import plain

    if quiet:
        return
    for warning in profile.warnings:
        where = f" [{plain(warning['layer'])}]" if "layer" in warning else ""
        click.echo(f"note:{where} {plain(warning['message'])}", err=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
