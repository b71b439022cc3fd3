"""Receptive fields as results: one row per layer and graph input, and the field of one unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

from cnnprof.analyses.receptive_field.field import Branch
from cnnprof.analyses.receptive_field.region import Region, boxes, count
from cnnprof.analyses.receptive_field.sets import Positions
from cnnprof.ir.record import quick_init

__all__ = ["AxisWindow", "LayerField", "ReceptiveFields", "SeenInput", "UnitField"]


_ONE = Fraction(1)
_LISTED_PHASES = 64


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class AxisWindow:
    """A layer's window along one spatial axis of one graph input; lengths in input positions.

    ``size``, ``stride``, ``start`` and ``centre`` are those of the local path; they are None where every path
    is global. ``start`` is the first position that unit 0 reads, ``padding`` its negative (Araujo, Norris,
    Sim 2019). Where a unit's window depends on its phase (after upsampling) ``size`` is the largest and
    ``phase_sizes`` has all.
    """

    axis: int
    extent: int
    is_global: bool
    size: int | None
    stride: Fraction | None
    start: int | None
    centre: Fraction | None
    density: Fraction
    aligned: bool
    exact: bool
    phase_sizes: tuple[int, ...] = ()
    branches: tuple[Branch, ...] = ()

    @property
    def padding(self) -> int | None:
        return None if self.start is None else -self.start


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerField:
    """What a layer's units see of one graph input. ``axes`` are the input's spatial axes in tensor order.

    ``gridding_layer`` is the first layer on the way whose window has holes that are still there;
    ``misaligned_by`` the first join whose branches differ in stride or centre.
    """

    layer: str
    kind: str
    scope: str
    input: str
    axes: tuple[AxisWindow, ...]
    gridding_layer: str | None = None
    misaligned_by: str | None = None
    data_dependent: bool = False
    unknown: bool = False

    def relabelled(self, layer: str, kind: str, scope: str) -> LayerField:
        """The row of another layer that sees the same."""
        return LayerField(
            layer=layer, kind=kind, scope=scope, input=self.input, axes=self.axes, gridding_layer=self.gridding_layer,
            misaligned_by=self.misaligned_by, data_dependent=self.data_dependent, unknown=self.unknown,
        )  # fmt: skip

    @property
    def is_global(self) -> bool:
        return any(axis.is_global for axis in self.axes)

    @property
    def size(self) -> tuple[int | None, ...]:
        """Per axis; None where a path reads the whole axis."""
        return tuple(None if axis.is_global else axis.size for axis in self.axes)

    @property
    def local_size(self) -> tuple[int | None, ...]:
        """Per axis along the local path only; None where there is none."""
        return tuple(axis.size for axis in self.axes)

    @property
    def stride(self) -> tuple[Fraction | None, ...]:
        return tuple(axis.stride for axis in self.axes)

    @property
    def padding(self) -> tuple[int | None, ...]:
        return tuple(axis.padding for axis in self.axes)

    @property
    def start(self) -> tuple[int | None, ...]:
        return tuple(axis.start for axis in self.axes)

    @property
    def centre(self) -> tuple[Fraction | None, ...]:
        return tuple(axis.centre for axis in self.axes)

    @property
    def density(self) -> Fraction:
        """Share of the hull's positions that are read: the product over the axes."""
        found = [axis.density for axis in self.axes if axis.density != 1]
        return prod(found, start=Fraction(1)) if found else _ONE

    @property
    def aligned(self) -> bool:
        return all([axis.aligned for axis in self.axes])  # noqa: C419  (short; a list is quicker)

    @property
    def exact(self) -> bool:
        return all([axis.exact for axis in self.axes])  # noqa: C419  (short; a list is quicker)

    def to_dict(self) -> dict[str, Any]:
        """JSON object of a layer's or output's ``receptive_field``; per-axis lists in tensor order."""
        axes = self.axes
        is_global = [axis.is_global for axis in axes]
        size = [axis.size for axis in axes]
        aligned = self.aligned
        data: dict[str, Any] = {
            "input": self.input,
            "axes": [axis.axis for axis in axes],
            "size": [None if everything else own for everything, own in zip(is_global, size, strict=True)],
            "stride": [_number(axis.stride) for axis in axes],
            "padding": [axis.padding for axis in axes],
            "start": [axis.start for axis in axes],
            "centre": [_number(axis.centre) for axis in axes],
            "global": is_global,
            "aligned": aligned,
            "density": _number(self.density),
            "exact": self.exact,
        }
        if True in is_global:
            data["local_size"] = size
        if any([axis.phase_sizes for axis in axes]):  # noqa: C419  (short; a list is quicker)
            # Attention over pooled tokens makes thousands of phases: their number then, and no list in every layer.
            data["phases"] = [max(1, len(axis.phase_sizes)) for axis in axes]
            data["phase_sizes"] = [
                list(axis.phase_sizes) if len(axis.phase_sizes) <= _LISTED_PHASES else [] for axis in axes
            ]
        if not aligned:
            data["branches"] = [
                [{"stride": _number(b.stride), "centre": _number(b.centre)} for b in axis.branches] for axis in axes
            ]
            data["misaligned_by"] = self.misaligned_by
        if self.gridding_layer is not None:
            data["gridding_layer"] = self.gridding_layer
        if self.data_dependent:
            data["data_dependent"] = True
        if self.unknown:
            data["unknown"] = True
        return data


