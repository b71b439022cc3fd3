"""How long the gate's own work takes: aligning large graphs, checking, reading a baseline."""

from __future__ import annotations

import json
import random

import pytest

from cnnprof.gate.align import align
from cnnprof.gate.nodes import LayerNode

pytestmark = pytest.mark.bench


def _graph(ops: int, *, width: int, prefix: str, seed: int, cut: int = 0) -> list[LayerNode]:
    """Residual blocks of five layers; ``cut`` layers at random places are left out; widths repeat as in real
    networks, so that labels alone decide little."""
    rng = random.Random(seed)
    kinds = ("conv", "batch_norm", "relu", "conv", "add")
    gone = set(rng.sample(range(1, ops), cut))
    nodes: list[LayerNode] = []
    for index in range(ops):
        if index in gone:
            continue
        last = len(nodes) - 1
        kind = kinds[index % 5]
        sources = ([last] if last >= 0 else []) + ([last - 4] if kind == "add" and last >= 4 else [])
        size = width * (1 + index // 400)
        nodes.append(
            LayerNode(
                name=f"{prefix}{index}",
                kind=kind,
                attributes=json.dumps({"size": size}),
                shapes=((1, size, 112 >> index // 400, 112 >> index // 400),),
                dtypes=("float32",),
                sources=tuple(sources),
                costs={"macs": size * size, "flops": 2 * size * size, "parameters": size},
            )
        )
    return nodes


SCENARIOS = {
    "renamed": (_graph(2000, width=64, prefix="a", seed=1), _graph(2000, width=64, prefix="b", seed=1)),
    "200 layers apart": (
        _graph(2000, width=64, prefix="a", seed=1, cut=100),
        _graph(2000, width=64, prefix="b", seed=2, cut=100),
    ),
    "every layer changed": (
        _graph(2000, width=64, prefix="a", seed=1),
        _graph(2000, width=96, prefix="a", seed=1, cut=200),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_alignment_of_two_2000_op_graphs(benchmark, name: str) -> None:
    """The promise: under 5 s, whatever changed."""
    old, new = SCENARIOS[name]
    matched = benchmark.pedantic(align, (old, new), rounds=1, iterations=1)
    assert len(matched) > 1500
    assert all(old[i].kind == new[j].kind for i, j in matched.items())
    assert benchmark.stats.stats.max < 5


def test_fifty_resnets_cold_and_from_the_cache(benchmark, light_resnet50: str, tmp_path) -> None:
    """A config of 50 ONNX models: seconds when every one is new, less when none has changed."""
    import shutil
    import time

    from cnnprof.gate.cache import ProfileCache
    from cnnprof.gate.job import Job
    from cnnprof.gate.runner import run_jobs

    jobs = []
    for index in range(50):
        name = f"net{index}.onnx"
        shutil.copy(light_resnet50, tmp_path / name)
        jobs.append(Job(reference=name, shown=name, root=str(tmp_path)))
    cache = ProfileCache(tmp_path / "cache")
    began = time.perf_counter()
    cold = run_jobs(jobs, cache=cache)
    cold_s = time.perf_counter() - began
    warm = benchmark.pedantic(run_jobs, (jobs,), {"cache": cache}, rounds=1, iterations=1)
    assert all(warm[job.key].macs == cold[job.key].macs == 4_089_184_256 for job in jobs)
    benchmark.extra_info["cold_s"] = cold_s
    print(f"\n50 ResNet-50: {cold_s:.1f} s cold, {benchmark.stats.stats.max:.2f} s from the cache")
    assert benchmark.stats.stats.max < cold_s
