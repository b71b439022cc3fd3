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
from cnnprof.measure.statistics import Sample, quantile
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.predict.lower_onnxruntime import Placed, block_of, place

__all__ = ["measure_network", "onnxruntime_networks", "seconds_by_kernel"]

_LEAST_RUNS = 9
_CLEAN = 4  # so many undisturbed runs are enough to leave the others out
_LEAST_S = 0.10
_LONGEST_S = 0.5
_MOST_RUNS = 200
_CEILING = 0.6  # of a node's times, the share from below that its mean is taken over


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
    # Several threads work at once: their time on processors says nothing about waiting.
    shares = _shares_at_work(profiled) if threads == 1 else dict.fromkeys(range(1, len(profiled)), 1.0)
    seconds = seconds_by_kernel(profile, owners, len(placed), shares)
    samples = _enough_runs(run, clock)[1:]
    if threads == 1:
        clean = [s.cpu_s for s in samples if not s.disturbed]
        total = quantile(clean if len(clean) >= 3 else [s.cpu_s for s in samples], 0.2)
    else:
        total = quantile([s.wall_s for s in samples], 0.5)
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


def _shares_at_work(samples: Sequence[Sample]) -> dict[int, float]:
    """Run -> the share of its time that it computed, of the runs to use: those that nothing disturbed, the first (which
    warms up) apart. Where they are few, all of them: long runs are interrupted so often that it slows every node
    alike, and a profile by the clock on the wall has the waiting in it."""
    clean = {i: 1.0 for i in range(1, len(samples)) if not samples[i].disturbed}
    if len(clean) >= _CLEAN:
        return clean
    return {i: min(1.0, samples[i].cpu_s / samples[i].wall_s) for i in range(1, len(samples)) if samples[i].wall_s > 0}


def seconds_by_kernel(
    profile: Sequence[Mapping[str, Any]], owners: Mapping[str, int], count: int, shares: Mapping[int, float]
) -> list[float]:
    """Seconds of each of ``count`` kernels, from the events of the runs in ``shares``, each times its share.

    The profile's clock ticks in microseconds: over many runs the mean of a node's times is finer than that. It is
    taken over the lower part of them, which what else the machine does has not slowed down."""
    runs: dict[str, list[float]] = {}
    for key, spent in node_times(profile, owners):
        runs.setdefault(key, []).append(spent)
    seconds = [0.0] * count
    for key, values in runs.items():
        if key in owners:
            used = [values[i] * share for i, share in shares.items() if i < len(values)]
            seconds[owners[key]] += _typical(used or values)
    return seconds


def _typical(values: Sequence[float]) -> float:
    low = sorted(values)[: max(1, round(_CEILING * len(values)))]
    return sum(low) / len(low)
