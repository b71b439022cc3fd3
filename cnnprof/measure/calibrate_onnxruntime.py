"""One synthetic network on onnxruntime: each kernel timed where it stands by its profile, plain runs for the total."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.ir import Graph
from cnnprof.measure.clock import Clock
from cnnprof.measure.lowering_onnxruntime import lowering_here, new_session, session_options
from cnnprof.measure.onnxruntime_kernels import kernel_of_nodes, node_times
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import take_sample
from cnnprof.measure.statistics import Sample, total_s
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.predict.lower_onnxruntime import Placed, block_of, place

__all__ = ["measure_network", "onnxruntime_networks", "seconds_by_kernel"]

_LEAST_RUNS = 9
_CLEAN = 4  # so many undisturbed runs are enough to leave the others out
_LEAST_S = 0.10
_LONGEST_S = 2.0
_MOST_RUNS = 200
_EXCESS = 1.15  # a profiled sum that much above the total has waiting in it
_CEILING = 0.4  # of a node's times, the share from below that its mean is taken over


@contextmanager
def onnxruntime_networks(threads: int) -> Iterator[Callable[[int, Graph, Clock], NetSample]]:
    """:func:`measure_network` with ``threads`` threads. Raises :class:`DependencyError` without onnxruntime."""
    lowering = lowering_here()
    yield lambda index, graph, clock: measure_network(index, graph, clock, threads=threads, lowering=lowering)


def measure_network(
    index: int, graph: Graph, clock: Clock, *, threads: int, lowering: str = "onnxruntime"
) -> NetSample:
    """Measure network ``index``: profiled runs first, then plain ones of the same session. Weights are the seed's,
    the input random."""
    model = synthetic_model(graph, random_weights(graph, index))
    read = load_onnx(model, reference=graph.source.reference)
    placed = place(read, complexity(read), block=block_of(lowering))
    shape = graph.tensors[graph.inputs[0]].shape or ()
    feed = {graph.inputs[0]: np.random.default_rng(index).random(shape, dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        session = new_session(model, options)

        def run() -> None:
            session.run(None, feed)

        profiled = _enough_runs(run, clock)
        profile = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        optimised = file_nodes(Path(folder) / "optimised.onnx")
    owners = kernel_of_nodes(optimised, file_nodes(model), placed)
    counting = _counting(profiled)
    seconds = seconds_by_kernel(profile, owners, len(placed), counting)
    samples = _enough_runs(run, clock)[1:]
    total = total_s(samples, single_thread=threads == 1)
    # Of several threads the time on processors says nothing about waiting.
    if threads == 1 and any(profiled[i].disturbed for i in counting):
        seconds = within(seconds, total)
    used = [(item, spent) for item, spent in zip(placed, seconds, strict=True) if not _folded(item)]
    return NetSample(
        network=index,
        total_s=total,
        disturbed=sum(s.disturbed for s in samples) / len(samples),
        kernels=tuple(item.kernel for item, _ in used),
        seconds=tuple(max(spent, 1e-8) for _, spent in used),
    )


def _folded(item: Placed) -> bool:
    return item.kernel.path == "folded"


def _enough_runs(run: Callable[[], None], clock: Clock) -> list[Sample]:
    """Runs until there are enough, and enough undisturbed ones among them, or the time is up."""
    samples: list[Sample] = []
    began = clock.wall_s()
    while True:
        samples.append(take_sample(run, clock))
        spent, clean = clock.wall_s() - began, sum(not s.disturbed for s in samples[1:])
        if len(samples) > _LEAST_RUNS and (spent >= _LONGEST_S or (spent >= _LEAST_S and clean >= _LEAST_RUNS)):
            return samples
        if len(samples) >= _MOST_RUNS:
            return samples


def _counting(samples: Sequence[Sample]) -> list[int]:
    """The runs to use: those that nothing disturbed, the first (which warms up) apart; all the others where those are
    few."""
    after = range(1, len(samples))
    clean = [i for i in after if not samples[i].disturbed]
    return clean if len(clean) >= _CLEAN else list(after)


def within(seconds: Sequence[float], total: float) -> list[float]:
    """``seconds`` of the nodes, scaled to sum to ``total`` where they exceed it by more than the instrument does: on a
    machine at work long nodes are always interrupted, and the profile's clock counts the waiting."""
    excess = sum(seconds) / total if total > 0 else 1.0
    return [spent / excess for spent in seconds] if excess > _EXCESS else list(seconds)


def seconds_by_kernel(
    profile: Sequence[Mapping[str, Any]], owners: Mapping[str, int], count: int, counting: Sequence[int]
) -> list[float]:
    """Seconds of each of ``count`` kernels, from the events of the runs ``counting``.

    The profile's clock ticks in microseconds: over many runs the mean of a node's times is finer than that. It is
    taken over the lower part of them, which what else the machine does has not slowed down."""
    runs: dict[str, list[float]] = {}
    for key, spent in node_times(profile, owners):
        runs.setdefault(key, []).append(spent)
    seconds = [0.0] * count
    for key, values in runs.items():
        if key in owners:
            used = [values[i] for i in counting if i < len(values)]
            seconds[owners[key]] += _typical(used or values)
    return seconds


def _typical(values: Sequence[float]) -> float:
    low = sorted(values)[: max(1, round(_CEILING * len(values)))]
    return sum(low) / len(low)
