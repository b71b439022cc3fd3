"""Predicted and measured latency: end to end, by layer, by class of operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnprof.profile import Layer, Profile
from cnnprof.render.quantities import plain, shape, si, threads
from cnnprof.render.views.describe import describe, output_shape
from cnnprof.render.views.timing import Rows, device_of, groups_of, measured_of, noise_of, rows_of, seconds_of

__all__ = ["ClassTime", "LatencyView", "Pair", "latency_view"]

_WORST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What both sides timed: a layer, or some that one side fused (``others`` beside the first). ``error`` is
    predicted over measured, minus one; ``interval`` the predicted 90 % interval in seconds, None where there is none
    of the whole group; ``inside`` whether the measurement lies in it."""

    key: str
    name: str
    others: int
    cls: str
    what: str
    predicted_s: float
    measured_s: float
    error: float
    interval: tuple[float, float] | None

    @property
    def inside(self) -> bool | None:
        return None if self.interval is None else self.interval[0] <= self.measured_s <= self.interval[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTime:
    """All layers of one class: seconds either way (None where that was not made), and the share of the time."""

    name: str
    layers: int
    predicted_s: float | None
    measured_s: float | None
    share: float

    @property
    def error(self) -> float | None:
        """Predicted over measured, minus one; None without both."""
        return self.predicted_s / self.measured_s - 1 if self.predicted_s is not None and self.measured_s else None


@dataclass(frozen=True, kw_only=True)
class LatencyView:
    """``between_s``: end to end less the layers' sum, of the measurement if there is one. ``inside``: share of
    the pairs that lie in their predicted interval. ``noise``: why a measurement that was made is no result.
    ``predicted_on`` and ``measured_on``: device, then what it ran with."""

    predicted_on: tuple[str, ...]
    measured_on: tuple[str, ...]
    predicted_s: float | None
    low_s: float | None
    high_s: float | None
    measured_s: float | None
    error: float | None
    between_s: float | None
    degraded: tuple[str, ...]
    noise: tuple[str, ...]
    batches: tuple[int, int] | None
    classes: tuple[ClassTime, ...]
    pairs: tuple[Pair, ...]
    worst: tuple[Pair, ...]
    inside: float | None

    @property
    def end_inside(self) -> bool | None:
        """Whether the end-to-end measurement lies in its predicted interval; None without one of them."""
        if self.measured_s is None or self.low_s is None or self.high_s is None:
            return None
        return self.low_s <= self.measured_s <= self.high_s


def latency_view(profile: Profile) -> LatencyView | None:
    """None where there is neither a prediction nor a measurement."""
    predicted, measured = profile.prediction or {}, measured_of(profile)
    noise = noise_of(profile)
    if not predicted and not measured and not noise:
        return None
    sides = rows_of(predicted), rows_of(measured)
    groups = groups_of(*sides)
    index = {layer.name: at for at, layer in enumerate(profile.layers)}
    pairs = tuple(pair for group in groups if (pair := _pair(profile, index, group, *sides)) is not None)
    known = [pair.inside for pair in pairs if pair.inside is not None]
    ends = seconds_of(predicted), seconds_of(measured)
    batches = int(predicted.get("batch") or 0), int(measured.get("batch") or 0)
    return LatencyView(
        predicted_on=_ran_on(predicted),
        measured_on=_ran_on(measured),
        predicted_s=ends[0],
        low_s=predicted.get("low_s"),
        high_s=predicted.get("high_s"),
        measured_s=ends[1],
        error=ends[0] / ends[1] - 1 if ends[0] is not None and ends[1] else None,
        between_s=(measured or predicted).get("between_layers_s"),
        degraded=tuple(plain(str(reason)) for reason in predicted.get("degraded", ())),
        noise=noise,
        batches=batches if all(batches) and batches[0] != batches[1] else None,
        classes=_classes(profile, index, groups, *sides),
        pairs=pairs,
        worst=tuple(sorted(pairs, key=lambda p: (-abs(p.predicted_s - p.measured_s), p.key))[:_WORST]),
        inside=sum(known) / len(known) if known else None,
    )


def _ran_on(section: Mapping[str, Any]) -> tuple[str, ...]:
    """``("AMD EPYC 7763", "datasheet", "fused", "4 threads", "float32")``: what the section states, in this order."""
    if not section:
        return ()
    count = section.get("threads")
    facts = (
        device_of(section),
        section.get("mode"),
        section.get("runner"),
        None if count is None else threads(count),
        section.get("dtype"),
    )
    return tuple(plain(str(fact)) for fact in facts if fact)


def _pair(
    profile: Profile, index: Mapping[str, int], group: Sequence[str], predicted: Rows, measured: Rows
) -> Pair | None:
    guess, actual = _sum(group, predicted), _sum(group, measured)
    if guess is None or not actual:
        return None
    name = _first(index, group, predicted)
    layer = profile.layers[index[name]] if name in index else None
    rows = [predicted[each] for each in group if each in predicted]
    low, high = rows[0].get("low_s"), rows[0].get("high_s")
    return Pair(
        key=f"n{index[name]}" if name in index else "",
        name=plain(name),
        others=len(group) - 1,
        cls=_class(layer, predicted.get(name)),
        what="" if layer is None else _features(layer),
        predicted_s=guess,
        measured_s=actual,
        error=guess / actual - 1,
        interval=(float(low), float(high)) if len(rows) == 1 and low is not None and high is not None else None,
    )


def _first(index: Mapping[str, int], group: Sequence[str], predicted: Rows) -> str:
    """The layer that a group goes by: the first that was predicted, else the first."""
    ordered = sorted(group, key=lambda name: index.get(name, len(index)))
    return next((name for name in ordered if name in predicted), ordered[0])


def _sum(group: Iterable[str], rows: Rows) -> float | None:
    found = [value for name in group if (value := seconds_of(rows.get(name))) is not None]
    return sum(found) if found else None


def _class(layer: Layer | None, row: Mapping[str, Any] | None) -> str:
    if row is not None and "class" in row:
        return plain(str(row["class"]))
    return plain(layer.kind) if layer is not None else ""


def _features(layer: Layer) -> str:
    """``conv 3×3 /2 → 1×128×28×28, 116 M MACs, 24.1 FLOPs/byte``."""
    parts = [f"{describe(layer)} → {shape(output_shape(layer))}"]
    if layer.macs:
        parts.append(si(layer.macs, "MACs"))
    if layer.arithmetic_intensity:
        parts.append(f"{layer.arithmetic_intensity:.1f} FLOPs/byte")
    return ", ".join(parts)


def _classes(
    profile: Profile, index: Mapping[str, int], groups: Sequence[Sequence[str]], predicted: Rows, measured: Rows
) -> tuple[ClassTime, ...]:
    sums: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for group in groups:
        name = _first(index, group, predicted)
        cls = _class(profile.layers[index[name]] if name in index else None, predicted.get(name))
        counts[cls] = counts.get(cls, 0) + len(group)
        own = sums.setdefault(cls, {})
        for side, rows in (("predicted", predicted), ("measured", measured)):
            value = _sum(group, rows)
            if value is not None:
                own[side] = own.get(side, 0.0) + value
    main = "measured" if measured else "predicted"
    total = sum(own.get(main, 0.0) for own in sums.values())
    found = [
        ClassTime(
            name=cls,
            layers=counts[cls],
            predicted_s=own.get("predicted"),
            measured_s=own.get("measured"),
            share=own.get(main, 0.0) / total if total else 0.0,
        )
        for cls, own in sums.items()
    ]
    return tuple(sorted(found, key=lambda row: (-row.share, row.name)))
