"""Calibrate once per device and runner: measure synthetic networks for as long as the budget lasts, fit, judge, keep.

What was measured is kept as it goes (:mod:`~cnnprof.measure.calibrate_run`), so that a calibration that was cut off
resumes; a finished one can be extended by the next networks of its seed.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from cnnprof import __version__
from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.devices.store import samples_path, save_profile
from cnnprof.errors import DeviceError, UsageError
from cnnprof.measure.allocator import mapped_s_per_byte
from cnnprof.measure.calibrate_calm import undisturbed
from cnnprof.measure.calibrate_extend import earlier
from cnnprof.measure.calibrate_fit import fit_profile, gates_of
from cnnprof.measure.calibrate_run import SuiteRun
from cnnprof.measure.calibrate_suite import MeasureNetwork, looked_at, networks, suite_style
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.hardware import hardware, installed
from cnnprof.measure.neighbours import WatchedClock, watched
from cnnprof.measure.samples import NetSample, from_csv, to_csv
from cnnprof.measure.session import fixed_work
from cnnprof.measure.side_by_side import workers_here

__all__ = ["Calibration", "calibrate", "profile_name", "summary"]

_TWICE_FROM_S = 120.0  # of budget, and every network is measured twice; with less there would be too few


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
        _runner(runner, threads, seed, start, measure_network) as measure_one,
        watched(clock or SystemClock(), threads=threads, patience_s=_patience_s(threads, budget_s)) as watching,
    ):
        twice = budget_s >= _TWICE_FROM_S and isinstance(watching, WatchedClock)
        suite = SuiteRun(runner, seed, watching, measure_one, anchor, cut_off.name, budget_s, twice=twice)
        suite.measure(start, 0 if before is None else before.suite, afresh=not (resume or extend), progress=progress)
        # A fake network has no memory to map.
        eager_cpu = runner == "torch" and device == "cpu" and measure_network is None
        mapped = mapped_s_per_byte(threads) if eager_cpu else 0.0
        machine = watching.machine()
    samples = undisturbed(suite.samples, suite.pace.slow(), fewest=0 if before is None else len(before.samples))
    noise, drift = suite.noise(samples), suite.pace.drift([sample.network for sample in samples])
    if before is not None:
        drift = max(drift, before.drift(suite.pace.usual_s))
        mapped, budget_s, noise = before.mapped_s_per_byte(mapped), budget_s + before.budget_s, before.noise(noise)
    sessions = [0] if before is None else [*before.sessions, before.suite]
    fit = fit or partial(fit_profile, style_of=partial(suite_style, runner), sessions=sessions, workers=workers_here())
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
            "sessions": sessions,
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


def _patience_s(threads: int, budget_s: float) -> float:
    """How long to wait for quiet, in all: of several cores some is busy for more of the time, and there is no moving
    away from it."""
    return budget_s * (1.0 if threads == 1 else 2.0)


def _lowering(runner: str, given: MeasureNetwork | None) -> str:
    """What the profile's kernels are made by: onnxruntime's depends on the processor's vectors."""
    if runner != "onnxruntime" or given is not None:
        return runner
    from cnnprof.measure.lowering_onnxruntime import lowering_here

    return lowering_here()


def _runner(
    runner: str, threads: int, seed: int, before: Sequence[NetSample], given: MeasureNetwork | None
) -> AbstractContextManager[MeasureNetwork]:
    return networks(runner, threads, seed, before) if given is None else nullcontext(partial(looked_at, given))


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
        "call_s": data["total"].get("call_s", 0.0),
        "gates": data["gates"],
        "interrupted": calibration.interrupted,
    }
