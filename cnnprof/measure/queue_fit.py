"""What issuing an op takes the host, by class: from the end-to-end times of networks whose kernels' times are known.

The end-to-end time of a queue is linear in the host's times once it's known which kernel the last wait was for; so
least squares and finding that kernel take turns. Classes that say little about the totals stay near the mean of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.measure.samples import NetSample
from cnnprof.predict.queue import NO_KERNEL_S, in_queue

__all__ = ["fit_queue", "queue_errors"]

Floats = npt.NDArray[np.float64]
_ROUNDS = 30
_STIFF = 0.05  # weight of staying near the mean, against one network's relative error
_LEAST = 8
_FOLDS = 5


def fit_queue(samples: Sequence[NetSample]) -> dict[str, Any]:
    """``start_s``, ``host_s`` by class and ``other_s``, as :func:`cnnprof.predict.queue.in_queue` takes them."""
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    counts = Counter(kernel.cls for sample in samples for kernel in sample.kernels)
    classes = sorted(name for name, count in counts.items() if count >= _LEAST)
    column = {name: index + 2 for index, name in enumerate(classes)}  # 0: the start, 1: all other classes
    nets = [
        (
            np.array([column.get(kernel.cls, 1) for kernel in sample.kernels]),
            np.array([value if value > NO_KERNEL_S else 0.0 for value in sample.seconds]),
            sample.total_s,
        )
        for sample in samples
    ]
    width = len(classes) + 2
    mean = float(np.median([sample.total_s / max(1, len(sample.kernels)) for sample in samples]))
    costs = np.full(width, mean)
    for _ in range(_ROUNDS):
        rows, wanted = [], []
        for columns, seconds, total in nets:
            row, after = _linear(columns, seconds, costs)
            rows.append(row / total)
            wanted.append((total - after) / total)
        stiff = np.eye(width) * _STIFF / mean
        found, _residual = nnls(np.vstack([*rows, stiff]), np.array([*wanted, *[_STIFF] * width]))
        costs = (costs + found) / 2
        mean = max(float(np.mean([costs[c].mean() for c, _, _ in nets])), 1e-8)
    return {
        "start_s": float(costs[0]),
        "other_s": float(mean),
        "host_s": {name: float(costs[index]) for name, index in column.items()},
    }


def _linear(columns: npt.NDArray[np.int64], seconds: Floats, costs: Floats) -> tuple[Floats, float]:
    """The end-to-end time as (how often each cost counts, seconds of kernels behind them)."""
    issued = costs[0] + np.cumsum(costs[columns])
    behind = np.cumsum(seconds[::-1])[::-1]
    ends = np.where(seconds > 0.0, issued + behind, -np.inf)
    last = int(np.argmax(ends))
    if ends[last] < issued[-1]:  # the host alone, to its last op
        last, after = len(columns) - 1, 0.0
    else:
        after = float(behind[last])
    row = np.bincount(columns[: last + 1], minlength=len(costs)).astype(np.float64)
    row[0] = 1.0
    return row, after


def queue_errors(samples: Sequence[NetSample]) -> Floats:
    """log(measured / predicted) of each network, by host times that were fitted without it."""
    missed = np.zeros(len(samples))
    for fold in range(_FOLDS):
        rest = [sample for index, sample in enumerate(samples) if index % _FOLDS != fold]
        queue: Mapping[str, Any] = fit_queue(rest)
        for index in range(fold, len(samples), _FOLDS):
            sample = samples[index]
            missed[index] = np.log(sample.total_s / sum(in_queue(sample.kernels, sample.seconds, queue)))
    return missed
