"""Work in several processes at once: answers in order, errors as they are in one."""

from __future__ import annotations

import os
import threading

import pytest

from cnnprof.errors import ModelError
from cnnprof.measure.side_by_side import side_by_side, workers_here


def test_answers_come_in_the_order_of_the_calls_from_other_processes() -> None:
    with side_by_side(2) as each:
        assert each(pow, [(2, power) for power in range(20)]) == [2**power for power in range(20)]
        there = set(each(os.getpid, [()] * 20))
        assert os.getpid() not in there and len(there) <= 2
        assert set(each(os.getpid, [()] * 20)) | there == there  # they stay
    for process in there:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_one_worker_is_this_process() -> None:
    with side_by_side(1) as each:
        assert each(os.getpid, [(), ()]) == [os.getpid()] * 2


def test_an_error_is_an_error_here_and_leaves_nothing_behind() -> None:
    before = threading.active_count()
    with side_by_side(2) as each:
        with pytest.raises(ModelError, match="ValueError"):
            each(int, [("1",), ("one",), ("2",)])
        assert each(int, [("3",)]) == [3]
    assert threading.active_count() == before


def test_no_more_workers_than_cores() -> None:
    assert 1 <= workers_here() <= min(8, os.cpu_count() or 1)
