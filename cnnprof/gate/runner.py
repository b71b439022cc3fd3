"""Runs analyses: from the cache where it holds them, else in parallel processes, with progress.

A worker that dies takes down its one job; one that takes too long is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnprof.errors import CnnprofError, ModelError
from cnnprof.gate.cache import ProfileCache
from cnnprof.gate.job import Job, cache_key
from cnnprof.measure.hardware import usable_cores
from cnnprof.profile import Profile

__all__ = ["Progress", "Result", "run_jobs"]

Result = Profile | CnnprofError


@dataclass(frozen=True, slots=True)
class Progress:
    """One model is done: the how-many-th of how many, and whether the cache had it."""

    done: int
    total: int
    shown: str
    cached: bool
    failed: bool


class _StoredError(CnnprofError):
    """An error that happened in a worker."""

    def __init__(self, message: str, hint: str | None, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


def run_jobs(
    jobs: Sequence[Job],
    *,
    cache: ProfileCache | None = None,
    processes: int | None = None,
    timeout_s: float = 600.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Mapping[str, Result]:
    """Every job's Profile, or the error that stopped it, by ``job.key``; equal jobs run once.

    ``processes`` None: one per core that this process may use.
    """
    unique = list({job.key: job for job in jobs}.values())
    results: dict[str, Result] = {}
    keys: dict[str, str | None] = {}
    lock = threading.Lock()

    def finish(job: Job, result: Result, cached: bool) -> None:
        with lock:
            results[job.key] = result
            failed = isinstance(result, CnnprofError)
            progress(Progress(len(results), len(unique), job.shown, cached, failed))

    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    count = 0
    for job in unique:
        key = keys[job.key] = None if cache is None else cache_key(job)
        found = cache.get(key) if cache is not None and key is not None else None
        if found is not None:
            finish(job, found, cached=True)
        else:
            waiting.put(job)
            count += 1
    workers = min(count, processes or usable_cores())
    stop = threading.Event()
    arguments = (waiting, keys, cache, timeout_s, finish, stop)
    threads = [threading.Thread(target=_serve, args=arguments, daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # an interrupt must not wait for the models that are left
    if cache is not None and count:
        cache.prune()
    return results


def _serve(
    waiting: queue.SimpleQueue[Job],
    keys: Mapping[str, str | None],
    cache: ProfileCache | None,
    timeout_s: float,
    finish: Callable[[Job, Result, bool], None],
    stop: threading.Event,
) -> None:
    """One worker process and the jobs it is fed, until none is left."""
    worker: _Worker | None = None
    try:
        while not stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            worker = worker or _Worker()
            answer = worker.ask(job, timeout_s)
            if worker.dead:
                worker = None
            if isinstance(answer, CnnprofError):
                if not stop.is_set():
                    finish(job, answer, False)
                continue
            try:
                profile = Profile.from_json(answer, origin=job.shown)
            except CnnprofError as error:
                finish(job, error, False)
                continue
            key = keys[job.key]
            if cache is not None and key is not None:
                cache.put(key, answer)
            finish(job, profile, False)
    finally:
        if worker is not None:
            worker.close()


class _Worker:
    def __init__(self) -> None:
        root = str(Path(__file__).parent.parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cnnprof.gate.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("CNNPROF_DEBUG") else None,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.dead = False

    def ask(self, job: Job, timeout_s: float) -> str | CnnprofError:
        assert self._process.stdin is not None and self._process.stdout is not None
        expired = threading.Event()

        def end() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            self._process.stdin.write(job.key + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, OSError):
            line = ""
        finally:
            timer.cancel()
        if line:
            answer = json.loads(line)
            if "profile" in answer:
                return str(answer["profile"])
            return _StoredError(answer["message"], answer["hint"], answer["exit_code"])
        self.dead = True
        self.close()
        if expired.is_set():
            return ModelError(f"{job.shown}: the analysis took longer than {timeout_s:g} s", "give more with --timeout")
        code = self._process.returncode
        return ModelError(
            f"{job.shown}: the analysis process died (exit code {code})",
            f"try it alone: cnnprof analyze {job.reference}",
        )

    def close(self) -> None:
        """End the process; it leaves by itself when its input ends."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
