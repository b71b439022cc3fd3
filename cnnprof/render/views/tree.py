"""The module tree of a profile: scopes as inner nodes, layers as leaves, sums on every node.

Children stand in order of first appearance. A scope that holds nothing but one node is joined with it
("layer1/0" over "conv1" over one convolution is one line: ``conv1``), so a line never repeats its parent. A module
without modules inside that is called again elsewhere (one ReLU for a whole block) stands where each call stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from cnnprof.profile import Layer, Profile
from cnnprof.render.quantities import plain
from cnnprof.render.views.metrics import Sums, layer_sums

__all__ = ["MAX_DEPTH", "Node", "module_tree", "walk"]

# A scope deeper than this is shown flat below it: names are data, and data can be hostile.
MAX_DEPTH = 12


@dataclass(frozen=True, kw_only=True)
class Node:
    """``key`` is the page's anchor: ``n12`` for layer 12, ``m12`` for the module whose first layer is 12,
    with its depth appended where two modules begin at the same layer. ``layer`` is the index of a leaf's layer."""

    key: str
    label: str
    path: str
    depth: int
    first: int
    layer: int | None
    sums: Sums
    children: tuple[Node, ...] = ()

    @property
    def is_module(self) -> bool:
        return self.layer is None


@dataclass
class _Scope:
    path: tuple[str, ...]
    first: int
    entries: dict[str, _Scope | int] = field(default_factory=dict)


def module_tree(profile: Profile) -> Node:
    """The root stands for the whole model (depth 0)."""
    root = _Scope((), 0)
    for index, layer in enumerate(profile.layers):
        at = root
        for part in _parts(layer.scope):
            entry = at.entries.get(part)
            if not isinstance(entry, _Scope):
                entry = _Scope((*at.path, part), index)
                at.entries[part] = entry
            at = entry
        at.entries[f"\0{index}"] = index
    return _freeze(root, list(zip(profile.layers, layer_sums(profile), strict=True)), 0, "")


def _parts(scope: str) -> list[str]:
    parts = [part for part in scope.split("/") if part]
    return parts if len(parts) <= MAX_DEPTH else [*parts[: MAX_DEPTH - 1], "/".join(parts[MAX_DEPTH - 1 :])]


def _freeze(scope: _Scope, layers: Sequence[tuple[Layer, Sums]], depth: int, label: str) -> Node:
    inner: list[Node] = []
    for name, entry in _calls(scope):
        if isinstance(entry, int):
            inner.append(_leaf(layers[entry], entry, depth + 1, scope.path))
            continue
        shown, inside = plain(name), entry
        while len(inside.entries) == 1:  # a chain of single scopes is one line
            below_name, below = next(iter(inside.entries.items()))
            if isinstance(below, int):
                break
            shown, inside = f"{shown}/{plain(below_name)}", below
        only = next(iter(inside.entries.values()))
        if len(inside.entries) == 1 and isinstance(only, int):
            inner.append(_leaf(layers[only], only, depth + 1, scope.path, shown))
        else:
            inner.append(_freeze(inside, layers, depth + 1, shown))
    total = Sums()
    for child in inner:
        total += child.sums
    return Node(
        key=f"m{scope.first}" if depth == 1 else f"m{scope.first}-{depth}",
        label=label,
        path=plain("/".join(scope.path)),
        depth=depth,
        first=scope.first,
        layer=None,
        sums=total,
        children=tuple(inner),
    )


def _calls(scope: _Scope) -> list[tuple[str, _Scope | int]]:
    """The entries, each leaf module split into the runs of layers in which it executes."""
    found: list[tuple[int, str, _Scope | int]] = []
    for name, entry in scope.entries.items():
        if isinstance(entry, int):
            found.append((entry, name, entry))
            continue
        inside = [below for below in entry.entries.values() if isinstance(below, int)]
        if len(inside) < len(entry.entries):
            found.append((entry.first, name, entry))
            continue
        for _, run in groupby(enumerate(inside), key=lambda pair: pair[1] - pair[0]):
            members = [index for _, index in run]
            call = _Scope(entry.path, members[0], {f"\0{index}": index for index in members})
            found.append((members[0], name, call))
    found.sort(key=lambda row: row[0])
    return [(name, entry) for _, name, entry in found]


def _leaf(
    costed: tuple[Layer, Sums], index: int, depth: int, parent: tuple[str, ...], label: str | None = None
) -> Node:
    layer, sums = costed
    return Node(
        key=f"n{index}",
        label=label or _local_name(layer.name, parent),
        path=plain(layer.name),
        depth=depth,
        first=index,
        layer=index,
        sums=sums,
    )


def _local_name(name: str, parent: tuple[str, ...]) -> str:
    """The layer's name without the path that its parent line already shows, in either spelling."""
    for prefix in ("/".join(parent), ".".join(parent)):
        start = len(prefix) + name.startswith("/")
        if prefix and name[start - len(prefix) : start] == prefix and name[start : start + 1] in ("/", ".", ":"):
            rest = name[start:].lstrip("/.:")
            if rest:
                return plain(rest)
    return plain(name)


def walk(node: Node) -> Iterator[Node]:
    """``node`` and everything below it, parents first."""
    stack = [node]
    while stack:
        at = stack.pop()
        yield at
        stack.extend(reversed(at.children))
