"""What a network costs the host: each op's issue by class, each module's call, and the start.

An op's issue is timed where it stands (:meth:`~cnnprof.measure.synthetic_torch.SyntheticModule.timed`), so a class's is
the median of what was seen. What a call of a module takes around that, and what comes before the first op, shows in
end-to-end times alone.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.errors import SchemaError
from cnnprof.measure.samples import NetSample
from cnnprof.predict.queue import NO_KERNEL_S, in_queue, issue_key

__all__ = ["check_host_times", "fit_queue", "queue_errors"]

Floats = npt.NDArray[np.float64]
_LEAST = 4  # networks that have the class
_FOLDS = 5
_SCALE = 0.05  # relative errors beyond this count less and less: the host's pace isn't the same all the time


def check_host_times(samples: Sequence[NetSample]) -> None:
    """Raises :class:`SchemaError` where the host's times weren't taken (by an earlier version)."""
    if any(len(sample.host_s) != len(sample.kernels) for sample in samples):
        raise SchemaError("calibrate: a table of samples without the host's times", "calibrate anew, without --resume")


def fit_queue(samples: Sequence[NetSample]) -> dict[str, Any]:
    """``start_s``, ``call_s``, ``host_s`` by class and ``other_s``, as :func:`cnnprof.predict.queue.in_queue` takes
    them. Raises :class:`SchemaError` for samples without the host's times."""
    check_host_times(samples)
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        own: dict[str, list[float]] = defaultdict(list)
        for kernel, seconds in zip(sample.kernels, sample.host_s, strict=True):
            own[issue_key(kernel)].append(seconds)
        for key, values in own.items():
            found[key].append(statistics.median(values))
    start, call = _around(samples)
    return {
        "start_s": start,
        "call_s": call,
        "other_s": statistics.median(seconds for sample in samples for seconds in sample.host_s),
        "host_s": {key: statistics.median(found[key]) for key in sorted(found) if len(found[key]) >= _LEAST},
    }


def _around(samples: Sequence[NetSample]) -> tuple[float, float]:
    """(seconds before the first op, seconds a module's call takes): those that explain the totals best, given what each
    network's own ops took."""
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    nets = []
    for sample in samples:
        seconds = np.array([value if value > NO_KERNEL_S else 0.0 for value in sample.seconds])
        behind = np.cumsum(seconds[::-1])[::-1]
        places = np.flatnonzero(seconds > 0.0)
        calls = sample.calls / len(seconds) * np.arange(1, len(seconds) + 1)
        nets.append((np.cumsum(sample.host_s), behind, places, calls, sample.total_s))

    def missed(values: Floats) -> Floats:
        start, call = values * 1e-6
        rows = []
        for issued, behind, places, calls, total in nets:
            at = start + issued + call * calls
            rows.append(np.log(max(at[-1], *(at + behind)[places]) / total))
        return np.array(rows)

    first = [10.0, 2.0]  # microseconds
    fitted = least_squares(missed, first, bounds=([0.0, 0.0], [1e4, 1e3]), loss="cauchy", f_scale=_SCALE)
    return float(fitted.x[0]) * 1e-6, float(fitted.x[1]) * 1e-6


def queue_errors(samples: Sequence[NetSample]) -> Floats:
    """log(measured / predicted) of each network, by host times that were fitted without it."""
    missed = np.zeros(len(samples))
    for fold in range(_FOLDS):
        rest = [sample for index, sample in enumerate(samples) if index % _FOLDS != fold]
        queue: Mapping[str, Any] = fit_queue(rest)
        for index in range(fold, len(samples), _FOLDS):
            sample = samples[index]
            predicted = sum(in_queue(sample.kernels, sample.seconds, queue, sample.calls))
            missed[index] = np.log(sample.total_s / predicted)
    return missed
