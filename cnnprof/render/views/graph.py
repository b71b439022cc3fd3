"""The dataflow, collapsed by module: one drawing for the whole, one for each kind of block.

Cases: a module's children are its nodes; a chain of a layer and the cheap layers that only follow it is one node; equal
neighbours in a chain are one node with a count; a module (or a flat export without modules) with more
children than a drawing can hold is cut where a single tensor crosses, then by resolution, then evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cnnprof.profile import Profile
from cnnprof.render.views.describe import describe, output_shape
from cnnprof.render.views.graph_parts import Part, Wiring, acyclic, group_children, part_tree, wiring_of
from cnnprof.render.views.metrics import Sums

__all__ = ["Block", "Drawing", "GraphView", "graph_view"]

_MOST_DRAWINGS = 12
_MOST_EXAMINED = 150  # a graph that nothing cuts peels off one layer a level: thousands of blocks, none of them telling
_SHORT = {"batch norm": "bn", "layer norm": "ln", "group norm": "gn", "instance norm": "in"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A node: ``kind`` is "module", "layer", "input" or "output". ``times`` equal ones stand in its place; ``target``
    is the id of the drawing of its inside."""

    key: str
    title: str
    what: str
    kind: str
    times: int
    sums: Sums
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """``edges`` are pairs of positions in ``nodes``. ``times``: how many blocks of the network look like this."""

    id: str
    title: str
    times: int
    nodes: tuple[Block, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """``hidden``: kinds of block beyond those drawn."""

    drawings: tuple[Drawing, ...]
    hidden: int


@dataclass(frozen=True)
class _Node:
    part: Part
    parts: tuple[Part, ...]
    times: int


def graph_view(profile: Profile) -> GraphView:
    """Nothing to draw for a profile without layers."""
    if not profile.layers:
        return GraphView(drawings=(), hidden=0)
    wiring = wiring_of(profile)
    root = part_tree(profile)
    queue: list[tuple[Part, str]] = [(root, "g0")]
    ids: dict[tuple[object, ...], str] = {}
    seen: dict[tuple[object, ...], int] = {}
    drawings: list[Drawing] = []
    described = [describe(layer) for layer in profile.layers]
    for part, name in queue:
        if len(drawings) >= _MOST_EXAMINED:
            break
        nodes, edges = _collapse(profile, acyclic(group_children(profile, part, wiring), wiring), wiring)
        blocks: list[Block] = []
        for node in nodes:
            target = None
            plain_chain = _as_chain(profile, node.part, wiring)
            if node.part.children and plain_chain is None:
                look = _look(described, node.part)
                seen[look] = seen.get(look, 0) + node.times
                if look not in ids and len(node.part.members) > 1:
                    ids[look] = f"g{len(ids) + 1}"
                    queue.append((node.part, ids[look]))
                target = ids.get(look)
            blocks.append(_block(profile, node, target, plain_chain))
        blocks, edges = _with_ports(part, nodes, blocks, edges, wiring)
        drawings.append(
            Drawing(id=name, title=part.path or part.label, times=1, nodes=tuple(blocks), edges=tuple(edges))
        )
    unseen = len(queue) - len(drawings)
    return _shown(drawings, {ids[look]: count for look, count in seen.items() if look in ids}, unseen)


def _shown(drawings: Sequence[Drawing], times: dict[str, int], unseen: int) -> GraphView:
    """The whole and the first drawings that have something inside; links to the others are taken out."""
    worth = [d for d in drawings[1:] if sum(1 for n in d.nodes if n.kind not in ("input", "output")) > 1]
    shown = [drawings[0], *(replace(d, times=times.get(d.id, 1)) for d in worth[:_MOST_DRAWINGS])]
    known = {d.id for d in shown}
    return GraphView(
        drawings=tuple(
            replace(d, nodes=tuple(n if n.target in known else replace(n, target=None) for n in d.nodes)) for d in shown
        ),
        hidden=len(worth) - len(shown) + 1 + unseen,
    )


def _look(described: Sequence[str], part: Part) -> tuple[object, ...]:
    """What blocks share that are drawn once: kinds and windows in order, not widths or resolutions."""
    return tuple(described[i] for i in part.members)


def _same(profile: Profile, node: _Node) -> tuple[object, ...]:
    """What neighbours share that are counted as one: everything but their names."""
    return tuple(
        (describe(layer), output_shape(layer), layer.parameters, layer.macs)
        for part in node.parts[: len(node.parts) // node.times]
        for layer in (profile.layers[i] for i in part.members)
    )


def _collapse(profile: Profile, children: Sequence[Part], wiring: Wiring) -> tuple[list[_Node], list[tuple[int, int]]]:
    """Chains of cheap layers joined, then equal neighbours; with the edges between what is left."""
    edges = wiring.edges(children)
    outside, fed = wiring.exits(children), wiring.entries(children)
    nodes = [_Node(part, (part,), 1) for part in children]
    nodes, edges, outside, fed = _merge(nodes, edges, outside, fed, lambda a, b: _follows(profile, a, b), chain=True)
    nodes, edges, _, _ = _merge(
        nodes, edges, outside, fed, lambda a, b: _same(profile, a) == _same(profile, b), chain=False
    )
    return nodes, edges


def _follows(profile: Profile, a: _Node, b: _Node) -> bool:
    """True where ``b`` is one cheap layer after a single layer: batch norm, activation, dropout."""
    if a.part.children or b.part.children or len(a.parts) >= 5:
        return False
    layer = profile.layers[b.part.members[0]]
    first = profile.layers[a.part.members[0]]
    light = not layer.macs and layer.unknown is None and not layer.kind.endswith("pool")
    return light and output_shape(layer) == output_shape(first)


def _merge(
    nodes: Sequence[_Node],
    edges: Sequence[tuple[int, int]],
    outside: set[int],
    fed: set[int],
    joins: Callable[[_Node, _Node], bool],
    *,
    chain: bool,
) -> tuple[list[_Node], list[tuple[int, int]], set[int], set[int]]:
    """Join each node with the next while only one edge leads from one to the other: nobody else reads the
    first (``outside``: read from elsewhere), the second reads nothing else (``fed``: from elsewhere)."""
    after: dict[int, set[int]] = {}
    before: dict[int, set[int]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)
        before.setdefault(b, set()).add(a)
    home: list[int] = []
    merged: list[_Node] = []
    for at, node in enumerate(nodes):
        last = home[at - 1] if at else -1
        linked = (
            at > 0
            and after.get(at - 1) == {at}
            and before.get(at) == {at - 1}
            and (at - 1) not in outside
            and at not in fed
        )
        if linked and joins(merged[last], node):
            old = merged[last]
            merged[last] = _Node(old.part, (*old.parts, *node.parts), old.times if chain else old.times + 1)
            home.append(last)
        else:
            merged.append(node)
            home.append(len(merged) - 1)
    kept = sorted({(home[a], home[b]) for a, b in edges if home[a] != home[b]})
    return merged, kept, {home[i] for i in outside}, {home[i] for i in fed}


def _as_chain(profile: Profile, part: Part, wiring: Wiring) -> tuple[Part, ...] | None:
    """The layers of a small module that is nothing but one chain (convolution, norm, activation)."""
    if not part.children or len(part.members) > 6:
        return None
    nodes, _ = _collapse(profile, acyclic(part.children, wiring), wiring)
    if len(nodes) != 1 or nodes[0].times != 1 or any(p.children for p in nodes[0].parts):
        return None
    return nodes[0].parts


def _block(profile: Profile, node: _Node, target: str | None, inside: tuple[Part, ...] | None) -> Block:
    total = Sums()
    for part in node.parts:
        total += part.sums
    module = bool(node.part.children) and inside is None
    layers = inside or node.parts[: len(node.parts) // node.times]
    names = [] if module else [describe(profile.layers[p.members[0]]) for p in layers]
    return Block(
        key=node.part.key,
        title=node.part.label,
        what=" · ".join(_SHORT.get(name, name) for name in names),
        kind="module" if module else "layer",
        times=node.times,
        sums=total,
        target=target,
    )


def _with_ports(
    part: Part, nodes: Sequence[_Node], blocks: list[Block], edges: list[tuple[int, int]], wiring: Wiring
) -> tuple[list[Block], list[tuple[int, int]]]:
    """An input above those that read from outside, an output below those read outside."""
    groups = [[i for p in node.parts for i in p.members] for node in nodes]
    reads = [at for at, members in enumerate(groups) if wiring.reads_outside(members, part.members)]
    gives = [at for at, members in enumerate(groups) if wiring.read_outside(members, part.members)]
    port = {"key": "", "what": "", "times": 1, "sums": Sums()}
    if reads:
        blocks = [Block(title="", kind="input", **port), *blocks]  # type: ignore[arg-type]
        edges = [*((0, at + 1) for at in reads), *((a + 1, b + 1) for a, b in edges)]
        gives = [at + 1 for at in gives]
    if gives:
        blocks = [*blocks, Block(title="", kind="output", **port)]  # type: ignore[arg-type]
        edges = [*edges, *((at, len(blocks) - 1) for at in gives)]
    return blocks, edges
