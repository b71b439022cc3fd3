"""From samples to a device profile: rooflines, residual trees, α and δ, intervals, gates. Needs scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.errors import CnnprofError, DependencyError
from cnnprof.measure.calibrate_spread import network_spread
from cnnprof.measure.calibrate_total import fit_whole, totals_s
from cnnprof.measure.calibrate_trees import TREES_FROM, forests_of, held_out
from cnnprof.measure.samples import NetSample, calm_level_s
from cnnprof.measure.side_by_side import Each, side_by_side
from cnnprof.predict.features import KERNEL_MODEL, apart_s, row_of
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.ranges import beyond_others, box_of
from cnnprof.predict.roofline import Rates, roofline
from cnnprof.predict.whole import Whole

__all__ = ["GATES", "fit_profile", "gates_of"]

Floats = npt.NDArray[np.float64]
_LEAST = 8  # samples of a class or path that make a fit
_EXPONENT = 4.0
# The copying between its least and its most from which on it explains something; so much more the share of disturbed
# runs has to vary.
_VARIES = 1.1
_MOST_LEVELS = (0.5, 0.3)  # of the exponents of contention and of disturbance
_TELLING = 0.02  # of the tenth that a step takes from a kernel, what has to show
_MOST_STEPS = 5.0  # half of the time
_MANY = 3000  # kernels, from which on several processes are worth their start
_BATCHES = 5  # folds, by network, for residuals that no fit has seen
GATES = {"coherence": (0.97, 1.03), "samples": (_LEAST, None), "disturbed": (None, 0.8), "drift": (None, 0.05)}


def fit_profile(
    samples: Sequence[NetSample],
    *,
    seed: int,
    mapped_s_per_byte: float = 0.0,
    style_of: Callable[[int], str] | None = None,
    sessions: Sequence[int] = (),
    workers: int = 1,
) -> dict[str, Any]:
    """``classes``, ``total``, ``range`` and ``roof`` of a profile. Deterministic for a ``seed``, in one process or in
    several ``workers``.

    ``mapped_s_per_byte``: what memory costs that the system maps anew; it is no part of the classes' fits, nor is what
    a fused activation costs that goes over its result once more. Where the samples say how contended the cache was
    and how many runs were beside a neighbour, they are brought to one level first.
    ``style_of``: of a network's index; a network that is predicted may be of a style that the suite hasn't got, so how
    far those are missed counts as much for the intervals as how far any other network is.

    Raises :class:`DependencyError` without scikit-learn, :class:`CnnprofError` for too few networks.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise DependencyError("fitting needs scikit-learn", "python -m pip install 'cnnprof[calibrate]'") from None
    if len(samples) < 2 * _BATCHES:
        raise CnnprofError(
            f"calibration: {len(samples)} networks measured, at least {2 * _BATCHES} are needed",
            "go on with cnnprof calibrate --resume, or give a larger --budget",
        )
    with side_by_side(workers if sum(len(sample.kernels) for sample in samples) >= _MANY else 1) as each:
        return _fitted(samples, seed, mapped_s_per_byte, style_of, sessions, each)


