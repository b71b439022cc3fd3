"""α, δ and what a call of a module takes (:class:`~cnnprof.predict.whole.Whole`), from networks and their kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnprof.measure.samples import NetSample
from cnnprof.predict.whole import Whole

__all__ = ["fit_whole", "totals_s"]

Floats = npt.NDArray[np.float64]
_LEAST_S = 1e-9
_VARIES = 0.2  # of the calls an op, over the networks, from which on they explain something


def fit_whole(samples: Sequence[NetSample]) -> Whole:
    """By relative least squares over the networks. δ may be of either sign, ``call_s`` isn't negative; it is 0 where
    nobody counted calls, or all networks have as many an op."""
    ops = np.array([float(len(sample.kernels)) for sample in samples])
    beyond = _beyond(samples)
    parts = [np.array([sample.sum_s for sample in samples]), -ops]
    if np.ptp(beyond / ops) > _VARIES:
        alpha, product, call_s = _weights(samples, [*parts, beyond])
        if call_s >= 0.0:
            return Whole(alpha, product / alpha, call_s)
    alpha, product = _weights(samples, parts)
    return Whole(alpha, product / alpha)


def _weights(samples: Sequence[NetSample], parts: Sequence[Floats]) -> list[float]:
    totals = np.array([sample.total_s for sample in samples])
    weights, *_ = np.linalg.lstsq(np.stack(parts, axis=1) / totals[:, None], np.ones(len(samples)), rcond=None)
    return [float(weight) for weight in weights]


def _beyond(samples: Sequence[NetSample]) -> Floats:
    """Calls beyond one an op; 0 for all where they weren't counted for all."""
    if not all(sample.calls for sample in samples):
        return np.zeros(len(samples))
    return np.array([float(sample.calls - len(sample.kernels)) for sample in samples])


def totals_s(whole: Whole, seconds: Floats, network: npt.NDArray[np.int64], samples: Sequence[NetSample]) -> Floats:
    """Each network's total; ``seconds`` of all kernels, ``network`` the place of each one's among ``samples``."""
    sums = np.bincount(network, weights=whole.kernels_s(seconds), minlength=len(samples))
    return np.maximum(sums + whole.call_s * _beyond(samples), _LEAST_S)
