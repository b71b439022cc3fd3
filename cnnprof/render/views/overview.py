"""The first screen: what it is, the cards, what isn't counted, and what stands out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import nbytes, percent, plain, seconds, shape, si
from cnnprof.render.views.breakdown import Stages, stages
from cnnprof.render.views.labels import shortened
from cnnprof.render.views.memory import MemoryView
from cnnprof.render.views.receptive import ReceptiveView
from cnnprof.render.views.timing import noise_of

__all__ = ["Card", "Finding", "Uncounted", "cards", "findings", "uncounted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``value`` is None where the analysis wasn't made: ``command`` then says how to make it.

    ``absent`` is the translation key of why. ``notes`` are (translation key, values)."""

    key: str
    value: str | None
    href: str
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    command: str | None = None
    lower_bound: bool = False
    absent: str = "card.absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A sentence worth reading first: a translation key and its values; ``href`` leads to the evidence."""

    key: str
    href: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncounted:
    """Layers of one operator type that couldn't be counted."""

    op_type: str
    count: int
    reason: str
    keys: tuple[tuple[str, str], ...]


def cards(profile: Profile, memory: MemoryView | None, field_view: ReceptiveView | None) -> tuple[Card, ...]:
    """MACs, parameters, peak memory, receptive field, predicted and measured latency, in this order."""
    totals = profile.totals
    reference = plain(str(profile.model["reference"]))
    bound = not profile.complete
    return (
        Card(
            key="macs",
            value=si(totals["macs"]),
            href="#breakdown",
            lower_bound=bound,
            notes=(
                ("card.macs.flops", {"flops": si(totals["flops"])}),
                *_intensity(totals),
            ),
        ),
        Card(
            key="parameters",
            value=si(totals["parameters"]),
            href="#breakdown",
            notes=(
                ("card.parameters.exact", {"exact": f"{totals['parameters']:,}"}),
                ("card.parameters.bytes", {"bytes": nbytes(totals["parameter_bytes"])}),
            ),
        ),
        _memory_card(memory, reference),
        _field_card(field_view, reference),
        *_latency_cards(profile, reference),
    )


