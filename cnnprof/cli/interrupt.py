"""A plain ``kill`` ends a long measurement as Ctrl-C does, with what was measured so far kept."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec

__all__ = ["kill_keeps"]

P = ParamSpec("P")


def kill_keeps(command: Callable[P, None]) -> Callable[P, None]:
    """Let SIGTERM interrupt ``command``: a job in the background never sees Ctrl-C, and would lose everything."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> None:
        if threading.current_thread() is not threading.main_thread():  # nobody else may handle signals
            command(*args, **options)
            return
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            command(*args, **options)
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapped


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
