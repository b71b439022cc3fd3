"""What would lower the peak: each measure's effect computed on its own, the largest saving first."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.analyses.memory.checkpoint import checkpoint, module_paths
from cnnprof.analyses.memory.inplace import in_place, in_place_candidates
from cnnprof.analyses.memory.liveness import Liveness, bytes_in_any_order, least_possible_peak, peak_at_sizes, peak_of
from cnnprof.analyses.memory.reorder import reorder
from cnnprof.analyses.memory.result import Saving, WhatIf
from cnnprof.analyses.memory.schedule import Schedule, retyped_sizes
from cnnprof.ir import DType, Graph

__all__ = ["savings"]

# Each checkpointed module is one more pass over the schedule: enough for the stages of any CNN, cheap for
# huge graphs.
_MODULES_TRIED = 24
_STEPS_TIMES_MODULES = 400_000


def savings(graph: Graph, schedule: Schedule, live: Liveness, what_if: WhatIf) -> tuple[Saving, ...]:
    """Measures that save anything, by what they save. Savings don't add up: each is taken alone."""
    found = [
        *_types(graph.mode, schedule, live, what_if),
        *_in_place(schedule, live),
        *_order(schedule, live),
        *(_checkpoints(schedule) if graph.mode == "training" and not what_if.checkpointed else ()),
    ]
    before = live.peak_bytes
    rows = [
        Saving(what=what, detail=detail, peak_bytes=peak, saving_bytes=before - peak)
        for what, detail, peak in found
        if peak < before
    ]
    return tuple(sorted(rows, key=lambda row: -row.saving_bytes))


_Found = Iterator[tuple[str, str, int]]


def _types(mode: str, schedule: Schedule, live: Liveness, what_if: WhatIf) -> _Found:
    if what_if.checkpointed or what_if.weight_dtype or what_if.activation_dtype:
        return
    for what, detail, weights, activations in (
        ("dtype float16", "weights and activations, or bfloat16", DType.FLOAT16, DType.FLOAT16),
        ("activations float16", "activations alone", None, DType.FLOAT16),
        ("weights int8", "weights alone", DType.INT8, None),
    ):
        if mode == "training" and weights is DType.INT8:
            continue
        sizes = retyped_sizes(schedule, weights, activations, what_if.rounding_bytes)
        yield what, detail, peak_at_sizes(schedule, live, sizes)


def _in_place(schedule: Schedule, live: Liveness) -> _Found:
    candidates = in_place_candidates(schedule)
    if not candidates:
        return
    at_peak = [schedule.steps[at].op.name for at, *_ in candidates if at == live.peak_step]
    detail = f"{len(candidates)} elementwise ops could overwrite their input"
    if at_peak:
        detail += f", {at_peak[0]} at the peak"
    yield "in place", detail, peak_of(in_place(schedule, candidates))


def _order(schedule: Schedule, live: Liveness) -> _Found:
    if live.peak_bytes <= least_possible_peak(schedule):
        return
    if live.peak_step is not None and live.peak_bytes <= bytes_in_any_order(schedule, live.peak_step):
        return
    best = reorder(schedule)
    yield "execution order", f"{best.method} (heuristic)", best.peak_bytes


def _checkpoints(schedule: Schedule) -> _Found:
    """Each outermost module with something inside it, then all of them together."""
    paths = module_paths(schedule)
    outer = [p for p in paths if any(q.startswith(f"{p}/") for q in paths)]
    stages = [p for p in outer if not any(p.startswith(f"{q}/") for q in outer if q != p)]
    # A model that is one module inside another: look one level deeper.
    while len(stages) == 1:
        inside = [p for p in outer if p.startswith(f"{stages[0]}/") and p.count("/") == stages[0].count("/") + 1]
        if not inside:
            break
        stages = inside
    budget = max(1, _STEPS_TIMES_MODULES // max(1, len(schedule.steps)))
    for path in stages[: min(_MODULES_TRIED, budget)]:
        yield f"checkpoint {path}", "recomputed in backward", _peak(schedule, [path])
    if 1 < len(stages) <= budget:
        detail = f"all {len(stages)} stages"
        yield "checkpoint every stage", detail, _peak(schedule, stages)


def _peak(schedule: Schedule, modules: list[str]) -> int:
    return peak_of(checkpoint(schedule, modules))
