"""Calls a function in a process of its own: no allocator, cache or thread pool is left over from what ran before."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from cnnprof.errors import CnnprofError, ModelError

__all__ = ["in_fresh_process", "start_server"]

Result = TypeVar("Result")
# Seconds of imports that every process would spend again.
_IMPORTED = (
    "cnnprof.measure.verify", "cnnprof.measure.runner_torch", "cnnprof.measure.calibrate_torch",
    "cnnprof.measure.calibrate_onnxruntime", "onnxruntime", "torchvision", "timm",
)  # fmt: skip


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """``function(*arguments)`` in a process of its own; function, arguments and result are picklable.

    Processes are forked from a server that has imported the frameworks and run nothing (where the system can't fork:
    new interpreters).

    Raises what the function raises of :class:`CnnprofError`; :class:`ModelError` if the process died.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        done, value = receiver.recv()
    except EOFError:
        process.join()
        raise ModelError(
            f"the process that measured ended with code {process.exitcode}", "it may have run out of memory"
        ) from None
    finally:
        receiver.close()
        if process.is_alive():
            process.join(timeout=5)
        if process.is_alive():
            process.terminate()
            process.join()
    if done:
        return value  # type: ignore[no-any-return]
    kind, message, hint = value
    raise kind(message, hint)


def start_server() -> None:
    """Start what processes are forked from, unless it runs, and wait for its imports: they are no part of what is
    timed. Processes may use the cores that this thread may now."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        in_fresh_process(_nothing)


def _nothing() -> None:
    """Over as soon as there is a process."""


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))  # what isn't installed is left out
    return context


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer: tuple[bool, Any] = (True, function(*arguments))
    except CnnprofError as error:
        answer = (False, (type(error), error.message, error.hint))
    except KeyboardInterrupt:
        return
    with suppress(BrokenPipeError):  # whoever asked has gone: Ctrl-C ends a verify while this one measures
        sender.send(answer)
