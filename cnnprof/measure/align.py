"""Which IR op each call of a run belongs to.

The tracer records composites (``aten:linear``) as one op that the dispatcher sees as several calls, and at run time
some ops are replaced by fused ones. Both sequences keep their order, so they are aligned as texts are: a call with
an op's own spelling is that op; calls in a gap belong to the ops that stand in the gap on the other side.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from cnnprof.ir import Graph

__all__ = ["align"]


def align(graph: Graph, calls: Sequence[str], weights: Mapping[str, float]) -> list[tuple[tuple[str, float], ...]]:
    """For each call (by spelling, in order) the IR ops it belongs to, with shares that sum to 1; () for none.

    Where several ops share a gap, ``weights`` (their expected cost) divide it.
    """
    names = [op.name for op in graph.ops]
    types = [op.op_type for op in graph.ops]
    owners: list[tuple[tuple[str, float], ...]] = [()] * len(calls)
    matcher = difflib.SequenceMatcher(None, types, calls, autojunk=False)
    for tag, low, high, first, last in matcher.get_opcodes():
        if tag == "equal":
            for offset in range(last - first):
                owners[first + offset] = ((names[low + offset], 1.0),)
        elif tag == "replace":
            shares = _shares(names[low:high], weights)
            owners[first:last] = [shares] * (last - first)
        elif tag == "insert" and low > 0:
            # What the dispatcher sees after an op and the tracer doesn't: placeholders of batch norm, mostly.
            owners[first:last] = [((names[low - 1], 1.0),)] * (last - first)
    return owners


def _shares(names: Sequence[str], weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    whole = sum(weights.get(name, 0.0) for name in names)
    if whole <= 0.0:
        return tuple((name, 1.0 / len(names)) for name in names)
    return tuple((name, weights.get(name, 0.0) / whole) for name in names)
