"""Makes and writes reports: each file whole or not at all, into a folder that may hold others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cnnprof.cli.output import write_file
from cnnprof.errors import SchemaError, UsageError

__all__ = ["drawing", "write_site"]


@contextmanager
def drawing(references: Sequence[str]) -> Iterator[None]:
    """While pages are drawn: what breaks on a saved profile is that file's fault, and said in one line.

    A profile's required parts are checked when it's read; its optional sections only show their damage here.
    Raises :class:`SchemaError` naming the saved profiles among ``references``.
    """
    saved = [name for name in references if name.lower().endswith(".json")]
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if not saved:
            raise
        raise SchemaError(
            f"{', '.join(saved)}: a section of the profile is damaged ({type(error).__name__}: {error})",
            "make it again with: cnnprof analyze MODEL --format json -o FILE",
        ) from error


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
