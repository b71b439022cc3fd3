"""The parts that a drawing shows, and the tensors between them.

A part is a module or a layer. Where a part has more children than a drawing can hold, or a flat export has no
modules at all, children are grouped: where only one tensor crosses (a residual or inception block of a
flat graph comes out whole), else by output resolution, else evenly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx

from cnnprof.profile import Profile
from cnnprof.render.views.describe import output_shape
from cnnprof.render.views.metrics import Sums
from cnnprof.render.views.tree import Node, module_tree

__all__ = ["MOST_CHILDREN", "Part", "Wiring", "acyclic", "group_children", "part_tree", "wiring_of"]

MOST_CHILDREN = 28
_MOST_GROUP = 24


@dataclass(frozen=True, kw_only=True)
class Part:
    """``members`` are indices of layers, ascending."""

    key: str
    label: str
    path: str
    members: tuple[int, ...]
    sums: Sums
    children: tuple[Part, ...] = ()


def part_tree(profile: Profile) -> Part:
    """The module tree with its members; modules with nothing but one module inside are skipped."""
    root = _part(module_tree(profile))
    while len(root.children) == 1 and root.children[0].children:
        root = root.children[0]
    return root


def _part(node: Node) -> Part:
    children = tuple(_part(child) for child in node.children)
    members = (node.layer,) if node.layer is not None else tuple(sorted(i for c in children for i in c.members))
    return Part(key=node.key, label=node.label, path=node.path, members=members, sums=node.sums, children=children)


@dataclass(frozen=True)
class Wiring:
    """Who reads whom: ``readers[i]`` are the layers that read an output of layer i, ascending;
    ``sources[i]`` the layers it reads from. -1 stands for a graph input, ``end`` for a graph output."""

    readers: Sequence[Sequence[int]]
    sources: Sequence[Sequence[int]]
    end: int

    def edges(self, parts: Sequence[Part]) -> list[tuple[int, int]]:
        """Pairs of positions in ``parts`` with a tensor from one to the other."""
        home = {i: at for at, part in enumerate(parts) for i in part.members}
        found = {
            (at, home[reader])
            for i, at in home.items()
            for reader in self.readers[i]
            if reader in home and home[reader] != at
        }
        return sorted(found)

    def exits(self, parts: Sequence[Part]) -> set[int]:
        """Positions of the parts that something outside all of ``parts`` reads."""
        home = {i: at for at, part in enumerate(parts) for i in part.members}
        return {at for i, at in home.items() if any(reader not in home for reader in self.readers[i])}

    def entries(self, parts: Sequence[Part]) -> set[int]:
        """Positions of the parts that read something made outside all of ``parts``."""
        home = {i: at for at, part in enumerate(parts) for i in part.members}
        return {at for i, at in home.items() if any(source not in home for source in self.sources[i])}

    def reads_outside(self, members: Iterable[int], inside: Sequence[int]) -> bool:
        return any(not _within(source, inside) for i in members for source in self.sources[i])

    def read_outside(self, members: Iterable[int], inside: Sequence[int]) -> bool:
        return any(not _within(reader, inside) for i in members for reader in self.readers[i])


def _within(item: int, ascending: Sequence[int]) -> bool:
    at = bisect_left(ascending, item)
    return at < len(ascending) and ascending[at] == item


def wiring_of(profile: Profile) -> Wiring:
    """Tensors by name; weights are made by no layer and don't count."""
    made: dict[str, int] = {str(tensor["name"]): -1 for tensor in profile.inputs}
    end = len(profile.layers)
    readers: list[dict[int, None]] = [{} for _ in profile.layers]
    sources: list[list[int]] = []
    for index, layer in enumerate(profile.layers):
        own: dict[int, None] = {}
        for name in layer.inputs:
            maker = made.get(name) if name is not None else None
            if maker is None or maker == index:
                continue
            own[maker] = None
            if maker >= 0:
                readers[maker][index] = None
        sources.append(sorted(own))
        made.update((str(out["name"]), index) for out in layer.outputs)
    for tensor in profile.outputs:
        maker = made.get(str(tensor["name"]), -1)
        if maker >= 0:
            readers[maker][end] = None
    return Wiring([sorted(r) for r in readers], sources, end)


@dataclass
class _Groups:
    parts: list[Part] = field(default_factory=list)

    def add(self, children: Sequence[Part], label: str) -> None:
        if len(children) == 1:
            self.parts.append(children[0])
        elif children:
            self.parts.append(_joined(children, label))