def _fitted(
    samples: Sequence[NetSample],
    seed: int,
    mapped_s_per_byte: float,
    style_of: Callable[[int], str] | None,
    sessions: Sequence[int],
    each: Each,
) -> dict[str, Any]:
    samples, level = _at_one_level(samples, seed, each)
    kernels, measured, network = _flat(samples)
    passed_s_per_byte = _passed_s_per_byte(kernels, measured, network, seed, each)
    by_byte = {"mapped_s_per_byte": mapped_s_per_byte, "passed_s_per_byte": passed_s_per_byte}
    apart = np.array([apart_s(kernel, by_byte) for kernel in kernels])
    seconds = np.maximum(measured - apart, 0.1 * measured)
    groups = _groups(kernels)
    whole = fit_whole(samples)
    classes: dict[str, Any] = {}
    unseen = np.zeros(len(kernels))
    own = {key: [kernels[i] for i in where] for key, where in groups.items()}
    fits = each(_class_fit, [(own[key], seconds[where], network[where], seed) for key, where in groups.items()])
    for (key, where), (fit, predicted) in zip(groups.items(), fits, strict=True):
        classes[key] = fit
        exact = np.array([kernel.key == key for kernel in own[key]])
        unseen[where[exact]] = predicted[exact]
    missing = unseen == 0.0
    unseen[missing] = seconds[missing]
    ways = [(unseen + apart, _by_minutes(network))]
    if style_of is not None:
        styles = np.unique([style_of(sample.network) for sample in samples], return_inverse=True)[1]
        ways.append((_guess(kernels, seconds, styles[network], seed, each, quick=False) + apart, styles[network]))
    unseen_s = [(guess, _outside(kernels, groups, fold)) for guess, fold in ways]
    session = np.searchsorted(np.array(sessions), [sample.network for sample in samples], side="right")
    return {
        "kernel_model": KERNEL_MODEL,
        "classes": classes,
        "total": {
            "alpha": whole.alpha,
            "delta_s": whole.delta_s,
            "call_s": whole.call_s,
            **by_byte,
            **level,
            **network_spread(samples, unseen_s, network, whole, session),
        },
        "range": {key: box_of([kernels[i] for i in where]) for key, where in groups.items()},
        "roof": _roof(kernels, seconds),
    }


def _at_one_level(samples: Sequence[NetSample], seed: int, each: Each) -> tuple[Sequence[NetSample], dict[str, float]]:
    """The samples as if the cache had been calm around all (:func:`~cnnprof.measure.samples.calm_level_s`), and nobody
    been at work beside the core; and the exponents of both. (At whatever level the cache usually was at, three
    calibrations of one machine were 5 % apart.)

    Seconds grow with a power of what copying memory took around them, and exponentially with the share of runs that
    were disturbed (those that weren't known to be are slower then too). Both are what explains best how far networks
    are from a fit that hasn't seen them, larger networks apart, which are disturbed more often. Nothing changes where
    nobody looked, or what was seen hardly varies."""
    streams = np.array([sample.stream_s for sample in samples])
    disturbed = np.array([sample.disturbed for sample in samples])
    varying = [streams.max() >= _VARIES * streams.min(), float(np.ptp(disturbed)) >= _VARIES - 1.0]
    if streams.min() <= 0.0 or not any(varying):
        return samples, {"contention_exponent": 0.0, "disturbance": 0.0}
    kernels, seconds, network = _flat(samples)
    guess = _guess(kernels, seconds, network % 2, seed, each)
    totals = np.array([sample.total_s for sample in samples])
    missed = np.log(totals / totals_s(fit_whole(samples), guess, network, samples))
    away = np.abs(missed - np.median(missed))
    near = away <= 3.0 * np.median(away) + 1e-9
    columns = [np.log(streams) * varying[0], disturbed * varying[1], np.log(totals), np.ones(len(totals))]
    slopes, *_ = np.linalg.lstsq(np.stack(columns, axis=1)[near], missed[near], rcond=None)
    exponent, disturbance = (float(min(most, max(0.0, s))) for s, most in zip(slopes, _MOST_LEVELS, strict=False))
    factors = (calm_level_s(samples) / streams) ** exponent * np.exp(-disturbance * disturbed)
    return [
        replace(s, total_s=s.total_s * factor, seconds=tuple(value * factor for value in s.seconds))
        for s, factor in zip(samples, factors.tolist(), strict=True)
    ], {"contention_exponent": exponent, "disturbance": disturbance}


def _guess(
    kernels: Sequence[Kernel], seconds: Floats, fold: npt.NDArray[np.int64], seed: int, each: Each,
    among: Sequence[str] = (), *, quick: bool = True,
) -> Floats:  # fmt: skip
    """Each kernel's seconds by a (``quick``) fit that hadn't seen its ``fold``; of the groups ``among``, or of all."""
    guess = seconds.copy()
    asked = {}
    for key, where in _groups(kernels).items():
        exact = np.array([kernels[i].key == key for i in where])
        if exact.any() and (not among or key in among):
            asked[key] = (where, exact)
    calls = [([kernels[i] for i in where], seconds[where], fold[where], seed, quick) for where, _ in asked.values()]
    for (where, exact), held_s in zip(asked.values(), each(_held_out_s, calls), strict=True):
        guess[where[exact]] = held_s[exact]
    return guess


