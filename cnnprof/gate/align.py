"""Which layer of one graph is which of another: by structure, with names only to break ties.

1. Labels. Each layer has its own label (kind, attributes, shapes, costs) and, after Weisfeiler and Lehman, labels
   that take in its neighbourhood: one and three steps up- and downstream. A second family takes only the kind,
   for graphs in which every size changed.
2. Anchors, from the strictest label to the weakest, in execution order: equal ends, then a longest common
   subsequence, then each gap in turn with the next label.
3. What is left in a gap is aligned by similarity (Needleman and Wunsch), only within one kind.
4. Layers that execution order put elsewhere (parallel branches exported in another order) are found by
   their label and a neighbour that is already matched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from cnnprof.gate.nodes import LayerNode

__all__ = ["align"]

Nodes = Sequence[LayerNode]
Labels = tuple[list[int], list[int]]
_EDITS = 800  # places in which two sequences may differ
_CELLS = 400_000  # of the similarity table; beyond it a band around the diagonal


def align(old: Nodes, new: Nodes) -> dict[int, int]:
    """Positions in ``old`` -> positions in ``new`` of the same layer, changed or not."""
    matched: dict[int, int] = {}
    own = _intern([node.label for node in old], [node.label for node in new])
    kinds = _intern([node.kind for node in old], [node.kind for node in new])
    near = _widen(own, old, new)
    far = _widen(_widen(near, old, new), old, new)
    topology = _widen(_widen(kinds, old, new), old, new)
    gaps = [(0, len(old), 0, len(new))]
    for labels in (far, near, own):
        gaps = [gap for outer in gaps for gap in _anchor(labels, outer, matched)]
    _strays(near, own, old, new, matched)
    gaps = [gap for outer in gaps for gap in _remaining(outer, matched)]
    gaps = [gap for outer in gaps for gap in _anchor(topology, outer, matched)]
    for gap in gaps:
        _similar(old, new, gap, matched)
    return matched


def _intern(old: Sequence[Hashable], new: Sequence[Hashable]) -> Labels:
    numbers: dict[Hashable, int] = {}
    return (
        [numbers.setdefault(item, len(numbers)) for item in old],
        [numbers.setdefault(item, len(numbers)) for item in new],
    )


def _widen(labels: Labels, old: Nodes, new: Nodes) -> Labels:
    """One Weisfeiler-Lehman round: a label joined with those of sources (in order) and readers (as a bag)."""

    def wide(own: list[int], nodes: Nodes) -> list[Hashable]:
        readers: list[list[int]] = [[] for _ in nodes]
        for index, node in enumerate(nodes):
            for source in node.sources:
                readers[source].append(own[index])
        return [
            (own[i], tuple(own[s] for s in node.sources), tuple(sorted(readers[i]))) for i, node in enumerate(nodes)
        ]

    return _intern(wide(labels[0], old), wide(labels[1], new))


Gap = tuple[int, int, int, int]


def _anchor(labels: Labels, gap: Gap, matched: dict[int, int]) -> Iterator[Gap]:
    """Match what ``labels`` decide inside ``gap``; yield the gaps that are left."""
    a, a_end, b, b_end = gap
    left, right = labels
    while a < a_end and b < b_end and left[a] == right[b]:
        matched[a] = b
        a, b = a + 1, b + 1
    while a < a_end and b < b_end and left[a_end - 1] == right[b_end - 1]:
        a_end, b_end = a_end - 1, b_end - 1
        matched[a_end] = b_end
    for i, j in _common(left, right, (a, a_end, b, b_end)):
        matched[i] = j
        if i > a or j > b:
            yield a, i, b, j
        a, b = i + 1, j + 1
    if a < a_end or b < b_end:
        yield a, a_end, b, b_end


def _common(left: list[int], right: list[int], gap: Gap) -> list[tuple[int, int]]:
    """A longest common subsequence, after Myers ("An O(ND) difference algorithm", 1986), of the labels that
    both sides have; nothing where the sides differ in more than ``_EDITS`` places: weaker labels decide then."""
    a, a_end, b, b_end = gap
    shared = set(left[a:a_end]) & set(right[b:b_end])
    rows = [i for i in range(a, a_end) if left[i] in shared]
    columns = [j for j in range(b, b_end) if right[j] in shared]
    n, m = len(rows), len(columns)
    if not n or not m:
        return []
    reach = {1: 0}  # diagonal -> the furthest row
    history: list[dict[int, int]] = []
    for edits in range(min(n + m, _EDITS) + 1):
        history.append(dict(reach))
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
            x = reach[k + 1] if down else reach[k - 1] + 1
            y = x - k
            while x < n and y < m and left[rows[x]] == right[columns[y]]:
                x, y = x + 1, y + 1
            reach[k] = x
            if x >= n and y >= m:
                return [(rows[i], columns[j]) for i, j in _trace(history, n, m)]
    return []


def _trace(history: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The matches on Myers' path, from its furthest-reaching ends."""
    pairs: list[tuple[int, int]] = []
    for edits in range(len(history) - 1, -1, -1):
        reach, k = history[edits], x - y
        down = k == -edits or (k != edits and reach[k - 1] < reach[k + 1])
        before_k = k + 1 if down else k - 1
        before_x = reach[before_k]
        before_y = before_x - before_k
        while x > max(before_x, 0) and y > max(before_y, 0):
            x, y = x - 1, y - 1
            pairs.append((x, y))
        x, y = before_x, before_y
    return pairs[::-1]


