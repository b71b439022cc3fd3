"""Several models side by side: the table, the fronts, and how cost and field build up over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain
from cnnprof.render.views.published import Published
from cnnprof.render.views.receptive import layer_field, receptive_view
from cnnprof.render.views.timing import measured_of

__all__ = ["AXES", "CompareRow", "Cumulative", "FieldCurve", "Subject", "compare_rows", "cumulative", "families",
           "field_curves", "pareto", "told_apart"]  # fmt: skip

# What accuracy can be set against: (key, unit).
AXES = (("macs", "count"), ("parameters", "count"), ("activations", "count"), ("latency", "seconds"))
_SAMPLES = 40


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model of a comparison. ``href`` leads to its page, if there is one; ``turn`` is above 1 where models before
    it have the same name."""

    profile: Profile
    published: Published | None = None
    href: str | None = None
    turn: int = 1

    @property
    def name(self) -> str:
        label = self.published.label if self.published else ""
        name = plain(label or self.profile.name)
        return name if self.turn == 1 else f"{name} ({self.turn})"


def told_apart(subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    """The same, where the second of two equal names says that it's the second."""
    seen: dict[str, int] = {}
    found = []
    for subject in subjects:
        plainly = replace(subject, turn=1)
        turn = seen[plainly.name] = seen.get(plainly.name, 0) + 1
        found.append(replace(subject, turn=turn))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRow:
    """One line of the table. ``key`` is the page's anchor. Deviations are ours over published, minus one."""

    key: str
    name: str
    reference: str
    href: str | None
    family: str
    year: int | None
    input_shape: tuple[int, ...] | None
    macs: int
    parameters: int
    activations: int
    peak_bytes: int | None
    field: float | None
    field_everything: bool
    latency_s: float | None
    top1_percent: float | None
    published_macs: float | None
    macs_deviation: float | None
    published_parameters: float | None
    parameters_deviation: float | None
    note: str
    complete: bool

    def value(self, axis: str) -> float | None:
        """The quantity of one of :data:`AXES`."""
        return {
            "macs": self.macs,
            "parameters": self.parameters,
            "activations": self.activations,
            "latency": self.latency_s,
        }[axis]


def compare_rows(subjects: Sequence[Subject]) -> tuple[CompareRow, ...]:
    """In the order given."""
    return tuple(_row(f"c{at}", subject) for at, subject in enumerate(subjects))


def _row(key: str, subject: Subject) -> CompareRow:
    profile, known = subject.profile, subject.published
    totals = profile.totals
    view = receptive_view(profile)
    timed = measured_of(profile) or profile.prediction or {}
    image = max((t.get("shape") or () for t in profile.inputs), key=len, default=())
    return CompareRow(
        key=key,
        name=subject.name,
        reference=plain(str(profile.model["reference"])),
        href=subject.href,
        family=known.family if known else "",
        year=known.year if known else None,
        input_shape=tuple(image) or None,
        macs=int(totals["macs"]),
        parameters=int(totals["parameters"]),
        activations=int(totals["activation_elements"]),
        peak_bytes=totals.get("peak_bytes"),
        field=None if view is None else view.output.largest,
        field_everything=view is not None and view.ends_global,
        latency_s=timed.get("latency_s"),
        top1_percent=known.top1_percent if known else None,
        published_macs=known.macs if known else None,
        macs_deviation=_deviation(totals["macs"], known.macs if known else None),
        published_parameters=known.parameters if known else None,
        parameters_deviation=_deviation(totals["parameters"], known.parameters if known else None),
        note=known.note if known else "",
        complete=profile.complete,
    )


def _deviation(ours: float, published: float | None) -> float | None:
    return ours / published - 1 if published else None


def families(rows: Sequence[CompareRow]) -> dict[str, int]:
    """Family -> its number, which is its colour; models without one aren't in it."""
    return {family: at for at, family in enumerate(dict.fromkeys(row.family for row in rows if row.family))}


def pareto(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Indices of the points that no other beats: less or equal cost and more accuracy; by rising cost."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    front: list[int] = []
    best = float("-inf")
    for i in order:
        if points[i][1] > best:
            front.append(i)
            best = points[i][1]
    return tuple(front)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cumulative:
    """Shares reached at equal steps of relative depth (first 0, last 1); ``half_macs`` is the depth at which
    half of the MACs are done, likewise for parameters."""

    key: str
    name: str
    macs: tuple[float, ...]
    parameters: tuple[float, ...]
    half_macs: float
    half_parameters: float


def cumulative(subjects: Sequence[Subject]) -> tuple[Cumulative, ...]:
    """Depth is counted in layers that compute or hold parameters."""
    found = []
    for at, subject in enumerate(subjects):
        layers = [layer for layer in subject.profile.layers if layer.macs or layer.parameters]
        if not layers:
            continue
        macs = _running([layer.macs or 0 for layer in layers])
        parameters = _running([layer.parameters for layer in layers])
        found.append(
            Cumulative(
                key=f"c{at}",
                name=subject.name,
                macs=_sampled(macs),
                parameters=_sampled(parameters),
                half_macs=_half(macs),
                half_parameters=_half(parameters),
            )
        )
    return tuple(found)


def _running(values: Sequence[int]) -> list[float]:
    total, sums, at = sum(values), [0.0], 0
    for value in values:
        at += value
        sums.append(at / total if total else 0.0)
    return sums


def _half(sums: Sequence[float]) -> float:
    return next((i for i, share in enumerate(sums) if share >= 0.5), len(sums) - 1) / max(len(sums) - 1, 1)


def _sampled(sums: Sequence[float]) -> tuple[float, ...]:
    last = len(sums) - 1
    return tuple(sums[round(i * last / _SAMPLES)] for i in range(_SAMPLES + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCurve:
    """Receptive field over relative depth, in multiples of the input's longer side; ``local_ends``: the depth
    at which the last local path ends."""

    key: str
    name: str
    points: tuple[tuple[float, float], ...]


def field_curves(subjects: Sequence[Subject]) -> tuple[FieldCurve, ...]:
    """Only models whose profile has receptive fields."""
    curves = []
    for at, subject in enumerate(subjects):
        view = receptive_view(subject.profile)
        if view is None:
            continue
        side, last = max(view.input_size), max(len(subject.profile.layers) - 1, 1)
        points: list[tuple[float, float]] = []
        widest = 0.0
        for index, layer in enumerate(subject.profile.layers):
            field = layer_field(layer)
            if field is not None and field.largest is not None and field.largest > widest:
                widest = field.largest
                points.append((index / last, widest / side))
        curves.append(FieldCurve(key=f"c{at}", name=subject.name, points=tuple(points)))
    return tuple(curves)
