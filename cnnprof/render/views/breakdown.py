"""Where the cost goes: by stage, and as an icicle of the module tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnprof.profile import Layer, Profile
from cnnprof.render.quantities import plain
from cnnprof.render.views.metrics import Metric, Sums, layer_sums, metrics_of
from cnnprof.render.views.tree import Node, module_tree

__all__ = ["Cell", "Icicle", "Share", "Stage", "Stages", "icicle", "stages"]

_SPATIAL_KINDS = ("conv", "conv_transpose", "deform_conv", "max_pool", "avg_pool", "average_pool", "pool")
_MOST_STAGES = 14
_REST = -1
_MOST_FLAT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One stage's part of one metric: ``fraction`` of ``total`` (0 where the total is 0)."""

    metric: str
    unit: str
    value: float
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of layers that work at one resolution (``by`` "resolution") or stand in one module."""

    label: str
    modules: tuple[str, ...]
    key: str
    sums: Sums
    shares: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """``by`` is "resolution" or "module"."""

    by: str
    rows: tuple[Stage, ...]
    metrics: tuple[Metric, ...]


def stages(profile: Profile) -> Stages:
    """By output resolution where the network is convolutional, else by top-level module."""
    costed = layer_sums(profile)
    total = sum(costed, Sums())
    conv = sum(layer.macs or 0 for layer in profile.layers if layer.kind.startswith(_SPATIAL_KINDS))
    groups = _by_resolution(profile.layers) if conv * 5 >= total.macs * 4 and conv else None
    by = "resolution" if groups and len(groups) > 1 else "module"
    if groups is None or len(groups) < 2:
        groups = _by_module(profile)
    metrics = metrics_of(profile)
    rows = tuple(
        Stage(
            label=label,
            modules=_modules(profile.layers, members),
            key=f"n{members[0]}",
            sums=(sums := sum((costed[i] for i in members), Sums())),
            shares=tuple(_share(metric, sums, total) for metric in metrics),
        )
        for label, members in groups
    )
    return Stages(by=by, rows=rows, metrics=metrics)


def _share(metric: Metric, part: Sums, total: Sums) -> Share:
    whole, value = metric.of(total), metric.of(part)
    return Share(metric=metric.key, unit=metric.unit, value=value, fraction=value / whole if whole else 0.0)


def _side(layer: Layer) -> tuple[int, ...] | None:
    """Spatial size of a layer's first output; None where it has none (vectors, 1×1 gates, tokens)."""
    shape = layer.outputs[0].get("shape") if layer.outputs else None
    if shape is None or len(shape) < 4:
        return None
    side = tuple(shape[2:])
    return None if all(n == 1 for n in side) else side


def _by_resolution(layers: Sequence[Layer]) -> list[tuple[str, list[int]]]:
    """Consecutive layers of one spatial size. What has none stays where it stands; after the last one
    that has, it is the head. If sizes alternate too often, equal sizes are joined."""
    sides = [_side(layer) for layer in layers]
    last = max((i for i, side in enumerate(sides) if side), default=-1)
    runs: list[tuple[str, list[int]]] = []
    for index, side in enumerate(sides):
        if index > last:
            label = "head"
        elif side is None:
            label = runs[-1][0] if runs else _text(next(s for s in sides if s))
        else:
            label = _text(side)
        if runs and runs[-1][0] == label:
            runs[-1][1].append(index)
        else:
            runs.append((label, [index]))
    if len(runs) <= _MOST_STAGES:
        return runs
    joined: dict[str, list[int]] = {}
    for label, members in runs:
        joined.setdefault(label, []).extend(members)
    return list(joined.items())


def _text(side: tuple[int, ...]) -> str:
    return "×".join(map(str, side))


