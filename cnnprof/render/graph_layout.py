"""Places for the nodes of one drawing: layer by layer, after Sugiyama, on networkx.

Longest-path layers, dummy nodes where an edge spans several, orders by barycentre sweeps, x positions
relaxed towards the neighbours. A pure chain is laid out in rows, as text runs. Quick enough for any
drawing the views make (a few dozen nodes); deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

__all__ = ["Layout", "layout"]

Point = tuple[float, float]
_SWEEPS = 6
_MOST_DUMMIES = 3000


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``centres[i]``: of node i; ``paths[e]``: points of edge e from the border of its first node to its last's."""

    width: float
    height: float
    centres: tuple[Point, ...]
    paths: tuple[tuple[Point, ...], ...]
    chain: bool


def layout(
    sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], *, row_width: float = 1040
) -> Layout:
    """``sizes`` are (width, height) of the nodes; edges go from earlier to later nodes."""
    if _is_chain(len(sizes), edges) and len(sizes) > 2:
        return _rows(sizes, edges, row_width)
    return _layers(sizes, edges)


def _is_chain(count: int, edges: Sequence[tuple[int, int]]) -> bool:
    return list(edges) == [(i, i + 1) for i in range(count - 1)]


def _rows(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], row_width: float) -> Layout:
    """Left to right, then the next row; a row of its own for each node where only one fits."""
    gap_x, gap_y = 30.0, 30.0
    rows: list[list[int]] = [[]]
    x = 0.0
    for node, (w, _) in enumerate(sizes):
        if rows[-1] and x + w > row_width:
            rows.append([])
            x = 0.0
        rows[-1].append(node)
        x += w + gap_x
    widths = [sum(sizes[n][0] for n in row) + gap_x * (len(row) - 1) for row in rows]
    single = all(len(row) == 1 for row in rows)
    centres: list[Point] = []
    y = 0.0
    for row, width in zip(rows, widths, strict=True):
        height = max(sizes[n][1] for n in row)
        x = (max(widths) - width) / 2 if single else 0.0
        for n in row:
            centres.append((x + sizes[n][0] / 2, y + height / 2))
            x += sizes[n][0] + gap_x
        y += height + gap_y
    row_of = {n: at for at, row in enumerate(rows) for n in row}
    paths: list[tuple[Point, ...]] = []
    for a, b in edges:
        (ax, ay), (bx, by) = centres[a], centres[b]
        if row_of[a] == row_of[b]:
            paths.append(((ax + sizes[a][0] / 2, ay), (bx - sizes[b][0] / 2, by)))
        else:  # down, back to the left, down into the next row
            middle = by - max(sizes[n][1] for n in rows[row_of[b]]) / 2 - gap_y / 2
            paths.append(((ax, ay + sizes[a][1] / 2), (ax, middle), (bx, middle), (bx, by - sizes[b][1] / 2)))
    return Layout(width=max(widths), height=y - gap_y, centres=tuple(centres), paths=tuple(paths), chain=True)


def _layers(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    gap_x, gap_y, dummy = 18.0, 26.0, 10.0
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(sizes)))
    graph.add_edges_from(edges)
    rank = {node: at for at, level in enumerate(nx.topological_generations(graph)) for node in level}
    rank = _pulled_down(graph, rank)
    widths = {i: w for i, (w, _) in enumerate(sizes)}
    chains, segments = _with_dummies(edges, rank, widths, dummy)
    levels = _ordered(rank, segments)
    x = _spread(levels, segments, widths, gap_x)
    heights = [max((sizes[n][1] for n in level if n < len(sizes)), default=0.0) for level in levels]
    tops = [sum(heights[:at]) + gap_y * at for at in range(len(levels))]
    left = min((x[n] - widths[n] / 2 for n in x), default=0.0)
    right = max((x[n] + widths[n] / 2 for n in x), default=0.0)

    def at(node: int) -> Point:
        return x[node] - left, tops[rank[node]] + heights[rank[node]] / 2

    paths = []
    for chain in chains:
        points = [at(node) for node in chain]
        (ax, ay), (bx, by) = points[0], points[-1]
        first, last = (ax, ay + sizes[chain[0]][1] / 2), (bx, by - sizes[chain[-1]][1] / 2)
        middle: list[Point] = []
        for node in chain[1:-1]:
            top = tops[rank[node]]
            middle += [(x[node] - left, top), (x[node] - left, top + heights[rank[node]])]
        paths.append((first, *middle, last))
    return Layout(
        width=right - left,
        height=(tops[-1] + heights[-1]) if tops else 0.0,
        centres=tuple(at(i) for i in range(len(sizes))),
        paths=tuple(paths),
        chain=False,
    )


