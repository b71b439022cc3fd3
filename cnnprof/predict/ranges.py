"""What a calibration has seen: the box of each kind of kernel's features. Beyond it, intervals are wider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cnnprof.predict.features import FEATURES, RANGED, row_of
from cnnprof.predict.kernels import Kernel

__all__ = ["OUTSIDE_WIDER", "beyond_others", "box_of", "is_inside", "widening"]

Floats = npt.NDArray[np.float64]
# A kernel this far (in logarithms: a factor of e^0.7 ≈ 2) beyond the calibrated range is outside it.
_SLACK = 0.7
OUTSIDE_WIDER = 2.0  # where a calibration didn't find out by how much


def box_of(kernels: Sequence[Kernel]) -> dict[str, list[float]]:
    """The least and the most of each feature that has a range, over ``kernels`` of one kind."""
    rows = np.array([row_of(kernel) for kernel in kernels])
    return {name: [float(rows[:, i].min()), float(rows[:, i].max())] for i, name in enumerate(RANGED)}


def is_inside(kernel: Kernel, box: Mapping[str, Sequence[float]] | None) -> bool:
    """Whether ``kernel`` lies in the ``box`` of its kind, or near it; not where that was never calibrated (None)."""
    if box is None:
        return False
    row = dict(zip(FEATURES, row_of(kernel), strict=True))
    return all(low - _SLACK <= row[name] <= high + _SLACK for name, (low, high) in box.items())


T = TypeVar("T", float, Floats)


def widening(outside: T, wider: float = OUTSIDE_WIDER) -> T:
    """What an interval is multiplied by where so large a share of the time lies ``outside`` the calibrated range;
    ``wider`` where all does."""
    return 1.0 + outside * (wider - 1.0)


def beyond_others(kernels: Sequence[Kernel], fold: npt.NDArray[np.int64], fewest: int) -> npt.NDArray[np.bool_]:
    """For each of ``kernels`` of one kind, whether it is outside of what the kernels of other folds span; all are of a
    fold that leaves fewer than ``fewest`` others."""
    rows = np.array([row_of(kernel)[: len(RANGED)] for kernel in kernels])
    outside = np.ones(len(kernels), dtype=np.bool_)
    for part in np.unique(fold):
        held = fold == part
        if (~held).sum() >= fewest:
            low, high = rows[~held].min(axis=0) - _SLACK, rows[~held].max(axis=0) + _SLACK
            outside[held] = ((rows[held] < low) | (rows[held] > high)).any(axis=1)
    return outside