def _strays(near: Labels, own: Labels, old: Nodes, new: Nodes, matched: dict[int, int]) -> None:
    """Unmatched layers of equal label whose sources or readers are matched with each other."""
    for labels in (near, own):
        taken = set(matched.values())
        free: dict[int, list[int]] = defaultdict(list)
        for j, label in enumerate(labels[1]):
            if j not in taken:
                free[label].append(j)
        readers_old, readers_new = _readers(old), _readers(new)
        for i in range(len(old)):
            if i in matched or not free.get(labels[0][i]):
                continue
            wanted = {matched[s] for s in old[i].sources if s in matched}
            wanted_readers = {matched[r] for r in readers_old[i] if r in matched}
            for j in free[labels[0][i]]:
                if wanted & set(new[j].sources) or wanted_readers & readers_new[j]:
                    matched[i] = j
                    free[labels[0][i]].remove(j)
                    break


def _readers(nodes: Nodes) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in nodes]
    for index, node in enumerate(nodes):
        for source in node.sources:
            found[source].add(index)
    return found


def _remaining(gap: Gap, matched: dict[int, int]) -> Iterator[Gap]:
    """The gap, closed up where strays were matched: split so that only unmatched layers stay."""
    a, a_end, b, b_end = gap
    taken = {matched[i] for i in range(a, a_end) if i in matched}
    if not taken and not any(i in matched for i in range(a, a_end)):
        yield gap
        return
    start_a, start_b = a, b
    for i in range(a, a_end):
        if i not in matched:
            continue
        j = matched[i]
        if start_b <= j < b_end:
            yield start_a, i, start_b, j
            start_b = j + 1
        else:
            yield start_a, i, start_b, start_b
        start_a = i + 1
    yield start_a, a_end, start_b, b_end


def _similar(old: Nodes, new: Nodes, gap: Gap, matched: dict[int, int]) -> None:
    """Needleman-Wunsch over a gap; only layers of one kind pair up."""
    taken = set(matched.values())
    rows = [i for i in range(gap[0], gap[1]) if i not in matched]
    columns = [j for j in range(gap[2], gap[3]) if j not in taken]
    if not rows or not columns:
        return
    n, m = len(rows), len(columns)
    band = m if n * m <= _CELLS else max(8, _CELLS // (2 * n))
    previous = [0.0] * (m + 1)
    moves: list[tuple[int, bytearray]] = []
    for x in range(n):
        centre = (x + 1) * m // n
        low, high = max(1, centre - band), min(m, centre + band)
        current = previous.copy()  # outside the band: as if the row were a gap
        step = bytearray(high - low + 1)
        for y in range(low, high + 1):
            up, left = previous[y], current[y - 1]
            best, move = (up, 1) if up >= left else (left, 2)
            gain = _similarity(old[rows[x]], new[columns[y - 1]])
            if gain and previous[y - 1] + gain > best:
                best, move = previous[y - 1] + gain, 3
            current[y], step[y - low] = best, move
        for y in range(high + 1, m + 1):
            current[y] = max(current[y], current[high])
        moves.append((low, step))
        previous = current
    _walk_back(moves, rows, columns, matched)


def _walk_back(
    moves: list[tuple[int, bytearray]], rows: list[int], columns: list[int], matched: dict[int, int]
) -> None:
    x, y = len(rows), len(columns)
    while x and y:
        low, step = moves[x - 1]
        inside = low <= y < low + len(step)
        move = step[y - low] if inside else (1 if y < low else 2)
        if move == 3:
            x, y = x - 1, y - 1
            matched[rows[x]] = columns[y]
        elif move == 1:
            x -= 1
        else:
            y -= 1


def _similarity(a: LayerNode, b: LayerNode) -> float:
    """0 for layers of different kind; else the more the more they share."""
    if a.kind != b.kind:
        return 0.0
    return (
        4.0
        + 2.0 * (a.attributes == b.attributes)
        + 2.0 * (a.shapes == b.shapes)
        + 1.0 * (a.costs.get("parameters") == b.costs.get("parameters"))
        + 1.5 * (a.name == b.name)
    )