def _joined(children: Sequence[Part], label: str) -> Part:
    total = Sums()
    for child in children:
        total += child.sums
    return Part(
        key=children[0].key,
        label=label,
        path=f"{children[0].path} … {children[-1].path}",
        members=tuple(sorted(i for c in children for i in c.members)),
        sums=total,
        children=tuple(children),
    )


def group_children(profile: Profile, part: Part, wiring: Wiring) -> tuple[Part, ...]:
    """The children to draw, at most about MOST_CHILDREN (cheap layers in chains are joined later)."""
    children = part.children
    if len(children) <= MOST_CHILDREN:
        return children
    blocks = _by_cuts(profile, children, wiring)
    if len(blocks) <= MOST_CHILDREN:
        return blocks
    staged = _by_resolution(profile, blocks)
    return staged if len(staged) <= MOST_CHILDREN else _evenly(staged)


def _by_cuts(profile: Profile, children: Sequence[Part], wiring: Wiring) -> tuple[Part, ...]:
    """Consecutive children between places that only one tensor crosses; straight chains stay apart."""
    home = {i: at for at, part in enumerate(children) for i in part.members}
    # reach[k]: how many makers among children <= k are still read after child k.
    change = [0] * (len(children) + 1)
    for i, at in home.items():
        last = max((home.get(reader, at) for reader in wiring.readers[i]), default=at)
        if last > at:
            change[at] += 1
            change[last] -= 1
    groups, crossing = _Groups(), 0
    current: list[Part] = []
    for at, child in enumerate(children):
        current.append(child)
        crossing += change[at]
        if crossing <= 1:
            groups.add(current, _label(profile, current))
            current = []
    groups.add(current, _label(profile, current) if current else "")
    return tuple(groups.parts)


def _label(profile: Profile, children: Sequence[Part]) -> str:
    first, last = children[0].label, children[-1].label
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    stem = first[:common].rstrip("0123456789").rstrip("/._:-")
    return stem if len(stem) > 2 else f"{first} … {last}"


def _by_resolution(profile: Profile, parts: Sequence[Part]) -> tuple[Part, ...]:
    groups = _Groups()
    current: list[Part] = []
    side: Sequence[int] | None = None
    for part in parts:
        found = output_shape(profile.layers[part.members[-1]])
        now = found[2:] if found is not None and len(found) > 3 else None
        if current and now != side:
            groups.add(current, _side_label(profile, current, side))
            current = []
        side = now
        current.append(part)
    groups.add(current, _side_label(profile, current, side))
    return tuple(groups.parts)


def _side_label(profile: Profile, parts: Sequence[Part], side: Sequence[int] | None) -> str:
    return "×".join(map(str, side)) if side else _label(profile, parts)


def _evenly(parts: Sequence[Part]) -> tuple[Part, ...]:
    size = max(2, -(-len(parts) // _MOST_GROUP))
    groups = _Groups()
    for at in range(0, len(parts), size):
        chunk = parts[at : at + size]
        groups.add(chunk, f"{chunk[0].label} … {chunk[-1].label}")
    return tuple(groups.parts)


def acyclic(parts: Sequence[Part], wiring: Wiring) -> tuple[Part, ...]:
    """The parts in an order their edges follow. Modules that feed each other back and forth (a list of stages with
    pooling between) are opened; what still does, or would be too much, becomes one part."""
    shown = list(parts)
    while True:
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(len(shown)))
        graph.add_edges_from(wiring.edges(shown))
        knots = [sorted(group) for group in nx.strongly_connected_components(graph)]
        tied = {i for knot in knots if len(knot) > 1 for i in knot if shown[i].children}
        if not tied or len(shown) > 3 * MOST_CHILDREN:
            break
        shown = [part for i, whole in enumerate(shown) for part in (_opened(whole) if i in tied else (whole,))]
    if all(len(knot) == 1 for knot in knots) and all(a < b for a, b in graph.edges):
        return tuple(shown)
    groups = _Groups()
    whole_graph = nx.condensation(graph, scc=[set(knot) for knot in knots])
    first = {node: min(data["members"]) for node, data in whole_graph.nodes(data=True)}
    start = {node: shown[at].members[0] for node, at in first.items()}
    for node in nx.lexicographical_topological_sort(whole_graph, key=start.__getitem__):
        members = [shown[i] for i in sorted(whole_graph.nodes[node]["members"])]
        groups.add(members, f"{members[0].label} … {members[-1].label}")
    return tuple(groups.parts)


def _opened(whole: Part) -> tuple[Part, ...]:
    return tuple(replace(child, label=f"{whole.label}/{child.label}") for child in whole.children)
