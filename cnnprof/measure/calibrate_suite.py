"""The networks that a calibration measures, each in a process of its own.

A process ages: after seventy networks torch takes 3 % longer on average for the same one (up to 5 %), and
a profile from such a process says that every network takes longer than it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from cnnprof.errors import UsageError
from cnnprof.ir import Graph
from cnnprof.measure.clock import Clock
from cnnprof.measure.fresh import in_fresh_process, start_server
from cnnprof.measure.neighbours import QuietLevels, WatchedClock
from cnnprof.measure.samples import NetSample, quiet_level_s
from cnnprof.measure.synthetic import style_of, synthetic_network

__all__ = ["MeasureNetwork", "looked_at", "network_of", "networks", "suite_style"]

MeasureNetwork = Callable[[int, Graph, Clock], NetSample]
_ODD_EVERY = 3


def network_of(runner: str, seed: int, index: int) -> Graph:
    """Network ``index`` of the suite that ``runner`` is calibrated on: widths that fill no block of channels send
    onnxruntime's convolutions another way."""
    return synthetic_network(seed, index, odd_widths=_is_odd(runner, index))


def suite_style(runner: str, index: int) -> str:
    """The style of network ``index`` of that suite, of any seed."""
    return style_of(index, odd_widths=_is_odd(runner, index))


def _is_odd(runner: str, index: int) -> bool:
    return runner == "onnxruntime" and index % _ODD_EVERY == _ODD_EVERY - 1


@contextmanager
def networks(runner: str, threads: int, seed: int, before: Sequence[NetSample] = ()) -> Iterator[MeasureNetwork]:
    """Measures network by network: on a :class:`WatchedClock` in a fresh process, on another clock in this one. What is
    calm is known from the samples so far, those measured ``before`` among them.

    Raises :class:`UsageError` for a runner that can't be calibrated, :class:`~cnnprof.errors.DependencyError` for one
    that isn't installed.
    """
    with _here(runner, threads) as measure_one:
        so_far = list(before)
        start_server()  # before the clock binds this thread to a core: children take over where it may run

        def measure(index: int, graph: Graph, clock: Clock) -> NetSample:
            if not isinstance(clock, WatchedClock):
                return measure_one(index, graph, clock)
            visit = _Visit(
                runner=runner, threads=threads, seed=seed, index=index,
                cores=clock.cores, quiet=replace(clock.quiet_levels, stream_s=quiet_level_s(so_far)),
                patience_s=clock.patience_s, memory_patience_s=clock.memory_patience_s,
            )  # fmt: skip
            sample, seen = in_fresh_process(_visit, visit)
            so_far.append(sample)
            clock.take_over(
                waited_s=seen.waited_s, waited_for_memory_s=seen.waited_for_memory_s, found_busy=seen.found_busy,
                levels=seen.levels,
            )  # fmt: skip
            return sample

        yield measure


def looked_at(measure_one: MeasureNetwork, index: int, graph: Graph, clock: Clock) -> NetSample:
    """A network's sample with what copying memory took before or after it, whichever was slower; none where the host
    only feeds a device. It waits for a calm memory, where the clock knows what that is."""
    if not isinstance(clock, WatchedClock) or clock.feeds_device:
        return measure_one(index, graph, clock)
    before = clock.until_calm_s(clock.stream_s())
    sample = measure_one(index, graph, clock)
    return replace(sample, stream_s=max(before, clock.stream_s()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    runner: str
    threads: int
    seed: int
    index: int
    cores: tuple[int, ...]
    quiet: QuietLevels
    patience_s: float
    memory_patience_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    waited_s: float
    waited_for_memory_s: float
    found_busy: int
    levels: QuietLevels


def _visit(visit: _Visit) -> tuple[NetSample, _Seen]:
    """Runs in the fresh process."""
    graph = network_of(visit.runner, visit.seed, visit.index)
    with _here(visit.runner, visit.threads) as measure_one:
        clock = WatchedClock(
            threads=visit.threads, patience_s=visit.patience_s, memory_patience_s=visit.memory_patience_s,
            cores=visit.cores, quiet=visit.quiet,
        )  # fmt: skip
        sample = looked_at(measure_one, visit.index, graph, clock)
    waited_s = visit.patience_s - clock.patience_s
    return sample, _Seen(
        waited_s=waited_s, waited_for_memory_s=clock.waited_for_memory_s, found_busy=clock.found_busy,
        levels=clock.quiet_levels,
    )  # fmt: skip


def _here(runner: str, threads: int) -> AbstractContextManager[MeasureNetwork]:
    if runner == "torch":
        from cnnprof.measure.calibrate_torch import torch_networks

        return torch_networks(threads)
    if runner == "onnxruntime":
        from cnnprof.measure.calibrate_onnxruntime import onnxruntime_networks

        return onnxruntime_networks(threads)
    raise UsageError(f"runner {runner!r}: can't be calibrated", "use --runner torch or onnxruntime")