def _pulled_down(graph: nx.DiGraph[int], rank: dict[int, int]) -> dict[int, int]:
    """A source stands just above its first reader, not at the top."""
    moved = dict(rank)
    for node in reversed(list(nx.topological_sort(graph))):
        if not graph.in_degree(node) and graph.out_degree(node) and node:
            moved[node] = max(rank[node], min(moved[s] for s in graph.successors(node)) - 1)
    return moved


def _with_dummies(
    edges: Sequence[tuple[int, int]], rank: dict[int, int], widths: dict[int, float], width: float
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Each edge as a chain of nodes one rank apart; ``rank`` and ``widths`` gain the dummies."""
    following = max(rank, default=-1) + 1
    spans = sum(rank[b] - rank[a] - 1 for a, b in edges)
    chains, segments = [], []
    for a, b in edges:
        chain = [a]
        if spans <= _MOST_DUMMIES:
            for level in range(rank[a] + 1, rank[b]):
                rank[following], widths[following] = level, width
                chain.append(following)
                following += 1
        chain.append(b)
        chains.append(chain)
        segments += list(pairwise(chain))
    return chains, segments


def _ordered(rank: dict[int, int], segments: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Nodes of each level, left to right: barycentre sweeps down and up."""
    levels: list[list[int]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in sorted(rank):
        levels[rank[node]].append(node)
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for a, b in segments:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    for sweep in range(_SWEEPS):
        near, order = (above, levels) if sweep % 2 == 0 else (below, levels[::-1])
        place = {n: float(i) for level in levels for i, n in enumerate(level)}
        for level in order:
            means = {n: sum(place[m] for m in near[n]) / len(near[n]) if n in near else place[n] for n in level}
            level.sort(key=lambda n, means=means: (means[n], n))  # type: ignore[misc]
            place.update((n, float(i)) for i, n in enumerate(level))
    return levels


def _spread(
    levels: Sequence[Sequence[int]],
    segments: Sequence[tuple[int, int]],
    widths: dict[int, float],
    gap: float,
) -> dict[int, float]:
    """x of each node. Straight runs are one column; columns keep the order of every level and at least
    ``gap`` between them, and are drawn towards their neighbours within that."""
    column = _columns(segments, [n for level in levels for n in level])
    left_of: dict[tuple[int, int], float] = {}
    for level in levels:
        for a, b in pairwise(level):
            pair = (column[a], column[b])
            left_of[pair] = max(left_of.get(pair, 0.0), (widths[a] + widths[b]) / 2 + gap)
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(sorted(set(column.values())))
    order.add_edges_from(left_of)
    if not nx.is_directed_acyclic_graph(order):  # crossing runs: every node for itself
        column = {n: n for n in column}
        left_of = {(a, b): (widths[a] + widths[b]) / 2 + gap for level in levels for a, b in pairwise(level)}
        order = nx.DiGraph()
        order.add_nodes_from(sorted(column))
        order.add_edges_from(left_of)
    ranked = list(nx.lexicographical_topological_sort(order))
    x: dict[int, float] = {}
    for c in ranked:
        x[c] = max((x[b] + left_of[b, c] for b in order.predecessors(c)), default=0.0)
    near: dict[int, list[int]] = {}
    for a, b in segments:
        if column[a] != column[b]:
            near.setdefault(column[a], []).append(column[b])
            near.setdefault(column[b], []).append(column[a])
    for sweep in range(24):
        for c in ranked[::-1] if sweep % 2 == 0 else ranked:
            if c not in near:
                continue
            wish = sum(x[m] for m in near[c]) / len(near[c])
            low = max((x[b] + left_of[b, c] for b in order.predecessors(c)), default=wish)
            high = min((x[a] - left_of[c, a] for a in order.successors(c)), default=wish)
            x[c] = max(low, min(high, wish))
    return {n: x[c] for n, c in column.items()}


def _columns(segments: Sequence[tuple[int, int]], nodes: Sequence[int]) -> dict[int, int]:
    """Node -> first node of the straight run it stands in: one edge out of the upper, one into the lower."""
    out: dict[int, list[int]] = {}
    into: dict[int, list[int]] = {}
    for a, b in segments:
        out.setdefault(a, []).append(b)
        into.setdefault(b, []).append(a)
    column: dict[int, int] = {}
    for n in nodes:  # levels come top to bottom, so the upper end is known before the lower
        above = into.get(n, [])
        straight = len(above) == 1 and len(out[above[0]]) == 1
        column[n] = column[above[0]] if straight else n
    return column
