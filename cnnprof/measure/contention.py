"""What neighbours on other cores use of the last cache and the memory: it slows a network by 5 to 15 %, for minutes.

Copying more than the caches near the core hold shows it. A network's time grows with about the 0.2nd to 0.3rd power
of what that takes (ResNet-18: 45.3 ms at 0.61 ms a copy, 50.2 at 0.88); medians of eight seconds correlate with 0.95.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["CONTENDED", "Copying", "calm_visits"]

CONTENDED = 0.15  # beyond the quiet level of the copying; its own scatter is 3 %
_COPIED_BYTES = 12 << 20
_COPIES = 15
_FEWEST = 3  # calm visits that leave the others out

T = TypeVar("T")


class Copying:
    """CPU seconds of copying 12 MiB, the median of some. It empties the caches: what is measured next has to warm up
    again."""

    def __init__(self) -> None:
        self._pair: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None

    def __call__(self) -> float:
        if self._pair is None:
            source = np.ones(_COPIED_BYTES // 4, np.float32)
            self._pair = (source, np.empty_like(source))
        source, target = self._pair
        times = []
        for _ in range(_COPIES):
            began = time.thread_time()
            np.copyto(target, source)
            times.append(time.thread_time() - began)
        return sorted(times)[_COPIES // 2]


def calm_visits(visits: Sequence[T], copying_s: Sequence[float], quiet_s: float | None) -> tuple[list[T], float | None]:
    """The visits that count, and by how much copying took longer around them than ``quiet_s`` (None where that isn't
    known). ``copying_s``: what it took around each visit, whichever was more of before and after; one that an
    interrupt ended has none.

    Where there are three calm ones, or all are, they count, and the worst of them says how contended it was; otherwise
    all do, and the middle one says it."""
    if not quiet_s or not copying_s:
        return list(visits), None
    calm = [place for place, taken_s in enumerate(copying_s) if taken_s <= (1.0 + CONTENDED) * quiet_s]
    if len(calm) >= min(_FEWEST, len(visits)):
        return [visits[place] for place in calm], max(copying_s[place] for place in calm) / quiet_s - 1.0
    return list(visits), sorted(copying_s)[len(copying_s) // 2] / quiet_s - 1.0
