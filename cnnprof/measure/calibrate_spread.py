"""The intervals of whole networks: how far those were missed that no fit had seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.measure.calibrate_total import Whole
from cnnprof.measure.samples import NetSample
from cnnprof.predict.ranges import widening
from cnnprof.predict.spread import effective_kernels

__all__ = ["network_spread"]

Floats = npt.NDArray[np.float64]
_MOST = (0.5, 0.5, 2.0)  # of the exponents of kernels and time, and of what disturbance adds


def network_spread(
    samples: Sequence[NetSample],
    unseen: Sequence[tuple[Floats, npt.NDArray[np.bool_]]],
    network: npt.NDArray[np.int64],
    whole: Whole,
) -> dict[str, Any]:
    """``log_quantiles`` and how they shrink (:func:`~cnnprof.predict.spread.spread_of`), from log(measured / predicted)
    of whole networks that the kernels' fits hadn't seen. ``unseen``: predicted seconds of each kernel, and whether it
    was outside the range of those fits, for every way of holding networks out, which count alike; ``network``: the
    place of each kernel's network among ``samples``.

    Errors shrink as powers of the number of kernels that share the time (at most as independent ones would) and of the
    time; where a network lies outside the range of the fit, its interval is widened, so what it is missed by counts for
    so much less; with the share of runs beside a neighbour they grow, which is the measurement's error and not the
    prediction's. The quantiles are of one kernel, one second and nobody at work beside, with the finite sample's
    correction (split conformal), the same both ways: to which side the few largest lean is another matter with every
    suite, and real networks lean to the other. ``spread_kernels`` is how far the shrinking was seen, times two;
    ``spread_s`` the longest time seen.
    """
    totals, ways = np.array([sample.total_s for sample in samples]), len(unseen)
    kernels = [whole.kernels_s(seconds) for seconds, _ in unseen]
    predicted = np.concatenate([whole.totals_s(seconds, network, samples) for seconds, _ in unseen])
    missed = np.log(np.tile(totals, ways) / predicted) / np.concatenate(
        [_widened(own, outside, network, len(samples)) for own, (_, outside) in zip(kernels, unseen, strict=True)]
    )
    shared = np.array([effective_kernels(own[network == i]) for own in kernels for i in range(len(samples))])
    disturbed = np.tile([sample.disturbed for sample in samples], ways)
    by_kernels, by_time, by_disturbance = _powers(missed, (np.log(shared), np.log(predicted), -disturbed))
    scores = missed * shared**by_kernels * predicted**by_time * np.exp(-by_disturbance * disturbed)
    count = len(samples)
    quantiles = {}
    for level, covered in (("80", 0.80), ("90", 0.90)):
        reach = float(np.quantile(np.abs(scores), min(1.0, covered * (count + 1) / count)))
        quantiles[level] = [-reach, reach]
    return {
        "log_quantiles": quantiles,
        "spread_exponent": by_kernels,
        "spread_time_exponent": by_time,
        "spread_disturbance": by_disturbance,
        "spread_kernels": 2.0 * float(shared.max()),
        "spread_s": float(predicted.max()),
    }


def _widened(kernels_s: Floats, outside: npt.NDArray[np.bool_], network: npt.NDArray[np.int64], count: int) -> Floats:
    """By how much each network's interval would be wider, for the share of its time that is outside."""
    whole = np.bincount(network, weights=kernels_s, minlength=count)
    beyond = np.bincount(network, weights=kernels_s * outside, minlength=count)
    return np.array([widening(share) for share in beyond / whole])


def _powers(missed: Floats, shrinking: Sequence[Floats]) -> list[float]:
    """The exponents, none below zero, with which errors shrink along each of ``shrinking``: the likeliest where the
    size of an error is distributed exponentially about its scale (a convex problem, and no few errors decide it)."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    size = np.abs(missed) / max(float(np.abs(missed).mean()), 1e-12)
    columns = np.stack([column - column.mean() for column in shrinking], axis=1)

    def unlikely(theta: Floats) -> tuple[float, Floats]:
        log_scale = theta[0] - columns @ theta[1:]
        beyond = size * np.exp(-log_scale)
        slope = 1.0 - beyond
        return float((log_scale + beyond).sum()), np.concatenate([[slope.sum()], -(columns.T @ slope)])

    bounds = [(-5.0, 5.0), *((0.0, most) for most in _MOST)]
    found = minimize(unlikely, np.zeros(1 + len(_MOST)), jac=True, bounds=bounds, method="L-BFGS-B")
    return [float(value) for value in found.x[1:]]