def _held_out_s(
    kernels: Sequence[Kernel], seconds: Floats, fold: npt.NDArray[np.int64], seed: int, quick: bool
) -> Floats:
    base = _rooflines(kernels, _rates(kernels, seconds))
    rows = np.array([row_of(kernel) for kernel in kernels])
    return base * np.exp(held_out(rows, np.log(np.maximum(seconds, 1e-9) / base), fold, seed, quick=quick))


def _passed_s_per_byte(
    kernels: Sequence[Kernel], seconds: Floats, network: npt.NDArray[np.int64], seed: int, each: Each
) -> float:
    """Seconds a byte of what an activation goes over once more: with so much taken out, kernels that do so are neither
    slower nor faster than a fit of all says. A straight line through none and a tenth of their time finds it."""
    passed = np.array([kernel.bytes_passed for kernel in kernels])
    where = passed > 0.0
    if where.sum() < TREES_FROM:
        return 0.0
    keys = sorted({kernel.key for kernel in kernels if kernel.bytes_passed > 0.0})
    step = float(0.1 * seconds[where].sum() / passed[where].sum())

    def slower(per_byte: float) -> float:
        rest = np.maximum(seconds - per_byte * passed, 0.1 * seconds)
        guess = _guess(kernels, rest, network % 2, seed, each, keys)
        return float(np.mean(np.log(rest[where] / guess[where])))

    without, within = slower(0.0), slower(step)
    if without - within < _TELLING:  # the trees tell them apart by themselves
        return 0.0
    return step * min(_MOST_STEPS, max(0.0, without / (without - within)))


def _flat(samples: Sequence[NetSample]) -> tuple[list[Kernel], Floats, npt.NDArray[np.int64]]:
    """All kernels, their seconds, and the place of each one's network among the samples."""
    return (
        [kernel for sample in samples for kernel in sample.kernels],
        np.array([value for sample in samples for value in sample.seconds]),
        np.array([i for i, sample in enumerate(samples) for _ in sample.kernels]),
    )


def _groups(kernels: Sequence[Kernel]) -> dict[str, npt.NDArray[np.int64]]:
    """Indices by class, and by class and path where there are enough."""
    found: dict[str, list[int]] = {}
    for index, kernel in enumerate(kernels):
        for key in {kernel.cls, kernel.key}:
            found.setdefault(key, []).append(index)
    return {key: np.array(where) for key, where in sorted(found.items()) if len(where) >= _LEAST}


def _class_fit(
    kernels: Sequence[Kernel], seconds: Floats, network: npt.NDArray[np.int64], seed: int
) -> tuple[dict[str, Any], Floats]:
    """(the fit on all, predictions of each from a fit that hadn't seen its network)."""
    rates = _rates(kernels, seconds)
    base = _rooflines(kernels, rates)
    residual = np.log(np.maximum(seconds, 1e-9) / base)
    rows = np.array([row_of(kernel) for kernel in kernels])
    clip = [float(np.quantile(residual, 0.005)), float(np.quantile(residual, 0.995))]
    forests = forests_of(rows, residual, seed) if len(kernels) >= TREES_FROM else []
    guess = (
        np.clip(held_out(rows, residual, _by_minutes(network), seed), clip[0], clip[1])
        if forests
        else np.zeros(len(kernels))
    )
    missed = residual - guess
    fit = {
        "flops_per_s": rates.flops_per_s,
        "bytes_per_s": rates.bytes_per_s,
        "overhead_s": rates.overhead_s,
        "exponent": rates.exponent,
        "forests": forests,
        "clip": clip if forests else [0.0, 0.0],
        "samples": len(kernels),
        "log_quantiles": {
            "80": [float(np.quantile(missed, 0.10)), float(np.quantile(missed, 0.90))],
            "90": [float(np.quantile(missed, 0.05)), float(np.quantile(missed, 0.95))],
        },
    }
    return fit, base * np.exp(guess)


