"""What a finished calibration hands on to one that goes on from it.

A machine has moods that last for hours: how fast its neighbours let it copy, where its clock stands. One calibration
sees one of them, and its fit is as wrong as that was unusual; networks measured at several times average them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import load_profile, samples_path, stored_names
from cnnprof.errors import UsageError
from cnnprof.measure.hardware import hardware, installed
from cnnprof.measure.samples import NetSample, from_csv

__all__ = ["Earlier", "earlier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A calibration that is to be extended: its profile, and the networks it was fitted on."""

    profile: CalibratedDevice
    samples: tuple[NetSample, ...]

    @property
    def seed(self) -> int:
        return int(self.profile.data.get("seed", 0))

    @property
    def suite(self) -> int:
        """How many networks of the suite were used up, also by those that were left out."""
        return int(self.profile.data.get("suite", 1 + max(sample.network for sample in self.samples)))

    @property
    def budget_s(self) -> float:
        return float(self.profile.data.get("budget_s", 0.0))

    def noise(self, now: Mapping[str, Any]) -> dict[str, Any]:
        """What was seen of the machine ``now``, with what was seen then: anchors in order, waiting and what was
        repeated in all, the probe's least."""
        then = self.profile.data.get("noise", {})
        found = {**now, "anchor_s": [*self._anchor_s, *now["anchor_s"]]}
        for name in ("anchors_disturbed", "again", "waited_s"):
            if name in now:
                found[name] = now[name] + then.get(name, 0)
        if "probe_s" in now:
            found["probe_s"] = min(now["probe_s"], then.get("probe_s", now["probe_s"]))
        return found

    @property
    def _anchor_s(self) -> list[float]:
        return [float(seconds) for seconds in self.profile.data.get("noise", {}).get("anchor_s", [])]

    def mapped_s_per_byte(self, now: float) -> float:
        """Half way between what mapping memory cost then and what it costs ``now``."""
        return 0.5 * (float(self.profile.data["total"].get("mapped_s_per_byte", now)) + now)

    def drift(self, anchor_s: list[float]) -> float:
        """How far the usual anchor of ``anchor_s`` is from the usual one then; 0 where there is none."""
        if not anchor_s or not self._anchor_s:
            return 0.0
        then, now = statistics.median(self._anchor_s), statistics.median(anchor_s)
        return max(then, now) / min(then, now) - 1.0


def earlier(name: str, *, runner: str, threads: int) -> Earlier:
    """The calibration ``name`` of this machine, to be extended with ``runner`` and ``threads``.

    Raises :class:`UsageError` if there is none, or it was made with another runner, other threads, other versions of
    the runner's libraries or on another processor; :class:`~cnnprof.errors.SchemaError` if its table is damaged.
    """
    table = samples_path(name)
    if name not in stored_names() or not table.is_file():
        raise UsageError(f"calibrate: no calibration {name!r} with its samples to extend", "leave out --extend")
    profile = load_profile(name)
    anew = f"calibrate anew, or under another --name than {name}"
    if (profile.runner, profile.threads) != (runner, threads):
        made = f"{profile.runner} at {profile.threads} thread{'s' if profile.threads != 1 else ''}"
        raise UsageError(f"calibrate: {name} was made with {made}, not {runner} at {threads}", anew)
    here = hardware()["processor"]
    if profile.data["hardware"].get("processor") not in (None, here):
        raise UsageError(f"calibrate: {name} is of {profile.data['hardware']['processor']}, here is {here}", anew)
    stale = profile.stale(installed("onnxruntime" if runner == "onnxruntime" else "torch"))
    if stale:
        raise UsageError(f"calibrate: {stale[0]}", anew)
    return Earlier(profile=profile, samples=from_csv(table.read_text("utf-8"), origin=str(table)))
