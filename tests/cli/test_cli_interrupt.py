"""``kill`` while something is measured: what there is is kept, and the old handler is back afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from cnnprof.cli.interrupt import kill_keeps


def test_a_kill_is_an_interrupt_and_only_while_it_runs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    kept = []

    @kill_keeps
    def command(*, label: str) -> None:
        """Measure."""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt:
            kept.append(label)

    command(label="a visit")
    assert kept == ["a visit"] and command.__doc__ == "Measure."
    assert signal.getsignal(signal.SIGTERM) is before


def test_errors_pass_and_the_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    @kill_keeps
    def command() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        command()
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_runs_it_without_a_handler() -> None:
    ran = []
    thread = threading.Thread(target=kill_keeps(lambda: ran.append(signal.getsignal(signal.SIGTERM))))
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert ran == [before]
