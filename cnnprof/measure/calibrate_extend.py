"""What a finished calibration hands on to one that goes on from it.

A machine has moods that last for hours: how fast its neighbours let it copy, where its clock stands. One calibration
sees one of them, and its fit is as wrong as that was unusual; networks measured at several times average them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import load_profile, samples_path, stored_names
from cnnprof.errors import UsageError
from cnnprof.measure.hardware import hardware, installed
from cnnprof.measure.samples import NetSample, from_csv
from cnnprof.measure.session import ANCHOR

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
    def sessions(self) -> list[int]:
        """The first network of each run so far; of profiles that don't say, as if there had been one."""
        return [int(first) for first in self.profile.data.get("sessions", [0])]

    @property
    def budget_s(self) -> float:
        return float(self.profile.data.get("budget_s", 0.0))

    def noise(self, now: Mapping[str, Any]) -> dict[str, Any]:
        """What was seen of the machine ``now``, with what was seen then: anchors in order (the usual one stays that of
        the first hour), waiting and what was repeated in all, the probe's least."""
        then = self.profile.data.get("noise", {})
        anchors = then.get("anchor_s", []) if then.get("anchor") == now.get("anchor") else []
        found = {**now, "anchor_s": [*anchors, *now["anchor_s"]]}
        found["usual_anchor_s"] = self._usual_anchor_s or now["usual_anchor_s"]
        for name in ("anchors_disturbed", "again", "waited_s", "waited_for_memory_s"):
            if name in now:
                found[name] = now[name] + then.get(name, 0)
        for name in ("hashing_s", "handing_over_s"):
            if name in now:
                found[name] = min(now[name], then.get(name, now[name]))
        return found

    @property
    def _usual_anchor_s(self) -> float | None:
        """None where nobody took any, or anchors of another kind."""
        noise = self.profile.data.get("noise", {})
        return float(noise["usual_anchor_s"]) if noise.get("anchor") == ANCHOR and noise["usual_anchor_s"] else None

    def mapped_s_per_byte(self, now: float) -> float:
        """Half way between what mapping memory cost then and what it costs ``now``."""
        return 0.5 * (float(self.profile.data["total"].get("mapped_s_per_byte", now)) + now)

    def drift(self, usual_s: float | None) -> float:
        """How far an anchor of ``usual_s`` is from the usual one then (0 where either isn't known), or what drift there
        was before, whichever is more: a third hour like the first doesn't mend the second."""
        then = self._usual_anchor_s
        now = max(then, usual_s) / min(then, usual_s) - 1.0 if then and usual_s else 0.0
        gates = self.profile.data.get("gates", [])
        return max([now, *(float(gate["value"] or 0.0) for gate in gates if gate["name"] == "drift")])


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
