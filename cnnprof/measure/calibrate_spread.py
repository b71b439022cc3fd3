"""The intervals of whole networks: how far those were missed that no fit had seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.measure.calibrate_total import totals_s
from cnnprof.measure.samples import NetSample
from cnnprof.predict.ranges import OUTSIDE_WIDER, widening
from cnnprof.predict.spread import effective_kernels
from cnnprof.predict.whole import Whole

__all__ = ["network_spread"]

Floats = npt.NDArray[np.float64]
_MOST = (0.5, 0.5, 0.5, 2.0)  # of the exponents of kernels, time and batch, and of what disturbance adds
_MOST_WIDER = 6.0
_WIDER_STEPS = 17
_FEWEST_OF_A_SESSION = 10  # networks
_NORMAL = 1.4826  # the deviation of a normal law, by the median of what its values are away from theirs
_TELLING = 2.0  # of the logarithm of the likelihood: below that the errors say nothing


def network_spread(
    samples: Sequence[NetSample],
    unseen: Sequence[tuple[Floats, npt.NDArray[np.bool_]]],
    network: npt.NDArray[np.int64],
    whole: Whole,
    session: npt.NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """``log_quantiles`` and how they shrink (:func:`~cnnprof.predict.spread.spread_of`), from log(measured / predicted)
    of whole networks that the kernels' fits hadn't seen. ``unseen``: predicted seconds of each kernel, and whether it
    was outside the range of those fits, for every way of holding networks out, which count alike; ``network``: the
    place of each kernel's network among ``samples``.

    Errors shrink as powers of the number of kernels that share the time (at most as independent ones would) and of the
    time, and grow as one of the batch. Where a network lies outside the range of the fit, its interval is widened, so
    what it is missed by counts for so much less: ``outside_wider`` is what makes these errors likeliest. With the share
    of runs beside a neighbour they grow, which is the measurement's error and not the prediction's. The quantiles are
    of one kernel, one second, one sample and nobody at work beside, with the finite sample's correction (split
    conformal), the same both ways: to which side the few largest lean is another matter with every suite, and real
    networks lean to the other. ``spread_kernels`` is how far the shrinking was seen, times two; ``spread_s`` the
    longest time seen. ``spread_sessions`` is how far the next hour is likely to be from those that were seen
    (:func:`_between`), which nothing shrinks; ``session``: which one each of ``samples`` is of.
    """
    totals, ways = np.array([sample.total_s for sample in samples]), len(unseen)
    kernels = [whole.kernels_s(seconds) for seconds, _ in unseen]
    predicted = np.concatenate([totals_s(whole, seconds, network, samples) for seconds, _ in unseen])
    missed = np.log(np.tile(totals, ways) / predicted)
    sessions = _between(missed[: len(samples)], session) if session is not None else 0.0
    beyond = np.concatenate(
        [_share(own, outside, network, len(samples)) for own, (_, outside) in zip(kernels, unseen, strict=True)]
    )
    shared = np.array([effective_kernels(own[network == i]) for own in kernels for i in range(len(samples))])
    disturbed = np.tile([sample.disturbed for sample in samples], ways)
    batch = np.tile([float(max((kernel.batch for kernel in sample.kernels), default=1)) for sample in samples], ways)
    shrinking = (np.log(shared), np.log(predicted), -np.log(batch), -disturbed)
    wider = _wider(missed, beyond, shrinking)
    missed = missed / widening(beyond, wider)
    (by_kernels, by_time, by_batch, by_disturbance), _ = _powers(missed, shrinking)
    scores = missed * shared**by_kernels * predicted**by_time * batch**-by_batch * np.exp(-by_disturbance * disturbed)
    count = len(samples)
    quantiles = {}
    for level, covered in (("80", 0.80), ("90", 0.90)):
        reach = float(np.quantile(np.abs(scores), min(1.0, covered * (count + 1) / count)))
        quantiles[level] = [-reach, reach]
    return {
        "log_quantiles": quantiles,
        "spread_exponent": by_kernels,
        "spread_time_exponent": by_time,
        "spread_batch_exponent": by_batch,
        "spread_disturbance": by_disturbance,
        "spread_kernels": 2.0 * float(shared.max()),
        "spread_s": float(predicted.max()),
        "outside_wider": wider,
        "spread_sessions": sessions,
    }


def _between(missed: Floats, session: npt.NDArray[np.int64]) -> float:
    """The deviation of a further session from a fit of all: what the sessions' medians differ by beyond what the
    scatter of their networks makes of it (a median of n has π/2 · σ²/n of that, for normal errors), and that the fit's
    own hours are as few as they are. None for less than two sessions that say anything."""
    parts = [missed[session == which] for which in np.unique(session)]
    parts = [part for part in parts if len(part) >= _FEWEST_OF_A_SESSION]
    if len(parts) < 2:
        return 0.0
    medians = np.array([np.median(part) for part in parts])
    scatter = _NORMAL * float(np.median(np.abs(np.concatenate([part - np.median(part) for part in parts]))))
    by_chance = 0.5 * math.pi * scatter**2 * float(np.mean([1.0 / len(part) for part in parts]))
    return math.sqrt(max(0.0, float(medians.var(ddof=1)) - by_chance) * (1.0 + 1.0 / len(parts)))


def _share(kernels_s: Floats, outside: npt.NDArray[np.bool_], network: npt.NDArray[np.int64], count: int) -> Floats:
    """The share of each network's time that is outside."""
    whole = np.bincount(network, weights=kernels_s, minlength=count)
    return np.asarray(np.bincount(network, weights=kernels_s * outside, minlength=count) / np.maximum(whole, 1e-12))


def _wider(missed: Floats, beyond: Floats, shrinking: Sequence[Floats]) -> float:
    """How much wider an interval has to be where all lies outside: the likeliest from the default on, or that if the
    errors don't tell."""

    def unlikely(wider: float) -> float:
        wide = widening(beyond, wider)
        return _powers(missed / wide, shrinking)[1] + float(np.log(wide).sum())

    tried = np.linspace(OUTSIDE_WIDER, _MOST_WIDER, _WIDER_STEPS)
    found = [unlikely(float(wider)) for wider in tried]
    best = int(np.argmin(found))
    return float(tried[best]) if found[best] < found[0] - _TELLING else OUTSIDE_WIDER


def _powers(missed: Floats, shrinking: Sequence[Floats]) -> tuple[list[float], float]:
    """The exponents, none below zero, with which errors shrink along each of ``shrinking``: the likeliest where the
    size of an error is distributed exponentially about its scale (a convex problem, and no few errors decide it); and
    the negative logarithm of that likelihood."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    usual = max(float(np.abs(missed).mean()), 1e-12)
    size = np.abs(missed) / usual
    columns = np.stack([column - column.mean() for column in shrinking], axis=1)

    def unlikely(theta: Floats) -> tuple[float, Floats]:
        log_scale = theta[0] - columns @ theta[1:]
        beyond = size * np.exp(-log_scale)
        slope = 1.0 - beyond
        return float((log_scale + beyond).sum()), np.concatenate([[slope.sum()], -(columns.T @ slope)])

    bounds = [(-5.0, 5.0), *((0.0, most) for most in _MOST)]
    found = minimize(unlikely, np.zeros(1 + len(_MOST)), jac=True, bounds=bounds, method="L-BFGS-B")
    return [float(value) for value in found.x[1:]], float(found.fun) + len(missed) * math.log(usual)
