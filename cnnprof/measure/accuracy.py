"""Predicted against measured over a list of networks: every number that says how far a prediction can be trusted.

Errors are relative to the measurement. Beside the prediction stand two naive baselines of the same run (FLOPs at
the best rate seen; a roofline of three constants for all classes) and the noise floor: how far two measurements of
the same thing, minutes apart, are from each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ACCURACY_SCHEMA", "Compared", "report", "shares", "spearman"]

ACCURACY_SCHEMA = "cnnprof.accuracy/1"
_TOP = 5
_SHARE = 0.01  # layers above 1 % of the time are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One network: measured twice (``first_s`` and ``again_s``, None where it was once), predicted with its 90 %
    interval, and by the baselines; ``measured_layers`` and ``predicted_layers`` are seconds by layer, ``layer_looks``
    the former's two measurements where there are two. ``quiet`` is the noise verdict, ``contention`` by how much longer
    copying took than when calibrated. ``features`` of a layer is whatever explains its time; it's written down for the
    worst ones."""

    model: str
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    half_width: float
    quiet: bool
    reasons: tuple[str, ...] = ()
    contention: float | None = None
    first_s: float | None = None
    again_s: float | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    measured_layers: Mapping[str, float] = field(default_factory=dict)
    predicted_layers: Mapping[str, float] = field(default_factory=dict)
    layer_looks: tuple[Mapping[str, float], Mapping[str, float]] | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inside_share: float = 1.0

    @property
    def error(self) -> float:
        """predicted / measured − 1."""
        return self.predicted_s / self.measured_s - 1.0


def report(rows: Sequence[Compared], about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole comparison as one JSON object; figures over the quiet measurements, the noisy ones listed apart."""
    quiet = [row for row in rows if row.quiet]
    document: dict[str, Any] = {
        "schema": ACCURACY_SCHEMA,
        **about,
        "models": [_row(row) for row in rows],
        "too_noisy": [row.model for row in rows if not row.quiet],
    }
    if quiet:
        document["errors"] = _errors([row.predicted_s for row in quiet], [row.measured_s for row in quiet])
        document["intervals"] = {
            "coverage_90": sum(row.low_s <= row.measured_s <= row.high_s for row in quiet) / len(quiet),
            "median_half_width": statistics.median((r.high_s - r.low_s) / 2 / r.predicted_s for r in quiet),
        }
        names = sorted({name for row in quiet for name in row.baselines})
        document["baselines"] = {
            name: _errors([row.baselines[name] for row in quiet], [row.measured_s for row in quiet]) for name in names
        }
        twice = [abs(row.again_s / (row.first_s or row.measured_s) - 1.0) for row in quiet if row.again_s is not None]
        if twice:
            floor = statistics.median(twice)
            document["noise_floor"] = {"median": floor, "worst": max(twice), "models": len(twice)}
            if floor > 0:
                document["error_over_noise"] = document["errors"]["median"] / floor
        document["layers"] = _layers(quiet)
    return document


def _row(row: Compared) -> dict[str, Any]:
    return {
        "model": row.model,
        "measured_s": row.measured_s,
        "predicted_s": row.predicted_s,
        "low_s": row.low_s,
        "high_s": row.high_s,
        "error": row.error,
        "half_width": row.half_width,
        "inside_share": row.inside_share,
        "quiet": row.quiet,
        "reasons": list(row.reasons),
        **({} if row.contention is None else {"contention": row.contention}),
        **({} if row.first_s is None else {"first_s": row.first_s}),
        **({} if row.again_s is None else {"again_s": row.again_s}),
        "baselines": dict(row.baselines),
    }


def _errors(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    relative = [p / m - 1.0 for p, m in zip(predicted, measured, strict=True)]
    absolute = sorted(abs(value) for value in relative)
    count = len(absolute)
    return {
        "models": count,
        "mean": sum(absolute) / count,
        "median": statistics.median(absolute),
        "worst": absolute[-1],
        "bias": sum(relative) / count,
        **{f"within_{limit}": sum(value <= limit / 100 for value in absolute) / count for limit in (5, 10, 20)},
        "rank_correlation": spearman(predicted, measured),
    }


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties at their mean rank; 1 for fewer than two values."""
    if len(a) < 2:
        return 1.0
    x, y = _ranks(a), _ranks(b)
    mean = (len(a) - 1) / 2
    covariance = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    spread = (sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y)) ** 0.5
    return covariance / spread if spread else 1.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            ranks[order[place]] = (start + end) / 2
        start = end + 1
    return ranks


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Each layer's share of the layers' sum."""
    whole = sum(seconds.values())
    return {name: value / whole for name, value in seconds.items()} if whole > 0 else {}


def _layers(rows: Sequence[Compared]) -> dict[str, Any]:
    by_class: dict[str, list[float]] = {}
    recalls: list[float] = []
    worst: list[tuple[float, dict[str, Any]]] = []
    for row in rows:
        measured, predicted = shares(row.measured_layers), shares(row.predicted_layers)
        if not measured:
            continue
        for name, error in _share_errors(measured, predicted).items():
            by_class.setdefault(row.classes.get(name, "other"), []).append(error)
            facts = {
                "model": row.model,
                "layer": name,
                "class": row.classes.get(name, "other"),
                "measured_share": measured[name],
                "predicted_share": predicted.get(name, 0.0),
            }
            if name in row.features:
                facts["features"] = dict(row.features[name])
            worst.append((measured[name] * abs(error), facts))
        recalls.append(_recall(measured, predicted))
    if not worst:
        return {}
    worst.sort(key=lambda item: -item[0])
    return {
        "count": len(worst),
        "median_error": statistics.median(abs(error) for errors in by_class.values() for error in errors),
        "top_5_recall": statistics.fmean(recalls),  # exact: of 95 % nothing is lost to rounding
        **_between_looks(rows),
        "by_class": {
            name: {
                "count": len(values),
                "median_error": statistics.median(map(abs, values)),
                "bias": statistics.mean(values),
            }
            for name, values in sorted(by_class.items())
        },
        "worst": [row for _, row in worst[:20]],
    }


def _share_errors(measured: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """other / measured − 1 of each layer above 1 % of the time."""
    return {name: others.get(name, 0.0) / share - 1.0 for name, share in measured.items() if share >= _SHARE}


def _between_looks(rows: Sequence[Compared]) -> dict[str, Any]:
    """The layers' noise floor: what one measurement would be off by if it were taken for a prediction of the other."""
    looks = [(shares(row.layer_looks[0]), shares(row.layer_looks[1])) for row in rows if row.layer_looks is not None]
    errors = [abs(error) for first, again in looks for error in _share_errors(first, again).values()]
    if not errors:
        return {}
    return {
        "noise_floor": {
            "median_error": statistics.median(errors),
            "top_5_recall": statistics.fmean(_recall(first, again) for first, again in looks),
            "models": len(looks),
        }
    }


def _recall(measured: Mapping[str, float], predicted: Mapping[str, float]) -> float:
    """Share of the five slowest measured layers that are as slow, in the prediction, as its fifth slowest.

    Equal layers stand in any order: a layer counts if its predicted time ties with the fifth within 5 %.
    """
    count = min(_TOP, len(measured))
    slowest = sorted(measured, key=lambda name: -measured[name])[:count]
    fifth = sorted(predicted.values(), reverse=True)[:count][-1] if len(predicted) >= count else 0.0
    return sum(predicted.get(name, 0.0) >= 0.95 * fifth for name in slowest) / count
