"""Receptive fields: what a layer sees, its growth over depth, and windows on the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.profile import Layer, Profile
from cnnprof.render.quantities import plain

__all__ = ["Field", "Growth", "ReceptiveView", "Window", "layer_field", "receptive_view"]

_WINDOWS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Per spatial axis of one input. ``size`` is along the local paths (None: no local path); ``everything``
    says that some path sees the whole input. ``density`` below 1 is gridding."""

    input: str
    size: tuple[float | None, ...]
    stride: tuple[float | None, ...]
    everything: bool
    aligned: bool
    density: float

    @property
    def largest(self) -> float | None:
        """The longest side along the local paths."""
        known = [side for side in self.size if side is not None]
        return max(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One layer's field: ``position`` counts layers that have one, ``key`` is the page's anchor."""

    position: int
    key: str
    name: str
    size: float
    stride: float
    density: float
    everything: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A layer's window drawn on the input, centred: sides in input positions, (height, width)."""

    key: str
    name: str
    height: float
    width: float


@dataclass(frozen=True, kw_only=True)
class ReceptiveView:
    """``input_size`` is (height, width) of the image-like input (height 1 for 1-D). ``output`` is the last field
    along a local path; ``ends_global``: what follows it sees everything."""

    input_name: str
    input_size: tuple[int, int]
    output: Field
    ends_global: bool
    growth: tuple[Growth, ...]
    windows: tuple[Window, ...]
    crosses: Growth | None
    global_from: Growth | None
    gridded: tuple[Growth, ...]
    misaligned: int


def layer_field(layer: Layer) -> Field | None:
    """The layer's field relative to the first graph input it sees; None where there is none."""
    data = layer.data.get("receptive_field")
    return _field(data) if isinstance(data, Mapping) else None


def _field(data: Mapping[str, Any]) -> Field | None:
    sizes = data.get("local_size") or data.get("size")
    if not isinstance(sizes, (list, tuple)) or not sizes:
        return None
    flags = data.get("global", False)
    return Field(
        input=plain(str(data.get("input", ""))),
        size=tuple(_number(size) for size in sizes),
        stride=tuple(_number(step) for step in data.get("stride") or [None] * len(sizes)),
        everything=any(flags) if isinstance(flags, (list, tuple)) else bool(flags),
        aligned=bool(data.get("aligned", True)),
        density=_number(data.get("density")) or 1.0,
    )


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def receptive_view(profile: Profile) -> ReceptiveView | None:
    """None where no layer has a receptive field."""
    every = [(i, layer, field) for i, layer in enumerate(profile.layers) if (field := layer_field(layer))]
    rows = [row for row in every if row[2].largest is not None]
    image = _image_input(profile)
    if not rows or image is None:
        return None
    growth = tuple(_growth(at, *row) for at, row in enumerate(rows))
    size = (image["shape"][-2] if len(image["shape"]) > 3 else 1, image["shape"][-1])
    first_global = next((row for row in every if row[2].everything), None)
    return ReceptiveView(
        input_name=plain(image["name"]),
        input_size=size,
        output=rows[-1][2],
        ends_global=every[-1][2].everything,
        growth=growth,
        windows=_windows(rows),
        crosses=next((g for g in growth if g.size >= max(size)), None),
        global_from=None if first_global is None else _growth(0, *first_global),
        gridded=tuple(g for g in growth if g.density < 1),
        misaligned=sum(1 for _, _, field in rows if not field.aligned),
    )


def _growth(position: int, index: int, layer: Layer, field: Field) -> Growth:
    return Growth(
        position=position,
        key=f"n{index}",
        name=plain(layer.name),
        size=field.largest or 0.0,
        stride=max((s for s in field.stride if s is not None), default=0.0),
        density=field.density,
        everything=field.everything,
    )


def _image_input(profile: Profile) -> Mapping[str, Any] | None:
    """The input with the most axes, at least (N, C, L)."""
    shaped = [t for t in profile.inputs if len(t.get("shape") or ()) >= 3]
    return max(shaped, key=lambda t: len(t["shape"]), default=None)


def _windows(rows: list[tuple[int, Layer, Field]]) -> tuple[Window, ...]:
    """The last layer of each stride (where a stage ends), thinned to seven, smallest first."""
    last: dict[float, Window] = {}
    for index, layer, field in rows:
        step = max((s for s in field.stride if s is not None), default=0.0)
        sides = [side or 1.0 for side in field.size]
        last[step] = Window(
            key=f"n{index}",
            name=plain(layer.scope or layer.name),
            height=sides[-2] if len(sides) > 1 else 1.0,
            width=sides[-1],
        )
    found = sorted(last.values(), key=lambda w: (w.width * w.height, w.key))
    if len(found) <= _WINDOWS:
        return tuple(found)
    step_width = (len(found) - 1) / (_WINDOWS - 1)
    return tuple(found[round(i * step_width)] for i in range(_WINDOWS))
