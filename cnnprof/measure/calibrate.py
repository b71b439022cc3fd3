"""Calibrate once per device and runner: measure synthetic networks for as long as the budget lasts, fit, judge, keep.

What was measured is kept after every ten networks, so that a calibration that was cut off resumes; the same seed gives
the same networks in the same order. Ten that the machine slowed down under are measured again.
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
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_suite import MeasureNetwork, looked_at, network_of, networks
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.hardware import hardware, installed
from cnnprof.measure.neighbours import CONTENDED, WatchedClock, watched
from cnnprof.measure.pace import Pace, take_anchor
from cnnprof.measure.samples import NetSample, from_csv, quiet_level_s, to_csv, usual_level_s
from cnnprof.measure.session import fixed_work

__all__ = ["Calibration", "calibrate", "keep", "profile_name", "summary"]

_MOST_NETWORKS = 400
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
    clock: Clock | None = None,
    measure_network: MeasureNetwork | None = None,
    progress: Callable[[float, int], None] | None = None,
    anchor: Callable[[], object] = fixed_work,
    about: Mapping[str, Any] | None = None,
    fit: Callable[..., dict[str, Any]] = fit_profile,
) -> Calibration:
    """Measure until ``budget_s`` seconds of the clock have passed, then fit and save.

    ``anchor`` is the workload that shows drift, ``about`` replaces what the profile says of hardware and versions,
    ``fit`` stands in for :func:`~cnnprof.measure.calibrate_fit.fit_profile`.
    Raises :class:`DeviceError` for a device that can't be calibrated here, :class:`UsageError` for options that
    don't fit, :class:`~cnnprof.errors.CnnprofError` if too few networks were measured.
    """
    if device == "cuda" and measure_network is None:
        from cnnprof.measure.calibrate_cuda import calibrate_cuda

        return calibrate_cuda(
            runner=runner, threads=threads, budget_s=budget_s, seed=seed, name=name, resume=resume, progress=progress
        )
    if device != "cpu" and measure_network is None:
        raise DeviceError(f"calibrate: no device {device!r}", "use --device cpu or cuda")
    key = name or profile_name(runner, threads, "float32")
    partial = samples_path(f"{key}.partial")
    samples = list(from_csv(partial.read_text("utf-8"), origin=str(partial))) if resume and partial.exists() else []
    interrupted = False
    with (
        _runner(runner, threads, seed, measure_network) as measure_one,
        watched(clock or SystemClock(), threads=threads, patience_s=budget_s) as watching,
    ):
        pace = Pace(take_anchor(watching, anchor))
        began = _measuring_s(watching)
        index = max((sample.network for sample in samples), default=-1) + 1
        batch: list[NetSample] = []
        dropped, dropped_s, batch_began = 0, 0.0, began
        try:
            while _spent_s(watching, began, samples) < budget_s and index < _MOST_NETWORKS:
                batch.append(measure_one(index, network_of(runner, seed, index), watching))
                index += 1
                if len(batch) == _ANCHOR_EVERY:
                    now = take_anchor(watching, anchor)
                    took = _measuring_s(watching) - batch_began
                    batch_began += took
                    if pace.has_slowed(now) and dropped_s + took <= _DROPPED_SHARE * budget_s:
                        # The machine was slower meanwhile: the same networks again.
                        dropped, dropped_s, index = dropped + 1, dropped_s + took, index - len(batch)
                    elif pace.was_slow_from_the_start(now) and not resume:
                        samples, index, pace = [], 0, Pace(now)  # once more from here
                    else:
                        pace.add(now, [sample.network for sample in batch])
                        samples += batch
                        keep(partial.name, samples)
                    batch = []
                if progress is not None:
                    share = min(1.0, _spent_s(watching, began, samples) / budget_s)
                    progress(share, len(samples) + len(batch))
        except KeyboardInterrupt:
            interrupted = True
        pace.add(take_anchor(watching, anchor), [sample.network for sample in batch])
        samples += batch
        keep(partial.name, samples)
        # A fake network has no memory to map.
        eager_cpu = runner == "torch" and device == "cpu" and measure_network is None
        mapped = mapped_s_per_byte() if eager_cpu else 0.0
        machine = watching.machine()
    suite = index
    samples = undisturbed(samples, pace.slow())
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
            "suite": suite,
            "samples": sum(len(sample.kernels) for sample in samples),
            "gates": gates_of(samples, fitted["total"], pace.drift([s.network for s in samples])),
            "noise": {
                "anchor_s": [one.cpu_s for one in pace.anchors],
                "anchors_disturbed": sum(not one.calm for one in pace.anchors),
                "again": dropped * _ANCHOR_EVERY,
                "load": machine.load,
                **(
                    {
                        "probe_s": watching.least_s,
                        "stream_s": usual_level_s(samples),
                        "waited_s": watching.waited_s,
                        "left_out": suite - len(samples),
                    }
                    if isinstance(watching, WatchedClock)
                    else {}
                ),
                "system": platform.release(),
            },
            **(about or {}),
            **fitted,
        }
    )
    save_profile(profile, to_csv(samples))
    partial.unlink(missing_ok=True)
    return Calibration(profile=profile, samples=tuple(samples), interrupted=interrupted)


def keep(name: str, samples: Sequence[NetSample]) -> None:
    """Write what was measured so far into the data folder."""
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: can't make the folder ({error.strerror})", "set XDG_DATA_HOME") from None
    write_whole(folder / name, to_csv(samples))


def undisturbed(samples: Sequence[NetSample], slow: Collection[int] = ()) -> list[NetSample]:
    """The networks that no neighbour slowed, neither on the core nor through the cache, nor the machine's own pace
    (``slow``), in order; at least three fifths of them, the least disturbed: more networks make a better fit, up to
    there, than quieter ones."""
    least = math.ceil(_KEPT_SHARE * len(samples))
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