def _intensity(totals: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    value = totals.get("arithmetic_intensity")
    return () if value is None else (("card.macs.intensity", {"intensity": f"{value:.1f}"}),)


def _memory_card(memory: MemoryView | None, reference: str) -> Card:
    if memory is None:
        return Card(key="memory", value=None, href="#memory", command=f"cnnprof report {reference} -o report.html")
    return Card(
        key="memory",
        value=nbytes(memory.peak_bytes),
        href="#memory",
        lower_bound=not memory.complete,
        notes=(
            (
                "card.memory.parts",
                {"weights": nbytes(memory.weight_bytes), "live": nbytes(memory.peak_activation_bytes)},
            ),
            *((("card.memory.at", {"layer": shortened(memory.peak_name, 24)}),) if memory.peak_name else ()),
        ),
    )


def _field_card(view: ReceptiveView | None, reference: str) -> Card:
    if view is None:
        return Card(key="field", value=None, href="#receptive", command=f"cnnprof report {reference} -o report.html")
    height, width = view.input_size
    notes: list[tuple[str, Mapping[str, Any]]] = [
        ("card.field.input", {"size": f"{height}×{width}" if height > 1 else str(width)})
    ]
    if view.ends_global:
        notes.append(("card.field.global", {}))
    return Card(
        key="field",
        value=shape([round(side) for side in view.output.size if side is not None]),
        href="#receptive",
        notes=tuple(notes),
    )


def _latency_cards(profile: Profile, reference: str) -> tuple[Card, Card]:
    made: list[Card] = []
    for key, section, command in (
        ("predicted", profile.prediction, f"cnnprof predict {reference} --device DEVICE"),
        ("measured", profile.measurement, f"cnnprof measure {reference} --device cpu"),
    ):
        if not section or section.get("latency_s") is None:
            absent = "card.noisy" if key == "measured" and noise_of(profile) else "card.absent"
            made.append(Card(key=key, value=None, href="#latency", command=command, absent=absent))
            continue
        notes: list[tuple[str, Mapping[str, Any]]] = []
        if section.get("low_s") is not None and section.get("high_s") is not None:
            notes.append((
                "card.latency.range",
                {"low": seconds(section["low_s"]), "high": seconds(section["high_s"])},
            ))  # fmt: skip
        device = section.get("device")
        name = device.get("name") if isinstance(device, Mapping) else device
        if name:
            notes.append(("card.latency.device", {"device": plain(str(name))}))
        made.append(Card(key=key, value=seconds(section["latency_s"]), href="#latency", notes=tuple(notes)))
    return made[0], made[1]


def uncounted(profile: Profile) -> tuple[Uncounted, ...]:
    """Nothing if every layer's cost is known."""
    index = {layer.name: i for i, layer in enumerate(profile.layers)}
    return tuple(
        Uncounted(
            op_type=plain(group["op_type"]),
            count=int(group["count"]),
            reason=plain(group.get("reason") or ""),
            keys=tuple((plain(name), f"n{index[name]}") for name in group["layers"][:6] if name in index),
        )
        for group in profile.coverage["unknown"]
    )


def findings(profile: Profile, memory: MemoryView | None, field_view: ReceptiveView | None) -> tuple[Finding, ...]:
    """What a reader should know first, at most five sentences, each with its evidence on the page."""
    groups = stages(profile)
    found = [*_where(groups), *_heaviest(profile), *_memory_bound(profile)]
    best = next((row for row in memory.savings if not row.retypes), None) if memory is not None else None
    if memory is not None and best is not None and best.saving_bytes >= _WORTH * memory.peak_bytes:
        found.append(
            Finding(
                key="finding.memory",
                href="#memory",
                values={
                    "what": f"{best.what} ({best.detail})",
                    "saving": nbytes(best.saving_bytes),
                    "share": percent(best.saving_bytes, memory.peak_bytes),
                },
            )
        )
    if field_view is not None and field_view.crosses is not None:
        found.append(
            Finding(
                key="finding.field",
                href="#receptive",
                values={"layer": field_view.crosses.name, "size": f"{field_view.crosses.size:g}"},
            )
        )
    if field_view is not None and field_view.gridded:
        worst = min(field_view.gridded, key=lambda g: g.density)
        found.append(
            Finding(
                key="finding.gridding",
                href="#receptive",
                values={"layer": worst.name, "density": f"{100 * worst.density:.0f} %"},
            )
        )
    return tuple(found[:5])


def _where(groups: Stages) -> list[Finding]:
    """The stage with most MACs, against the one with most parameters, if they differ."""
    if len(groups.rows) < 2:
        return []
    most_macs = max(groups.rows, key=lambda row: row.shares[0].fraction)
    most_params = max(groups.rows, key=lambda row: row.shares[1].fraction)
    if not most_macs.shares[0].value:
        return []
    key = "finding.same" if most_macs is most_params else "finding.differ"
    return [
        Finding(
            key=key,
            href="#breakdown",
            values={
                "macs_stage": most_macs.label,
                "macs_share": percent(most_macs.shares[0].fraction, 1),
                "params_stage": most_params.label,
                "params_share": percent(most_params.shares[1].fraction, 1),
            },
        )
    ]


def _heaviest(profile: Profile) -> list[Finding]:
    total = profile.totals["macs"]
    heavy = max(profile.layers, key=lambda layer: layer.macs or 0, default=None)
    if heavy is None or not total or (heavy.macs or 0) < 0.2 * total:
        return []
    return [
        Finding(
            key="finding.heaviest",
            href=f"#n{profile.layers.index(heavy)}",
            values={"layer": plain(heavy.name), "share": percent(heavy.macs, total)},
        )
    ]


_WORTH = 0.05  # of the peak: a smaller saving is no finding
# Below this many FLOPs per byte every processor of today waits for memory (a H100's ridge is near 300 at float16, a
# desktop CPU's near 10): a layer under it is memory-bound anywhere.
_LOW_INTENSITY = 4.0


def _memory_bound(profile: Profile) -> list[Finding]:
    moved = sum(layer.bytes_moved or 0 for layer in profile.layers)
    low = [
        layer
        for layer in profile.layers
        if layer.arithmetic_intensity is not None and layer.arithmetic_intensity < _LOW_INTENSITY
    ]
    bytes_low = sum(layer.bytes_moved or 0 for layer in low)
    total = profile.totals["macs"]
    if not moved or not total or bytes_low < 0.3 * moved:
        return []
    share = sum(layer.macs or 0 for layer in low) / total
    return [
        Finding(
            key="finding.memory_bound",
            href="#breakdown",
            values={
                "traffic": percent(bytes_low, moved),
                "macs": percent(share, 1),
                "layers": len(low),
                "limit": f"{_LOW_INTENSITY:g}",
            },
        )
    ]
