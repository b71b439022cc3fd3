"""One synthetic network on onnxruntime: each kernel timed where it stands by its profile, plain runs for the total."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import DependencyError
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.ir import Graph
from cnnprof.measure.clock import Clock
from cnnprof.measure.onnxruntime_kernels import kernel_of_nodes, keys_of
from cnnprof.measure.samples import NetSample
from cnnprof.measure.session import take_sample
from cnnprof.measure.statistics import Sample, quantile
from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model
from cnnprof.predict.lower_onnxruntime import Placed, block_of, place

__all__ = ["lowering_here", "measure_network", "onnxruntime_networks", "seconds_by_kernel"]

_LEAST_RUNS = 9
_LEAST_S = 0.10
_MOST_PASSES = 60
_KERNEL = "_kernel_time"
_CEILING = 0.6  # of a node's times, the share from below that its mean is taken over


@contextmanager
def onnxruntime_networks(threads: int) -> Iterator[Callable[[int, Graph, Clock], NetSample]]:
    """:func:`measure_network` with ``threads`` threads. Raises :class:`DependencyError` without onnxruntime."""
    lowering = lowering_here()
    yield lambda index, graph, clock: measure_network(index, graph, clock, threads=threads, lowering=lowering)


@cache
def lowering_here() -> str:
    """The lowering of this processor, as :func:`cnnprof.predict.lower.lower` names it: with the block that
    onnxruntime chose for its vectors. Two convolutions tell: groups of 8 and of 16 channels."""
    for block, name in ((8, "onnxruntime"), (16, "onnxruntime-16")):
        net = NetBuilder("probe", (1, 2 * block, 8, 8))
        graph = net.done(net.conv(net.input, 2 * block, 3, 1, 2))
        with tempfile.TemporaryDirectory() as folder:
            options = _options(1)
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            _session(synthetic_model(graph, random_weights(graph, 0)), options)
            if any(node.op_type == "ReorderInput" for node in file_nodes(Path(folder) / "optimised.onnx")):
                return name
    return "onnxruntime-1"


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
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        session = _session(model, options)

        def run() -> None:
            session.run(None, feed)

        run()
        began = clock.wall_s()
        passes = 1
        while passes < _LEAST_RUNS or (clock.wall_s() - began < _LEAST_S and passes < _MOST_PASSES):
            run()
            passes += 1
        profile = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        optimised = file_nodes(Path(folder) / "optimised.onnx")
    owners = kernel_of_nodes(optimised, file_nodes(model), placed)
    seconds = seconds_by_kernel(profile, owners, len(placed))
    samples = _plain_runs(run, clock)
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


def _plain_runs(run: Callable[[], None], clock: Clock) -> list[Sample]:
    run()
    samples: list[Sample] = []
    began = clock.wall_s()
    while len(samples) < _LEAST_RUNS or clock.wall_s() - began < _LEAST_S:
        samples.append(take_sample(run, clock))
    return samples


def seconds_by_kernel(profile: Sequence[Mapping[str, Any]], owners: Mapping[str, int], count: int) -> list[float]:
    """Seconds of each of ``count`` kernels, from the events of several runs, the first (which warms up) apart.

    The profile's clock ticks in microseconds: over many runs the mean of a node's times is finer than that. It is
    taken over the lower part of them, which what else the machine does has not slowed down."""
    runs: dict[str, list[float]] = {}
    for key, spent in _events(profile, owners):
        runs.setdefault(key, []).append(spent)
    seconds = [0.0] * count
    for key, values in runs.items():
        if key in owners:
            seconds[owners[key]] += _typical(values[1:] or values)
    return seconds


def _typical(values: Sequence[float]) -> float:
    low = sorted(values)[: max(1, round(_CEILING * len(values)))]
    return sum(low) / len(low)


def _events(profile: Sequence[Mapping[str, Any]], named: Collection[str]) -> Iterator[tuple[str, float]]:
    """(key, seconds) of every event of a node, as :func:`keys_of` names nodes: unnamed ones by their place."""
    nameless: dict[str, str] = {}  # an event's name -> the key of its node
    counts: dict[str, int] = {}
    for event in profile:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_KERNEL):
            continue
        name = name.removesuffix(_KERNEL)
        op_type = str(event.get("args", {}).get("op_name", ""))
        if name not in named and name.startswith(f"{op_type}_") and name.removeprefix(f"{op_type}_").isdigit():
            if name not in nameless:
                counts[op_type] = counts.get(op_type, 0) + 1
                nameless[name] = keys_of([("", op_type)] * counts[op_type])[-1]
            name = nameless[name]
        yield name, float(event["dur"]) * 1e-6


def _options(threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise DependencyError("onnxruntime is not installed", "python -m pip install 'cnnprof[onnxruntime]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _session(model: bytes, options: Any) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
