"""Opens a model file for reading without taking it into memory."""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnprof.errors import ModelError
from cnnprof.frontends.onnx.wire import Buffer

__all__ = ["opened"]

_IN_MEMORY = 1 << 20  # a smaller file is read whole: indexing bytes is faster than indexing a map
_MAX_PIPE = 1 << 31


@contextmanager
def opened(source: Path | bytes) -> Iterator[Buffer]:
    """The bytes of ``source``, mapped where the file is large. Raises :class:`ModelError`."""
    if isinstance(source, bytes):
        if not source:
            raise ModelError("standard input is empty", "pipe an ONNX file into it")
        yield source
        return
    try:
        mode = source.stat()
        if stat.S_ISDIR(mode.st_mode):
            raise ModelError(f"{source}: is a directory", "give the .onnx file inside it")
        regular = stat.S_ISREG(mode.st_mode)
        if not regular and not stat.S_ISFIFO(mode.st_mode):
            raise ModelError(f"{source}: is no file", "give an .onnx file")
        with source.open("rb") as file:
            if not regular or mode.st_size <= _IN_MEMORY:
                data = file.read(_MAX_PIPE)
                if not data:
                    raise ModelError(f"{source}: is empty", "export the model again, or check the download")
                yield data
                return
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with suppress(AttributeError, OSError):
                mapped.madvise(mmap.MADV_RANDOM)  # no read-ahead into weights that are skipped
            with mapped:
                yield mapped
    except OSError as error:
        raise ModelError(f"{source}: can't be read: {error.strerror or error}", "check the path") from None
