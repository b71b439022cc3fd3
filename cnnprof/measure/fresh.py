"""Calls functions in processes of their own: no allocator, cache, thread pool or profiler is left over from what ran
before, or gets into what runs here."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from cnnprof.errors import CnnprofError, ModelError

__all__ = ["in_fresh_process", "in_standing_process", "start_server"]

Result = TypeVar("Result")
Call = Callable[..., Any]
# Seconds of imports that every process would spend again.
_IMPORTED = (
    "cnnprof.measure.verify_visit", "cnnprof.measure.runner_torch", "cnnprof.measure.calibrate_torch",
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
        return _received(receiver, process)  # type: ignore[no-any-return]
    finally:
        receiver.close()
        _end(process)


@contextmanager
def in_standing_process() -> Iterator[Call]:
    """What calls functions as :func:`in_fresh_process` does, one after the other in one process that stays: what it
    loads it loads once, and what spoils it for measuring spoils nothing here."""
    context = _context()
    here, there = context.Pipe()
    process = context.Process(target=_answer_all, args=(there,), daemon=True)
    process.start()
    there.close()

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            here.send((function, arguments))
        except BrokenPipeError:
            raise _died(process) from None
        return _received(here, process)

    try:
        yield call
    finally:
        here.close()  # it ends then
        _end(process)


def _received(answers: Connection, process: Any) -> Any:
    try:
        done, value = answers.recv()
    except (EOFError, ConnectionResetError):
        raise _died(process) from None
    if done:
        return value
    kind, message, hint, trace = value
    raise kind(message, hint) from (_RemoteError(trace) if trace else None)


class _RemoteError(Exception):
    """An error's traceback in the process that it is of: ``--debug`` shows it."""


def _died(process: Any) -> ModelError:
    process.join(timeout=5)
    killed = process.exitcode == -getattr(signal, "SIGKILL", 9)  # as the kernel does where memory is short
    return ModelError(
        f"a helper process ended with code {process.exitcode}",
        "it may have run out of memory" if killed else "run it again with --debug and report it",
    )


def _end(process: Any) -> None:
    if process.is_alive():
        process.join(timeout=5)
    if process.is_alive():
        process.terminate()
        process.join()


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
    _launch_server()
    return context


def _launch_server() -> None:
    """Ctrl-C reaches the server too: while it imports, that would end it with a traceback, so it starts with the signal
    blocked, and keeps it so. (Nothing happens if it runs.)"""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # first: starting it unblocks the signal
    with _interrupt_later():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """A Ctrl-C that comes in here counts at its end: halfway through a launch it would leave a server nobody knows."""
    if threading.current_thread() is not threading.main_thread():  # no other may say what becomes of a signal
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _hear() -> None:
    """In a process that the server forked: Ctrl-C is for it again, and one that came since the fork ends it now.

    Raises :class:`KeyboardInterrupt` then.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    answer = _answer_to(_heard, (function, arguments))
    if answer is not None:
        with suppress(BrokenPipeError):  # whoever asked has gone: Ctrl-C ends a verify while this one measures
            sender.send(answer)


def _answer_all(pipe: Connection) -> None:
    if _answer_to(_hear, ()) is None:
        return
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        answer = _answer_to(function, arguments)
        if answer is None:
            return
        with suppress(BrokenPipeError):
            pipe.send(answer)


def _heard(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    _hear()
    return function(*arguments)


def _answer_to(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any] | None:
    """(whether it was done, the result or the error's parts); None where it was interrupted."""
    try:
        return True, function(*arguments)
    except CnnprofError as error:
        return False, (type(error), error.message, error.hint, "")
    except KeyboardInterrupt:
        return None
    except Exception as error:  # nobody foresaw it: one line here too, and the rest for who asks
        message = f"internal, in a helper process: {type(error).__name__}: {error}"
        return False, (ModelError, message, "run it again with --debug and report it", traceback.format_exc())