def _by_minutes(network: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Folds of networks measured one after the other: a fit that has seen the same minutes knows the machine's mood in
    them, which nobody does who predicts."""
    return network * _BATCHES // (int(network.max()) + 1)


def _outside(
    kernels: Sequence[Kernel], groups: Mapping[str, npt.NDArray[np.int64]], fold: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which kernels lie outside of what the other folds have of their group: intervals are widened for those, as they
    are where such a kernel is predicted. One with no group of its own is predicted as it was measured, so it isn't."""
    outside = np.zeros(len(kernels), dtype=np.bool_)
    for key, where in groups.items():
        exact = np.array([kernels[i].key == key for i in where])
        found = beyond_others([kernels[i] for i in where], fold[where], _LEAST)
        outside[where[exact]] = found[exact]
    return outside


def _rooflines(kernels: Sequence[Kernel], rates: Rates) -> Floats:
    return np.array([roofline(kernel, rates).latency_s for kernel in kernels])


def _rates(kernels: Sequence[Kernel], seconds: Floats) -> Rates:
    """The roofline's three constants, by least squares in logarithms."""
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    flops = np.array([kernel.work for kernel in kernels])
    moved = np.array([kernel.bytes_handled for kernel in kernels])
    target = np.log(np.maximum(seconds, 1e-9))

    def latency(theta: Floats) -> Floats:
        compute, memory = flops / np.exp(theta[0]), moved / np.exp(theta[1])
        return np.asarray(np.exp(theta[2]) + (compute**_EXPONENT + memory**_EXPONENT) ** (1 / _EXPONENT))

    fast = np.quantile(flops / seconds, 0.9) if flops.any() else 1e12
    wide = np.quantile(moved / seconds, 0.9) if moved.any() else 1e12
    start = np.log([max(fast, 1e6), max(wide, 1e6), max(float(np.quantile(seconds, 0.05)) / 2, 1e-7)])
    found = least_squares(
        lambda theta: np.log(latency(theta)) - target, start, loss="soft_l1", f_scale=0.3, max_nfev=200
    )
    flops_per_s, bytes_per_s, overhead = np.exp(found.x)
    return Rates(
        flops_per_s=float(flops_per_s) if flops.any() else 0.0,
        bytes_per_s=float(bytes_per_s) if moved.any() else 0.0,
        overhead_s=float(overhead),
        exponent=_EXPONENT,
    )


def _roof(kernels: Sequence[Kernel], seconds: Floats) -> dict[str, float]:
    """The best rates seen in any kernel of some size: the machine's roof as far as the runner reaches it."""
    big = seconds > np.quantile(seconds, 0.5)
    flops = np.array([kernel.flops for kernel in kernels])[big] / seconds[big]
    moved = np.array([kernel.bytes_moved for kernel in kernels])[big] / seconds[big]
    return {"flops_per_s": float(np.quantile(flops, 0.99)), "bytes_per_s": float(np.quantile(moved, 0.99))}


def gates_of(samples: Sequence[NetSample], total: Mapping[str, Any], drift: float | None) -> list[dict[str, Any]]:
    """Every gate with its value, limits and whether it passed: a calibration that fails one is marked degraded.

    ``coherence`` is the median over networks of what their ops' times say / total; ``samples`` the least that a class
    or path in use has; ``disturbed`` the share of disturbed runs; ``drift`` the anchor workload's.
    """
    whole = Whole.of(total)
    _, seconds, network = _flat(samples)
    ratios = totals_s(whole, seconds, network, samples) / np.array([sample.total_s for sample in samples])
    counts: dict[str, int] = {}
    for sample in samples:
        for kernel in sample.kernels:
            counts[kernel.cls] = counts.get(kernel.cls, 0) + 1
    values: dict[str, float | None] = {
        "coherence": float(np.median(ratios)),
        "samples": float(min(counts.values())),
        "disturbed": float(np.mean([sample.disturbed for sample in samples])),
        "drift": drift,
    }
    gates = []
    for name, (low, high) in GATES.items():
        value = values[name]
        passed = value is None or ((low is None or value >= low) and (high is None or value <= high))
        gates.append({"name": name, "value": value, "low": low, "high": high, "passed": passed})
    return gates
