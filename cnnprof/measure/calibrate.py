"""Calibrate once per device and runner: measure synthetic networks for as long as the budget lasts, fit, judge, keep.

What was measured is kept after every ten networks, so that a calibration that was cut off resumes; the same seed gives
the same networks in the same order, and a finished calibration can be extended by the next ones. Ten that the machine
slowed down under are measured again.
"""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from cnnprof import __version__
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import data_folder, samples_path, save_profile, write_whole
from cnnprof.errors import DeviceError, UsageError
from cnnprof.measure.allocator import mapped_s_per_byte
from cnnprof.measure.calibrate_extend import earlier
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_suite import MeasureNetwork, looked_at, network_of, networks, suite_style
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.hardware import hardware, installed
from cnnprof.measure.neighbours import CONTENDED, WatchedClock, watched
from cnnprof.measure.pace import Pace
from cnnprof.measure.samples import NetSample, from_csv, quiet_level_s, to_csv, usual_level_s
from cnnprof.measure.session import Anchor, fixed_work, take_anchor

__all__ = ["Calibration", "calibrate", "keep", "profile_name", "summary"]

_MOST_NETWORKS = 400  # in one run
_ANCHOR_EVERY = 10
_DROPPED_SHARE = 0.3  # at most of the budget for networks measured again
_KEPT_SHARE = 0.6
_DISTURBED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What came out: the profile, the networks measured, and whether the user cut it short. On CUDA ``graph`` is
    the profile of the same networks as CUDA graphs."""

    profile: CalibratedDevice
    samples: tuple[NetSample, ...]
    interrupted: bool
    graph: CalibratedDevice | None = None


def profile_name(runner: str, threads: int, dtype: str) -> str:
    """The key: hardware, runner and its version, threads, dtype."""
    machine = re.sub(r"[^A-Za-z0-9]+", "-", hardware()["processor"]).strip("-").lower()[:40] or "machine"
    package = "onnxruntime" if runner == "onnxruntime" else "torch"
    return f"{machine}-{package}-{installed(package).get(package, '0')}-{threads}t-{dtype}".replace("+", "_")


def calibrate(
    *,
    runner: str,
    device: str = "cpu",
    threads: int = 1,
    budget_s: float,
    seed: int = 0,
    name: str | None = None,
    resume: bool = False,
    extend: bool = False,
    clock: Clock | None = None,
    measure_network: MeasureNetwork | None = None,
    progress: Callable[[float, int], None] | None = None,
    anchor: Callable[[], object] = fixed_work,
    about: Mapping[str, Any] | None = None,
    fit: Callable[..., dict[str, Any]] | None = None,
) -> Calibration:
    """Measure until ``budget_s`` seconds of the clock have passed, then fit and save.

    ``resume`` goes on with what an interrupted calibration measured, ``extend`` with what a finished one did: further
    networks of its seed, and one fit of all.
    ``anchor`` is the workload that shows drift, ``about`` replaces what the profile says of hardware and versions,
    ``fit`` stands in for :func:`~cnnprof.measure.calibrate_fit.fit_profile`.
    Raises :class:`DeviceError` for a device that can't be calibrated here, :class:`UsageError` for options that
    don't fit, :class:`~cnnprof.errors.CnnprofError` if too few networks were measured.
    """
    if extend and (resume or device != "cpu"):
        with_what = "--resume goes on by itself" if resume else "it is for CPUs"
        raise UsageError(f"calibrate: --extend can't be used here: {with_what}", "leave it out")
    if device == "cuda" and measure_network is None:
        from cnnprof.measure.calibrate_cuda import calibrate_cuda

        return calibrate_cuda(
            runner=runner, threads=threads, budget_s=budget_s, seed=seed, name=name, resume=resume, progress=progress
        )
    if device != "cpu" and measure_network is None:
        raise DeviceError(f"calibrate: no device {device!r}", "use --device cpu or cuda")
    key = name or profile_name(runner, threads, "float32")
    before = earlier(key, runner=runner, threads=threads) if extend else None
    if before is not None:
        seed = before.seed
    cut_off = samples_path(f"{key}.partial")
    start: Sequence[NetSample] = () if before is None else before.samples
    if resume and cut_off.exists():
        start = from_csv(cut_off.read_text("utf-8"), origin=str(cut_off))
    with (
        _runner(runner, threads, seed, measure_network) as measure_one,
        watched(clock or SystemClock(), threads=threads, patience_s=budget_s) as watching,
    ):
        suite = _Suite(runner, seed, watching, measure_one, anchor, cut_off.name, budget_s)
        suite.measure(start, 0 if before is None else before.suite, afresh=not (resume or extend), progress=progress)
        # A fake network has no memory to map.
        eager_cpu = runner == "torch" and device == "cpu" and measure_network is None
        mapped = mapped_s_per_byte() if eager_cpu else 0.0
        machine = watching.machine()
    samples = undisturbed(suite.samples, suite.pace.slow(), fewest=0 if before is None else len(before.samples))
    noise, drift = suite.noise(samples), suite.pace.drift([sample.network for sample in samples])
    if before is not None:
        drift = max(drift, before.drift(suite.pace.usual_s))
        mapped, budget_s, noise = before.mapped_s_per_byte(mapped), budget_s + before.budget_s, before.noise(noise)
    fit = fit or partial(fit_profile, style_of=partial(suite_style, runner))
    fitted = fit(samples, seed=seed, mapped_s_per_byte=mapped)
    profile = CalibratedDevice(
        {
            "name": key,
            "kind": "cpu" if device == "cpu" else "gpu",
            "hardware": hardware(),
            "versions": {**installed("torch", "onnxruntime"), "cnnprof": __version__},
            "runner": runner,
            "lowering": _lowering(runner, measure_network),
            "threads": threads,
            "dtype": "float32",
            "seed": seed,
            "budget_s": budget_s,
            "networks": len(samples),
            "suite": suite.index,
            "samples": sum(len(sample.kernels) for sample in samples),
            "gates": gates_of(samples, fitted["total"], drift),
            "noise": {**noise, "load": machine.load, "system": platform.release()},
            **(about or {}),
            **fitted,
        }
    )
    save_profile(profile, to_csv(samples))
    cut_off.unlink(missing_ok=True)
    return Calibration(profile=profile, samples=tuple(samples), interrupted=suite.interrupted)


class _Suite:
    """The networks in order, measured until the budget is spent, with an anchor after every ten."""

    def __init__(
        self, runner: str, seed: int, clock: Clock, measure_one: MeasureNetwork, anchor: Callable[[], object],
        kept_in: str, budget_s: float,
    ) -> None:  # fmt: skip
        self._network, self._measure_one = partial(network_of, runner, seed), measure_one
        self._clock, self._anchor, self._kept_in, self._budget_s = clock, anchor, kept_in, budget_s
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
        end = index + _MOST_NETWORKS
        began = batch_began = _measuring_s(self._clock)
        batch: list[NetSample] = []
        dropped_s = 0.0
        try:
            while _spent_s(self._clock, began, self.samples) < self._budget_s and self.index < end:
                batch.append(self._measure_one(self.index, self._network(self.index), self._clock))
                self.index += 1
                if len(batch) == _ANCHOR_EVERY:
                    now = take_anchor(self._clock, self._anchor)
                    took = _measuring_s(self._clock) - batch_began
                    batch_began += took
                    if self.pace.has_slowed(now) and dropped_s + took <= _DROPPED_SHARE * self._budget_s:
                        # The machine was slower meanwhile: the same networks again.
                        self.dropped, self.index = self.dropped + 1, self.index - len(batch)
                        dropped_s += took
                    elif afresh and self.pace.was_slow_from_the_start(now):
                        self.samples, self.index, self.pace = [], 0, Pace(now)  # once more from here
                    else:
                        self._keep(now, batch)
                    batch = []
                if progress is not None:
                    share = min(1.0, _spent_s(self._clock, began, self.samples) / self._budget_s)
                    progress(share, len(self.samples) + len(batch))
        except KeyboardInterrupt:
            self.interrupted = True
        self._keep(take_anchor(self._clock, self._anchor), batch)

    def _keep(self, now: Anchor, batch: list[NetSample]) -> None:
        self.pace.add(now, [sample.network for sample in batch])
        self.samples += batch
        keep(self._kept_in, self.samples)

    def noise(self, kept: Sequence[NetSample]) -> dict[str, Any]:
        """What was seen of the machine while ``kept`` were measured."""
        found: dict[str, Any] = {
            "anchor_s": [one.cpu_s for one in self.pace.anchors],
            "usual_anchor_s": self.pace.usual_s,
            "anchors_disturbed": sum(not one.calm for one in self.pace.anchors),
            "again": self.dropped * _ANCHOR_EVERY,
        }
        if isinstance(self._clock, WatchedClock):
            found |= {
                "probe_s": self._clock.least_s,
                "stream_s": usual_level_s(kept),
                "waited_s": self._clock.waited_s,
                "left_out": self.index - len(kept),
            }
        return found


def keep(name: str, samples: Sequence[NetSample]) -> None:
    """Write what was measured so far into the data folder."""
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: can't make the folder ({error.strerror})", "set XDG_DATA_HOME") from None
    write_whole(folder / name, to_csv(samples))


def undisturbed(samples: Sequence[NetSample], slow: Collection[int] = (), fewest: int = 0) -> list[NetSample]:
    """The networks that no neighbour slowed, neither on the core nor through the cache, nor the machine's own pace
    (``slow``), in order; at least three fifths of them (and ``fewest``), the least disturbed: more networks make a
    better fit, up to there, than quieter ones."""
    least = max(fewest, math.ceil(_KEPT_SHARE * len(samples)))
    limit = (1.0 + CONTENDED) * quiet_level_s(samples)
    kept = [sample for sample in samples if _is_calm(sample, limit) and sample.network not in slow]
    if len(kept) >= least:
        return kept
    # A slow pace nothing tells from a slow network; a neighbour on the core costs more than a busy cache.
    kept = sorted(samples, key=lambda s: (s.network in slow, s.disturbed > _DISTURBED, s.stream_s))[:least]
    return sorted(kept, key=lambda sample: sample.network)


def _is_calm(sample: NetSample, stream_limit_s: float) -> bool:
    return sample.disturbed <= _DISTURBED and sample.stream_s <= stream_limit_s


def _spent_s(clock: Clock, began_s: float, samples: Sequence[NetSample]) -> float:
    """How much of the budget is used: it is of quiet measuring, but at most as much is spent on what isn't."""
    spent = _measuring_s(clock) - began_s
    if not isinstance(clock, WatchedClock):
        return spent
    limit = (1.0 + CONTENDED) * quiet_level_s(samples)
    share = sum(_is_calm(sample, limit) for sample in samples) / len(samples) if samples else 1.0
    return spent * max(share, 0.5)


def _measuring_s(clock: Clock) -> float:
    """The clock's time without what it waited for quiet."""
    return clock.wall_s() - (clock.waited_s if isinstance(clock, WatchedClock) else 0.0)


def _lowering(runner: str, given: MeasureNetwork | None) -> str:
    """What the profile's kernels are made by: onnxruntime's depends on the processor's vectors."""
    if runner != "onnxruntime" or given is not None:
        return runner
    from cnnprof.measure.lowering_onnxruntime import lowering_here

    return lowering_here()


def _runner(
    runner: str, threads: int, seed: int, given: MeasureNetwork | None
) -> AbstractContextManager[MeasureNetwork]:
    return networks(runner, threads, seed) if given is None else nullcontext(partial(looked_at, given))


def summary(calibration: Calibration) -> dict[str, Any]:
    """What a user wants to know first."""
    data = calibration.profile.data
    return {
        "name": calibration.profile.name,
        "networks": data["networks"],
        "samples": data["samples"],
        "classes": len(data["classes"]),
        "alpha": data["total"]["alpha"],
        "delta_s": data["total"]["delta_s"],
        "gates": data["gates"],
        "interrupted": calibration.interrupted,
    }
