"""Processes of their own: Ctrl-C reaches the whole terminal's group, and the server that others are forked from stays
and says nothing; what goes wrong in one is one line here."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnprof.errors import ModelError
from cnnprof.measure import fresh

_SLOW = "import time\nprint('importing', flush=True)\ntime.sleep(1.0)\nprint('imported', flush=True)\n"
_ASKING = """
import os
import signal
from cnnprof.measure import fresh


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    fresh._IMPORTED = ("slow_to_import",)
    try:
        fresh.start_server()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print("another:", fresh.in_fresh_process(os.getpid) != os.getpid(), flush=True)


if __name__ == "__main__":
    main()
"""


pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="processes are forked on Unix alone"
)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Where the tests run in a shell's background, Ctrl-C is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_while_the_server_imports_ends_with_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text(_SLOW)
    (tmp_path / "asking.py").write_text(_ASKING)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "asking.py")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=tmp_path, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert sorted(said + rest.split()) == sorted(["importing", "imported", "interrupted", "another:", "True"])
    assert process.returncode == 0


def test_an_interrupt_at_the_moment_of_the_launch_waits_for_its_end_and_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched = []

    def launch() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        launched.append(True)

    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", launch)
    with pytest.raises(KeyboardInterrupt):
        fresh._launch_server()
    assert launched == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_an_interrupt_that_a_forked_process_could_not_hear_ends_it_without_an_answer() -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as the server it is forked from
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    fresh._answer(sender, os.getpid, ())
    sender.close()
    with pytest.raises(EOFError):
        receiver.recv()
    receiver.close()


def test_what_nobody_foresaw_in_a_process_is_one_line_here_with_its_traceback_for_debug() -> None:
    with pytest.raises(ModelError, match=r"internal.*ValueError: invalid literal.*--debug") as caught:
        fresh.in_fresh_process(int, "seven")
    assert "Traceback" in str(caught.value.__cause__) and "ValueError" in str(caught.value.__cause__)


def test_a_process_that_was_killed_may_have_run_out_of_memory_and_one_that_left_did_not() -> None:
    with pytest.raises(ModelError, match="out of memory"):
        fresh.in_fresh_process(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(ModelError, match="--debug"):
        fresh.in_fresh_process(os._exit, 3)
