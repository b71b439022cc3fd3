"""The machine's pace during a calibration: a workload of fixed size, the anchor, between every ten networks.

A single anchor scatters by some percent and may have stood beside a neighbour. So pace is read from medians, and what
was measured between two slow anchors is known to be slower than the rest.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence

from cnnprof.measure.session import Anchor

__all__ = ["SLOWED", "Pace"]

SLOWED = 1.04  # an anchor that takes this much longer than usual: the machine is slower
_SLOW_START = 1.15
_STEADY = 5  # anchors


class Pace:
    """Anchors in order, and which networks were measured between which two."""

    def __init__(self, first: Anchor) -> None:
        self.anchors = [first]
        self._after: dict[int, int] = {}  # network -> place of the anchor after it

    def add(self, anchor: Anchor, networks: Collection[int]) -> None:
        """``anchor``, taken after ``networks``."""
        self._after.update(dict.fromkeys(networks, len(self.anchors)))
        self.anchors.append(anchor)

    @property
    def usual_s(self) -> float | None:
        """The median anchor; None where a neighbour was beside every one."""
        calm = _calm(self.anchors)
        return statistics.median(calm) if calm else None

    def has_slowed(self, now: Anchor) -> bool:
        """Whether ``now`` took longer than usual before; not known beside a neighbour."""
        usual = self.usual_s
        return now.calm and usual is not None and now.cpu_s > SLOWED * usual

    def was_slow_from_the_start(self, now: Anchor) -> bool:
        """Whether ``now`` is much faster than every anchor before."""
        before = _calm(self.anchors)
        return bool(now.calm and before and now.cpu_s * _SLOW_START < min(before))

    def slow(self) -> frozenset[int]:
        """The networks whose anchors, before and after, on average took longer than the usual one."""
        usual = self.usual_s or 0.0
        found = set()
        for network, after in self._after.items():
            beside = _calm(self.anchors[after - 1 : after + 1])
            if beside and statistics.mean(beside) > SLOWED * usual:
                found.add(network)
        return frozenset(found)

    def drift(self, networks: Collection[int]) -> float:
        """How far the pace moved while ``networks`` were measured (of those with no anchors, while any were): of the
        medians of five anchors in a row, the most over the least.

        Anchors beside a neighbour don't count: the networks there are disturbed too, and left out or counted for that.
        """
        places = sorted({place for n in networks if n in self._after for place in (self._after[n] - 1, self._after[n])})
        beside = [self.anchors[place] for place in places] or self.anchors
        seconds = _calm(beside) or [anchor.cpu_s for anchor in beside]
        reach = min(_STEADY, max(1, len(seconds) // 2))
        medians = [statistics.median(seconds[i : i + reach]) for i in range(len(seconds) - reach + 1)]
        return max(medians) / min(medians) - 1.0


def _calm(anchors: Sequence[Anchor]) -> list[float]:
    return [anchor.cpu_s for anchor in anchors if anchor.calm]
