"""The range of a calibration, by kernels of which one thing varies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnprof.predict.kernels import Kernel
from cnnprof.predict.ranges import OUTSIDE_WIDER, beyond_others, box_of, is_inside, widening


def conv(flops: float) -> Kernel:
    return Kernel(
        name="c", ops=("c",), cls="conv_dense", path="", flops=flops, bytes_in=4e4, bytes_weights=4e3, bytes_out=4e4,
        channels_in=16, channels_out=16, groups=1, positions=100, taps=9, stride=1, batch=1,
    )  # fmt: skip


def test_twice_as_much_as_was_seen_is_inside_and_four_times_is_not() -> None:
    box = box_of([conv(1e6), conv(4e6)])
    assert box["flops"] == pytest.approx([math.log1p(1e6), math.log1p(4e6)])
    assert box["taps"] == pytest.approx([math.log1p(9)] * 2)
    for flops, inside in ((0.2e6, False), (0.5e6, True), (2e6, True), (8e6, True), (8.1e6, False)):
        assert is_inside(conv(flops), box) is inside, flops  # e^0.7 is 2.01
    assert not is_inside(conv(1e6), None)


def test_widening_by_hand() -> None:
    assert OUTSIDE_WIDER == 2.0
    assert [widening(share) for share in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]
    assert [widening(share, 4.0) for share in (0.0, 0.5, 1.0)] == [1.0, 2.5, 4.0]
    assert widening(np.array([0.0, 0.5]), 4.0).tolist() == [1.0, 2.5]


def test_each_fold_is_held_against_the_others() -> None:
    kernels = [conv(flops) for flops in (1e6, 2e6, 1e6, 2e6, 16e6, 1.5e6)]
    fold = np.array([0, 0, 1, 1, 2, 2])
    assert beyond_others(kernels, fold, 4).tolist() == [False, False, False, False, True, False]
    assert beyond_others(kernels, fold, 5).tolist() == [True] * 6  # four others are too few to span anything
    # Two odd ones, in two folds: each makes room for what is smaller than itself.
    assert beyond_others([*kernels, conv(64e6)], np.array([*fold, 0]), 4).tolist() == [False] * 6 + [True]
