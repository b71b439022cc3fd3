"""A plain ``kill`` ends a long measurement as Ctrl-C does, with what was measured so far kept."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

__all__ = ["kill_keeps"]

F = TypeVar("F", bound=Callable[..., None])


def kill_keeps(command: F) -> F:
    """Let SIGTERM interrupt ``command``: a job in the background never sees Ctrl-C, and would lose everything."""

    @functools.wraps(command)
    def wrapped(*args: object, **options: object) -> None:
        if threading.current_thread() is not threading.main_thread():  # nobody else may handle signals
            command(*args, **options)
            return
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **options)
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapped  # type: ignore[return-value]


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
