"""The layer table: the module tree, one line per module and per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain
from cnnprof.render.views.describe import describe, output_shape
from cnnprof.render.views.metrics import layer_times
from cnnprof.render.views.receptive import Field, layer_field
from cnnprof.render.views.tree import Node, module_tree, walk

__all__ = ["LayerTable", "Line", "layer_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row. Costs of a layer whose cost isn't known are None; a module's are sums of the known ones, and
    ``uncounted`` says how many are missing. ``formula`` is (symbols, numbers)."""

    key: str
    label: str
    depth: int
    is_module: bool
    what: str
    shape: tuple[int, ...] | None
    macs: int | None
    parameters: int
    activation_bytes: int | None
    bytes_moved: int | None
    field: Field | None
    latency_s: float | None
    formula: tuple[str, str] | None
    layers: int
    uncounted: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """``with_field`` and ``with_time``: whether any row has one, so that empty columns aren't shown."""

    lines: tuple[Line, ...]
    with_field: bool
    with_time: bool
    layers: int
    modules: int


def layer_table(profile: Profile) -> LayerTable:
    """Parents before children, in order of first execution."""
    root = module_tree(profile)
    times = layer_times(profile)
    lines = tuple(_line(profile, node, times) for node in walk(root) if node is not root)
    return LayerTable(
        lines=lines,
        with_field=any(line.field for line in lines),
        with_time=any(line.latency_s for line in lines),
        layers=len(profile.layers),
        modules=sum(1 for line in lines if line.is_module),
    )


def _line(profile: Profile, node: Node, times: Mapping[str, float]) -> Line:
    sums = node.sums
    if node.layer is None:
        return Line(
            key=node.key, label=node.label, depth=node.depth - 1, is_module=True, what="", shape=None,
            macs=sums.macs, parameters=sums.parameters, activation_bytes=sums.activation_bytes,
            bytes_moved=sums.bytes_moved, field=None, latency_s=sums.latency_s or None, formula=None,
            layers=sums.layers, uncounted=sums.uncounted, reason=None,
        )  # fmt: skip
    layer = profile.layers[node.layer]
    formula = layer.time_formula
    return Line(
        key=node.key, label=node.label, depth=node.depth - 1, is_module=False, what=describe(layer),
        shape=output_shape(layer), macs=layer.macs, parameters=layer.parameters,
        activation_bytes=layer.activation_bytes, bytes_moved=layer.bytes_moved, field=layer_field(layer),
        latency_s=times.get(layer.name),
        formula=(formula["symbols"], formula["numbers"]) if formula else None,
        layers=1, uncounted=sums.uncounted, reason=None if layer.unknown is None else plain(layer.unknown),
    )  # fmt: skip
