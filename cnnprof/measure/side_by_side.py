"""The same function over many arguments, in several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any, Protocol

from cnnprof.measure.fresh import Call, in_standing_process
from cnnprof.measure.hardware import usable_cores

__all__ = ["Each", "side_by_side", "workers_here"]

_MOST = 8  # a process each loads its libraries anew, and nothing fitted has so many large parts


class Each(Protocol):
    """``function`` of each of ``calls`` (its arguments), in their order."""

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]: ...


def workers_here() -> int:
    """As many as this process may use cores, up to eight."""
    return min(_MOST, usable_cores())


def _one_by_one(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """In this process."""
    return [function(*arguments) for arguments in calls]


@contextmanager
def side_by_side(workers: int) -> Iterator[Each]:
    """In so many processes (with one, in this); functions, arguments and results are picklable.

    Errors are those of :func:`~cnnprof.measure.fresh.in_fresh_process`; the first ends it, and what hadn't begun isn't.
    """
    if workers < 2:
        yield _one_by_one
        return
    with ExitStack() as stack:
        idle: SimpleQueue[Call] = SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(in_standing_process()))
        # A thread per process, to wait for its answers; entered last, they are through before the processes end.
        pool = stack.enter_context(ThreadPoolExecutor(workers))

        def one(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
            call = idle.get()
            try:
                return call(function, *arguments)
            finally:
                idle.put(call)

        def each(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
            answers = [pool.submit(one, function, arguments) for arguments in calls]
            try:
                return [answer.result() for answer in answers]
            except BaseException:
                for answer in answers:
                    answer.cancel()
                raise

        yield each