def _by_module(profile: Profile) -> list[tuple[str, list[int]]]:
    """Children of the root, the largest ones opened until there are enough to tell something."""
    nodes = list(module_tree(profile).children)
    while len(nodes) < 4:
        openable = [n for n in nodes if n.children and len(nodes) - 1 + len(n.children) <= _MOST_STAGES]
        if not openable:
            break
        largest = max(openable, key=lambda n: (n.sums.macs, n.sums.layers, -n.first))
        at = nodes.index(largest)
        nodes[at : at + 1] = largest.children
    shown, rest = nodes[: _MOST_STAGES - 1], nodes[_MOST_STAGES - 1 :]
    if len(rest) == 1:
        shown, rest = nodes, []
    groups = [(node.path or node.label, _members(node)) for node in shown]
    if rest:
        groups.append(("…", [i for node in rest for i in _members(node)]))
    return groups


def _members(node: Node) -> list[int]:
    if node.layer is not None:
        return [node.layer]
    return [i for child in node.children for i in _members(child)]


def _modules(layers: Sequence[Layer], members: Sequence[int]) -> tuple[str, ...]:
    """Top-level modules that the members stand in, at most five."""
    names = dict.fromkeys(plain(layers[i].scope.partition("/")[0]) for i in members)
    names.pop("", None)
    return tuple(names)[:5]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One rectangle: ``start``..``end`` are fractions of the whole, ``depth`` the row from the top.

    ``hue`` numbers the top-level part a cell belongs to. ``count`` > 1: this many small siblings in one."""

    key: str
    label: str
    path: str
    depth: int
    start: float
    end: float
    value: float
    hue: int
    count: int = 1
    leaf: bool = False


@dataclass(frozen=True, kw_only=True)
class Icicle:
    """``rows`` is the number of levels."""

    metric: Metric
    total: float
    cells: tuple[Cell, ...]
    rows: int


def icicle(profile: Profile, metric: Metric, *, least: float = 0.012, levels: int = 4) -> Icicle:
    """The module tree by one metric: widths are shares. Siblings below ``least`` of the whole are joined."""
    root = module_tree(profile)
    while len(root.children) == 1 and root.children[0].is_module:
        root = root.children[0]
    if len(root.children) > _MOST_FLAT and not any(child.is_module for child in root.children):
        root = _staged(profile, root)
    total = metric.of(root.sums)
    cells: list[Cell] = []
    if total:
        _place(root, metric, total, 0.0, 0, _REST, cells, least, levels)
    return Icicle(metric=metric, total=total, cells=tuple(cells), rows=max((c.depth for c in cells), default=-1) + 1)


def _staged(profile: Profile, root: Node) -> Node:
    """A flat export has no modules: its stages stand in for them."""
    layers = {child.first: child for child in root.children}
    groups = _by_resolution(profile.layers)
    return replace(
        root,
        children=tuple(
            Node(
                key=layers[members[0]].key,
                label=label,
                path=label,
                depth=1,
                first=members[0],
                layer=None,
                sums=sum((layers[i].sums for i in members), Sums()),
                children=tuple(layers[i] for i in members),
            )
            for label, members in groups
        ),
    )


def _place(
    node: Node,
    metric: Metric,
    total: float,
    start: float,
    depth: int,
    hue: int,
    cells: list[Cell],
    least: float,
    levels: int,
) -> None:
    small: list[Node] = []

    def flush(at: float) -> float:
        if not small:
            return at
        value = sum(metric.of(n.sums) for n in small)
        end = at + value / total
        one = small[0]
        cells.append(
            Cell(
                key=one.key,
                label=one.label if len(small) == 1 else "",
                path=one.path,
                depth=depth,
                start=at,
                end=end,
                value=value,
                hue=hue if hue != _REST else one.first,
                count=len(small),
                leaf=len(small) == 1 and not one.is_module,
            )
        )
        small.clear()
        return end

    at = start
    for child in node.children:
        value = metric.of(child.sums)
        if not value:
            continue
        if value / total < least:
            small.append(child)
            continue
        at = flush(at)
        own = hue if hue != _REST else child.first
        cells.append(
            Cell(
                key=child.key,
                label=child.label,
                path=child.path,
                depth=depth,
                start=at,
                end=at + value / total,
                value=value,
                hue=own,
                leaf=not child.is_module,
            )
        )
        if child.children and depth + 1 < levels:
            _place(child, metric, total, at, depth + 1, own, cells, least, levels)
        at += value / total
    flush(at)
