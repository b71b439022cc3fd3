"""One synthetic network on eager PyTorch: each op timed where it stands, and plain runs for the total."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph
from cnnprof.measure.align import align
from cnnprof.measure.allocator import settle_allocator
from cnnprof.measure.clock import Clock
from cnnprof.measure.runner_torch import timed_calls, two_ways
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import Plan, take_visit, warm_up
from cnnprof.measure.statistics import total_s
from cnnprof.measure.synthetic_torch import SyntheticModule, containers_around
from cnnprof.predict.heap import with_mapped
from cnnprof.predict.lower import lower

__all__ = ["measure_network", "torch_networks"]

_LEAST_RUNS = 7
_LONGEST_S = 3.0  # of plain runs, and of instrumented passes: then those that were disturbed have to do
_PLAN = Plan(samples=_LEAST_RUNS, seconds=0.08, longest_s=_LONGEST_S, fewest=_LEAST_RUNS)
_WARM = Plan(longest_s=1.0)  # a small network's first ten runs take up to a quarter longer


@contextmanager
def torch_networks(threads: int) -> Iterator[Callable[[int, Graph, Clock], NetSample]]:
    """:func:`measure_network` with ``threads`` threads; torch's setting and random state are put back afterwards."""
    settle_allocator()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield lambda index, graph, clock: measure_network(index, graph, clock, threads=threads)
    finally:
        torch.set_num_threads(before)


def measure_network(index: int, graph: Graph, clock: Clock, *, threads: int) -> NetSample:
    """Measure network ``index``. The weights are the seed's, the input random; threads are the caller's to set."""
    torch.manual_seed(index)
    module = SyntheticModule(graph, around=containers_around(index), seed=index).eval()
    shape = graph.tensors[graph.inputs[0]].shape or ()
    traced = trace(module, [shape])
    kernels = with_mapped(traced, lower(traced, "torch"))
    run, watched = two_ways(module, torch.rand(shape))
    warm_up(run, clock, _WARM)
    samples = take_visit(run, clock, _PLAN)
    clean = sum(not sample.disturbed for sample in samples)
    seconds = _in_place(
        traced, watched, clock, passes=min(clean, 12), now=time.thread_time if threads == 1 else time.perf_counter
    )
    return NetSample(
        network=index,
        total_s=total_s(samples, single_thread=threads == 1),
        disturbed=sum(s.disturbed for s in samples) / len(samples),
        kernels=kernels,
        seconds=tuple(max(seconds[kernel.name], 1e-8) for kernel in kernels),
        calls=traced.module_calls or 0,
    )


def _in_place(
    graph: Graph, run: Callable[[], object], clock: Clock, *, passes: int, now: Callable[[], float]
) -> dict[str, float]:
    """Seconds by op: the lower quartile over instrumented passes, as far as they go the undisturbed ones. CPU time of
    this thread, where one computes."""
    weights = {row.name: float(row.flops + (row.bytes_read or 0)) for row in complexity(graph).rows}
    owners = None
    rows = []
    clean, disturbed = _passes(run, clock, max(passes, _LEAST_RUNS), now)
    for calls in clean or disturbed:
        if owners is None:
            owners = align(graph, [spelling for spelling, _ in calls], weights)
        spent = dict.fromkeys((op.name for op in graph.ops), 0.0)
        for (_, seconds), shares in zip(calls, owners, strict=True):
            for name, share in shares:
                spent[name] += seconds * share
        rows.append([spent[op.name] for op in graph.ops])
    quartile = np.quantile(np.array(rows), 0.25, axis=0)
    return {op.name: float(value) for op, value in zip(graph.ops, quartile, strict=True)}


def _passes(
    run: Callable[[], object], clock: Clock, passes: int, now: Callable[[], float]
) -> tuple[list[list[tuple[str, float]]], list[list[tuple[str, float]]]]:
    """Calls and seconds of instrumented passes: so many undisturbed ones, and the others that came between."""
    clean: list[list[tuple[str, float]]] = []
    disturbed: list[list[tuple[str, float]]] = []
    began = clock.wall_s()
    while len(clean) < passes and (clock.wall_s() - began < _LONGEST_S or len(clean) + len(disturbed) < _LEAST_RUNS):
        before = clock.switches()
        calls = timed_calls(run, now)
        (clean if clock.switches() == before else disturbed).append(calls)
    return clean, disturbed
