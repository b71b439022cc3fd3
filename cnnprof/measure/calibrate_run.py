"""The suite's networks in order, measured until the budget is spent, with an anchor after every ten.

What was measured is kept after every ten networks; the same seed gives the same networks in the same order. Where a
long run can afford it, ten are measured once more before the next ten. Ten that the machine slowed down under are
measured again.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cnnprof.devices.store import data_folder, write_whole
from cnnprof.errors import UsageError
from cnnprof.measure.calibrate_calm import apart, calm_limit_s, is_calm, together
from cnnprof.measure.calibrate_suite import MeasureNetwork, network_of
from cnnprof.measure.clock import Clock
from cnnprof.measure.neighbours import WatchedClock
from cnnprof.measure.pace import Pace
from cnnprof.measure.samples import NetSample, calm_level_s, to_csv
from cnnprof.measure.session import ANCHOR, Anchor, fixed_work, take_anchor

__all__ = ["SuiteRun", "keep"]

_MOST_NETWORKS = 400  # in one run
_ANCHOR_EVERY = 10
_DROPPED_SHARE = 0.3  # at most of the budget for networks measured again


class SuiteRun:
    """What is measured, so far. ``kept_in``: the name of the file in the data folder that :func:`keep` writes;
    ``twice``: whether every ten networks are measured once more before the next ten."""

    def __init__(
        self, runner: str, seed: int, clock: Clock, measure_one: MeasureNetwork, anchor: Callable[[], object],
        kept_in: str, budget_s: float, *, twice: bool = False,
    ) -> None:  # fmt: skip
        self._network, self._measure_one = partial(network_of, runner, seed), measure_one
        self._clock, self._anchor, self._kept_in, self._budget_s = clock, anchor, kept_in, budget_s
        self._twice, self._apart = twice, list[float]()
        self._dropped_s = self._began_s = 0.0
        self.pace = Pace(take_anchor(clock, anchor))
        self.samples: list[NetSample] = []
        self.index = self.dropped = 0
        self.interrupted = False

    def measure(
        self, start: Sequence[NetSample], index: int, *, afresh: bool, progress: Callable[[float, int], None] | None
    ) -> None:
        """Go on from ``start`` with the network after it, from ``index`` on; ``afresh``: a machine that turns out to
        have been slow from the start may begin once more. Ctrl-C keeps what there is."""
        self.samples = list(start)
        self.index = max([index, *(sample.network + 1 for sample in start)])
        end = self.index + _MOST_NETWORKS
        self._began_s = batch_began = _measuring_s(self._clock)
        batch: list[NetSample] = []
        try:
            while self._spent() < 1.0 and self.index < end:
                batch.append(self._measure_one(self.index, self._network(self.index), self._clock))
                self.index += 1
                if len(batch) == _ANCHOR_EVERY:
                    if self._twice:
                        self._once_more(batch, progress)
                    took = _measuring_s(self._clock) - batch_began
                    batch_began += took
                    self._judge(take_anchor(self._clock, self._anchor), batch, took, afresh=afresh)
                    batch = []
                if progress is not None:
                    progress(min(1.0, self._spent()), len(self.samples) + len(batch))
        except KeyboardInterrupt:
            self.interrupted = True
        self._keep(take_anchor(self._clock, self._anchor), batch)

    def _once_more(self, batch: list[NetSample], progress: Callable[[float, int], None] | None) -> None:
        """Measure the networks of ``batch`` a second time, as far as the budget goes, and put both together there."""
        for place, first in enumerate(batch):
            if self._spent() >= 1.0:
                return
            second = self._measure_one(first.network, self._network(first.network), self._clock)
            limit_s = calm_limit_s([*self.samples, *batch, second])
            if is_calm(first, limit_s) and is_calm(second, limit_s):
                self._apart.append(apart(first, second))
            batch[place] = together(first, second, limit_s)
            if progress is not None:
                progress(min(1.0, self._spent()), len(self.samples) + len(batch))

    def _spent(self) -> float:
        """The share of the budget; all, where there is none."""
        spent_s = _spent_s(self._clock, self._began_s, self.samples)
        return spent_s / self._budget_s if self._budget_s > 0.0 else 1.0

    def _judge(self, now: Anchor, batch: list[NetSample], took_s: float, *, afresh: bool) -> None:
        if self.pace.has_slowed(now) and self._dropped_s + took_s <= _DROPPED_SHARE * self._budget_s:
            # The machine was slower meanwhile: the same networks again.
            self.dropped, self.index = self.dropped + 1, self.index - len(batch)
            self._dropped_s += took_s
        elif afresh and self.pace.was_slow_from_the_start(now):
            self.samples, self.index, self.pace = [], 0, Pace(now)  # once more from here
        else:
            self._keep(now, batch)

    def _keep(self, now: Anchor, batch: list[NetSample]) -> None:
        self.pace.add(now, [sample.network for sample in batch])
        self.samples += batch
        keep(self._kept_in, self.samples)

    def noise(self, kept: Sequence[NetSample]) -> dict[str, Any]:
        """What was seen of the machine while ``kept`` were measured."""
        found: dict[str, Any] = {
            **({"anchor": ANCHOR} if self._anchor is fixed_work else {}),
            "anchor_s": [one.cpu_s for one in self.pace.anchors],
            "usual_anchor_s": self.pace.usual_s,
            "anchors_disturbed": sum(not one.calm for one in self.pace.anchors),
            "again": self.dropped * _ANCHOR_EVERY,
        }
        if self._apart:
            found |= {"twice": len(self._apart), "twice_apart": statistics.median(self._apart)}
        if isinstance(self._clock, WatchedClock):
            found |= {
                "hashing_s": self._clock.least_s,
                "stream_s": calm_level_s(kept),
                "waited_s": self._clock.waited_s,
                "waited_for_memory_s": self._clock.waited_for_memory_s,
                "left_out": self.index - len(kept),
            }
            if self._clock.quiet_levels.handing_over_s:
                found["handing_over_s"] = self._clock.quiet_levels.handing_over_s
        return found


def keep(name: str, samples: Sequence[NetSample]) -> None:
    """Write what was measured so far into the data folder."""
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: can't make the folder ({error.strerror})", "set XDG_DATA_HOME") from None
    write_whole(folder / name, to_csv(samples))


def _spent_s(clock: Clock, began_s: float, samples: Sequence[NetSample]) -> float:
    """How much of the budget is used: it is of quiet measuring, but at most as much is spent on what isn't."""
    spent = _measuring_s(clock) - began_s
    if not isinstance(clock, WatchedClock):
        return spent
    limit_s = calm_limit_s(samples)
    share = sum(is_calm(sample, limit_s) for sample in samples) / len(samples) if samples else 1.0
    return spent * max(share, 0.5)


def _measuring_s(clock: Clock) -> float:
    """The clock's time without what it waited for quiet."""
    waited_s = clock.waited_s + clock.waited_for_memory_s if isinstance(clock, WatchedClock) else 0.0
    return clock.wall_s() - waited_s
