"""Building a graph makes millions of small objects that live to the end; looking for cycles among them again
and again is most of what Python's collector then does."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_paused"]


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the cycle collector and leave it as it was found. Reference counting goes on. Also a decorator."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