@dataclass(frozen=True, kw_only=True)
class ReceptiveFields:
    """Rows in execution order, one per layer and graph input it sees; and those of the graph's outputs."""

    rows: tuple[LayerField, ...]
    outputs: Mapping[str, tuple[LayerField, ...]]

    @cached_property
    def by_layer(self) -> Mapping[str, tuple[LayerField, ...]]:
        found: dict[str, list[LayerField]] = {}
        for row in self.rows:
            found.setdefault(row.layer, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    def layer(self, name: str, input: str | None = None) -> LayerField:
        """One layer's row; ``input`` chooses among several graph inputs. Raises KeyError."""
        rows = self.by_layer[name]
        return rows[0] if input is None else next(row for row in rows if row.input == input)

    @cached_property
    def gridding(self) -> tuple[str, ...]:
        """Layers where holes first open in some layer's window, in execution order."""
        return tuple(dict.fromkeys(r.gridding_layer for r in self.rows if r.gridding_layer is not None))

    def layer_sections(self) -> dict[str, dict[str, Any]]:
        """``receptive_field`` objects by layer name: the first graph input's, others in ``other_inputs``."""
        known: dict[object, dict[str, Any]] = {}  # layers that see the same share one object
        sections: dict[str, dict[str, Any]] = {}
        others: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            seen = (id(row.axes), row.input, row.gridding_layer, row.misaligned_by, row.data_dependent, row.unknown)
            section = known.get(seen)
            if section is None:
                section = known[seen] = row.to_dict()
            if row.layer not in sections:
                sections[row.layer] = section
            else:
                others.setdefault(row.layer, []).append(row.to_dict())
        for name, rows in others.items():
            sections[name] = {**sections[name], "other_inputs": rows}
        return sections

    def to_dict(self) -> dict[str, Any]:
        """The top-level ``receptive_field`` section."""
        return {
            "outputs": {name: [row.to_dict() for row in rows] for name, rows in self.outputs.items()},
            "gridding_layers": list(self.gridding),
            "misaligned_layers": list(dict.fromkeys(r.misaligned_by for r in self.rows if r.misaligned_by is not None)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInput:
    """The exact set of one graph input's positions that reach a unit, all channels and samples together.

    ``region`` is over the spatial ``axes``, jointly; ``local`` the part along local paths only (the same
    where nothing is global). ``extent`` are the axes' lengths.
    """

    input: str
    axes: tuple[int, ...]
    extent: tuple[int, ...]
    region: Region
    local: Region

    @property
    def count(self) -> int:
        return count(self.region, len(self.axes))

    def positions(self, axis: int, *, local: bool = False) -> Positions:
        """The set's shadow on spatial axis number ``axis``."""
        bits = 0
        for one in boxes(self.local if local else self.region, len(self.axes)):
            bits |= one[axis]
        return Positions.from_mask(bits)

    @property
    def covers_all(self) -> bool:
        return self.count == prod(self.extent)

    @property
    def density(self) -> float:
        """Positions reached, as a share of the hull's."""
        hull = prod(self.positions(axis).size for axis in range(len(self.axes)))
        return self.count / hull if hull else 1.0

    def members(self) -> frozenset[tuple[int, ...]]:
        """Every position, as index tuples: for small inputs and tests."""
        from itertools import product

        from cnnprof.analyses.receptive_field.sets import iter_bits

        return frozenset(
            index
            for one in boxes(self.region, len(self.axes))
            for index in product(*(tuple(iter_bits(bits)) for bits in one))
        )

    def to_dict(self) -> dict[str, Any]:
        spans = []
        for axis in range(len(self.axes)):
            found, near = self.positions(axis), self.positions(axis, local=True)
            span: dict[str, Any] = {
                "axis": self.axes[axis],
                "first": found.start,
                "size": found.size,
                "count": found.count,
            }
            if near != found:
                span["local"] = {"first": near.start, "size": near.size, "count": near.count}
            spans.append(span)
        return {
            "input": self.input,
            "extent": list(self.extent),
            "spans": spans,
            "count": self.count,
            "density": self.density,
            "covers_all": self.covers_all,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitField:
    """What the unit at ``position`` of a layer's output really sees, clipped at the borders.

    ``axes`` are the output's axes that ``position`` indexes, ``extent`` their lengths.
    """

    layer: str
    tensor: str
    axes: tuple[int, ...]
    extent: tuple[int, ...]
    position: tuple[int, ...]
    exact: bool
    inputs: tuple[SeenInput, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "axes": list(self.axes),
            "extent": list(self.extent),
            "position": list(self.position),
            "exact": self.exact,
            "inputs": [seen.to_dict() for seen in self.inputs],
        }


def _number(value: Fraction | None) -> int | float | None:
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else float(value)
