"""The largest batch, and the largest square input, whose peak stays within a budget.

Found by analysing the graph at other sizes, never by running it. The peak grows with batch and side; the
search doubles until the budget is passed, then narrows. Because the peak is close to linear in the batch
(quadratic in the side), the next size to try is read off that line, which takes a few analyses where halving
takes twenty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnnprof.errors import CnnprofError, UsageError
from cnnprof.ir import Graph

__all__ = ["Fit", "Fitted", "GraphAt", "PeakOf", "fit", "largest", "parse_bytes"]

GraphAt = Callable[[int | None, int | None], Graph]  # (batch, side) -> graph; None leaves it as it is
PeakOf = Callable[[Graph], int]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
}
_MOST_BATCH = 2**20
_MOST_SIDE = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """``value``: the largest size that fits (0: none does), with its peak and that of the next size.

    ``at_least`` marks a search that ended at its limit; ``reason`` says why there's no better answer.
    """

    value: int
    peak_bytes: int | None
    next_peak_bytes: int | None
    at_least: bool = False
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        data = {"value": self.value, "peak_bytes": self.peak_bytes, "next_peak_bytes": self.next_peak_bytes}
        return (
            {k: v for k, v in data.items() if v is not None}
            | ({"at_least": True} if self.at_least else {})
            | ({"reason": self.reason} if self.reason else {})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What fits into ``budget_bytes``. ``weight_bytes`` are there whatever the batch."""

    budget_bytes: int
    weight_bytes: int
    batch: Fitted
    side: Fitted | None

    @classmethod
    def nothing(cls, budget_bytes: int, weight_bytes: int) -> Fit:
        """The answer to a budget that the weights alone exceed."""
        none = Fitted(
            value=0,
            peak_bytes=None,
            next_peak_bytes=None,
            reason=f"the weights alone take {weight_bytes} bytes",
        )
        return cls(budget_bytes=budget_bytes, weight_bytes=weight_bytes, batch=none, side=None)

    def to_dict(self) -> dict[str, Any]:
        side = {} if self.side is None else {"side": self.side.to_dict()}
        return {
            "budget_bytes": self.budget_bytes,
            "weight_bytes": self.weight_bytes,
            "batch": self.batch.to_dict(),
        } | side


def parse_bytes(text: str) -> int:
    """``"16GiB"``, ``"24 GB"``, ``"512M"`` (= MiB) or plain bytes. Raises :class:`UsageError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"size {text!r}: expected a number and a unit", "for example 16GiB, 24GB or 512MiB")
    nbytes = int(float(match[1]) * unit)
    if nbytes < 1:
        raise UsageError(f"size {text!r}: expected more than nothing", "for example 16GiB")
    return nbytes


def fit(budget_bytes: int, graph_at: GraphAt, peak_of: PeakOf, *, weight_bytes: int, side: int | None = None) -> Fit:
    """Search the largest batch, and from the present ``side`` (None: input isn't square images) the largest
    side at the graph's own batch. A size the model refuses counts as one that doesn't fit, and the reason is
    kept.
    """
    batch = largest(lambda n: peak_of(graph_at(n, None)), budget_bytes, start=1, limit=_MOST_BATCH)
    sides = None
    if side is not None:
        sides = largest(lambda n: peak_of(graph_at(None, n)), budget_bytes, start=side, limit=_MOST_SIDE, power=2)
    return Fit(budget_bytes=budget_bytes, weight_bytes=weight_bytes, batch=batch, side=sides)


class _Probe:
    """Peaks by size, each computed once; a size the model refuses has none."""

    def __init__(self, peak_at: Callable[[int], int], budget_bytes: int) -> None:
        self._peak_at = peak_at
        self._budget = budget_bytes
        self.peaks: dict[int, int | None] = {}
        self.refusal: str | None = None

    def fits(self, size: int) -> bool:
        if size not in self.peaks:
            try:
                self.peaks[size] = self._peak_at(size)
            except CnnprofError as error:
                self.peaks[size] = None
                self.refusal = f"the model refuses {size}: {error.message}"
        peak = self.peaks[size]
        return peak is not None and peak <= self._budget

    def guess(self, low: int, high: int, power: int) -> int:
        """Where the line through the two ends' peaks meets the budget, kept inside (low, high)."""
        low_peak, high_peak = self.peaks.get(low), self.peaks.get(high)
        if low_peak is None or high_peak is None or high_peak <= low_peak:
            return (low + high) // 2
        share = (self._budget - low_peak) / (high_peak - low_peak)
        at = (low**power + share * (high**power - low**power)) ** (1 / power)
        return min(max(int(at), low + 1), high - 1)


def largest(peak_at: Callable[[int], int], budget_bytes: int, *, start: int, limit: int, power: int = 1) -> Fitted:
    """The largest size from 1 to ``limit`` with ``peak_at(size) <= budget_bytes``; ``start`` is tried
    first.
    """
    probe = _Probe(peak_at, budget_bytes)
    low, high = 0, start
    while high <= limit and probe.fits(high):
        low, high = high, high * 2
    if low and high > limit:
        if probe.fits(limit):
            return Fitted(value=limit, peak_bytes=probe.peaks[limit], next_peak_bytes=None, at_least=True)
        high = limit
    turn = 0
    while high - low > 1:
        # Every third step halves, so that a crooked curve can't make the search crawl.
        turn += 1
        middle = (low + high) // 2 if turn % 3 == 0 else probe.guess(low, high, power)
        if probe.fits(middle):
            low = middle
            # The line is nearly exact: the answer is mostly this size, so look at the next one at once.
            if low + 1 < high and not probe.fits(low + 1):
                high = low + 1
        else:
            high = middle
    refused = high in probe.peaks and probe.peaks[high] is None
    return Fitted(
        value=low,
        peak_bytes=probe.peaks.get(low),
        next_peak_bytes=probe.peaks.get(high),
        reason=probe.refusal if refused else None,
    )
