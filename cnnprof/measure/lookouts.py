"""Looks at every core, where several threads compute on all of them: a thread on each, that stays there.

Two things are seen that one core by itself doesn't show. Two virtual cores can be the two threads of one physical core,
for as long as the host leaves them there: each is quiet while the other rests, so all are looked at at once. And they
can be far apart, behind different caches: then what one computed takes the other two or three times as long to fetch
(16 or 28 µs instead of 9, on two EPYCs), and networks of two threads 1.15 to 1.5 times as long. What handing something
over takes shows it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

__all__ = ["Lookouts", "hash_once", "hashing_s"]

_HASHED = bytes(150_000)
_TIMES = 2
_HANDED_BYTES = 256 << 10  # a core's own cache holds twice as much


def hashing_s() -> float:
    """CPU seconds of hashing something, about 0.15 ms: the lesser of two, after one more, by which the others have
    begun too. It holds no lock meanwhile, and takes as long in every process, to 1 or 2 %; beside a neighbour, 1.2 to
    1.6 times that. (A loop of Python takes up to 20 % more or less with each process.)"""
    _timed()
    return min(_timed() for _ in range(_TIMES))


def hash_once() -> None:
    """Work of fixed size, about 0.15 ms."""
    hashlib.blake2b(_HASHED)


def _timed() -> float:
    began = time.thread_time()
    hash_once()
    return time.thread_time() - began


class Lookouts:
    """A thread bound to each of the ``cores``, that calls ``probe`` there. :meth:`close` ends the threads."""

    def __init__(self, cores: Sequence[int], probe: Callable[[], float] = hashing_s) -> None:
        self._all = [_Lookout(core) for core in cores]
        self._probe = probe

    def at_once(self) -> list[float]:
        """What the probe finds while all cores work."""
        for one in self._all:
            one.begin(self._probe)
        return [one.found() for one in self._all]

    def alone(self) -> list[float]:
        """What the probe finds while the other cores rest."""
        return [one.do(self._probe) for one in self._all]

    def handing_over_s(self) -> float:
        """CPU seconds in which a core copies 256 KiB that the one before it has just written: the lesser of two for
        each core, and the most of all cores."""
        taken = [min(self._handed_to(place) for _ in range(_TIMES)) for place in range(len(self._all))]
        return max(taken, default=0.0)

    def _handed_to(self, place: int) -> float:
        giver, taker = self._all[place - 1], self._all[place]
        giver.do(giver.write)
        return taker.do(lambda: taker.copy(giver))

    def close(self) -> None:
        """Let the threads end; afterwards there is nobody to look."""
        for one in self._all:
            one.end()
        self._all = []


class _Lookout:
    def __init__(self, core: int) -> None:
        self._core = core
        self._wanted, self._there = threading.Semaphore(0), threading.Semaphore(0)
        self._task: Callable[[], float] | None = None
        self._found = 0.0
        self._given = np.zeros(_HANDED_BYTES, np.uint8)
        self._taken = np.zeros(_HANDED_BYTES, np.uint8)
        self._thread = threading.Thread(target=self._watch, name=f"cnnprof-lookout-{core}", daemon=True)
        self._thread.start()

    def begin(self, task: Callable[[], float]) -> None:
        self._task = task
        self._wanted.release()

    def found(self) -> float:
        self._there.acquire()
        return self._found

    def do(self, task: Callable[[], float]) -> float:
        self.begin(task)
        return self.found()

    def end(self) -> None:
        self._task = None
        self._wanted.release()
        self._thread.join()

    def write(self) -> float:
        self._given += 1
        return 0.0

    def copy(self, giver: _Lookout) -> float:
        self._taken += 1  # so that this side is near
        began = time.thread_time()
        np.copyto(self._taken, giver._given)
        return time.thread_time() - began

    def _watch(self) -> None:
        with suppress(OSError):  # a core that was taken away meanwhile: it looks from wherever it runs
            os.sched_setaffinity(0, (self._core,))
        while True:
            self._wanted.acquire()
            if self._task is None:
                return
            self._found = self._task()
            self._there.release()
