"""Writes the files of a site: into a folder that may hold others, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cnnprof.cli.output import write_file
from cnnprof.errors import UsageError

__all__ = ["write_site"]


def write_site(folder: str, files: Mapping[str, str]) -> None:
    """Write ``files`` (path below ``folder`` -> text). Pages come last, so that none links to what isn't there yet.

    Raises :class:`UsageError` if the folder can't be made or written.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise UsageError(f"{folder}: is a file", "give a folder, or a file name that ends in .html")
    order = sorted(files, key=lambda path: (path.endswith(".html"), path == "index.html", path))
    for path in order:
        target = root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{target.parent}: can't make the folder ({error.strerror or error})", "choose another -o"
            ) from None
        write_file(str(target), files[path])
