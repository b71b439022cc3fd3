"""The memory analysis: what is alive when, the peak and what stands there, and what would lower it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

from cnnprof.analyses.memory.arena import plan_arena
from cnnprof.analyses.memory.checkpoint import checkpoint, match_modules
from cnnprof.analyses.memory.dtypes import parse_dtype
from cnnprof.analyses.memory.fit import Fit, GraphAt, fit
from cnnprof.analyses.memory.liveness import Lifetime, Liveness, liveness, peak_of
from cnnprof.analyses.memory.reorder import reorder
from cnnprof.analyses.memory.result import LiveTensor, MemoryResult, Moment, Reordered, WhatIf
from cnnprof.analyses.memory.savings import savings
from cnnprof.analyses.memory.schedule import Category, Schedule, Storage, build_schedule
from cnnprof.errors import UsageError
from cnnprof.ir import DType, Graph

__all__ = ["fit_memory", "memory", "peak_bytes"]


def memory(
    graph: Graph,
    *,
    weight_dtype: str | DType | None = None,
    activation_dtype: str | DType | None = None,
    checkpoint_modules: Sequence[str] = (),
    rounding_bytes: int = 1,
    alignment_bytes: int = 64,
    reordering: bool = False,
    advise: bool = True,
) -> MemoryResult:
    """Memory of one run of ``graph``: inference, or the whole training step of a training graph.

    ``weight_dtype`` and ``activation_dtype`` ask *what if* floating-point weights or activations had that
    type; ``checkpoint_modules`` are globs of module paths to recompute in backward; ``rounding_bytes`` is the
    allocator's granule (512 for torch on CUDA); ``reordering`` also looks for a better execution order;
    ``advise`` computes what would lower the peak. Raises :class:`UsageError` for a glob that matches nothing
    or an unknown dtype.
    """
    schedule, what_if = _what_if_schedule(graph, weight_dtype, activation_dtype, checkpoint_modules, rounding_bytes)
    plain = schedule.by_last_reader()
    live = liveness(plain)
    held = liveness(schedule) if schedule.held_until is not None else None
    alive = _AliveAtPeak(graph, plain, live)
    found = reorder(plain) if reordering else None
    totals = dict.fromkeys(Category, 0)
    for storage in schedule.storages:
        totals[storage.category] += storage.nbytes
    return MemoryResult(
        mode=graph.mode,
        parameter_bytes=totals[Category.PARAMETER],
        buffer_bytes=totals[Category.BUFFER],
        constant_bytes=totals[Category.CONSTANT],
        optimizer_state_bytes=totals[Category.OPTIMIZER],
        input_bytes=totals[Category.INPUT],
        output_bytes=sum(s.nbytes for s in schedule.storages if s.to_end and not s.resident),
        saved_for_backward_bytes=totals[Category.SAVED],
        gradient_bytes=totals[Category.GRADIENT],
        op_names=tuple(_step_name(step.op.name, step.recomputed) for step in plain.steps),
        phases=tuple(step.op.phase for step in plain.steps),
        live_bytes=live.live_bytes,
        peak=_moment(plain, live),
        alive_at_peak=alive,
        by_category=alive.by_category(),
        framework_live_bytes=None if held is None else held.live_bytes,
        framework_peak=None if held is None else _moment(schedule, held),
        arena=plan_arena(live, alignment_bytes=alignment_bytes),
        savings=savings(graph, plain, live, what_if) if advise else (),
        what_if=what_if,
        reordered=None
        if found is None
        else Reordered(
            peak_bytes=found.peak_bytes,
            method=found.method,
            order=tuple(plain.steps[i].op.name for i in found.order),
        ),
        unsized=schedule.unsized,
    )


def peak_bytes(
    graph: Graph,
    *,
    weight_dtype: str | DType | None = None,
    activation_dtype: str | DType | None = None,
    checkpoint_modules: Sequence[str] = (),
    rounding_bytes: int = 1,
) -> int:
    """Only the peak: as the framework holds memory where that was seen, else by last reader."""
    schedule, _ = _what_if_schedule(graph, weight_dtype, activation_dtype, checkpoint_modules, rounding_bytes)
    return peak_of(schedule)


def fit_memory(
    result: MemoryResult,
    budget_bytes: int,
    graph_at: GraphAt,
    *,
    side: int | None = None,
) -> MemoryResult:
    """``result`` with the largest batch and square side that fit ``budget_bytes`` under the same what-ifs.

    ``graph_at(batch, side)`` gives the graph at other inputs. A budget below the weights fits nothing: both
    are then 0.
    """
    what_if = result.what_if
    if budget_bytes < result.weight_bytes:
        answer = Fit.nothing(budget_bytes, result.weight_bytes)
    else:
        answer = fit(
            budget_bytes,
            graph_at,
            lambda graph: peak_bytes(
                graph,
                weight_dtype=what_if.weight_dtype,
                activation_dtype=what_if.activation_dtype,
                checkpoint_modules=what_if.checkpointed,
                rounding_bytes=what_if.rounding_bytes,
            ),
            weight_bytes=result.weight_bytes,
            side=side,
        )
    return replace(result, fit=answer)


def _what_if_schedule(
    graph: Graph,
    weight_dtype: str | DType | None,
    activation_dtype: str | DType | None,
    checkpoint_modules: Sequence[str],
    rounding_bytes: int,
) -> tuple[Schedule, WhatIf]:
    if rounding_bytes < 1:
        raise UsageError(f"rounding of {rounding_bytes} bytes: expected 1 or more", "1 means none")
    weights, activations = parse_dtype(weight_dtype), parse_dtype(activation_dtype)
    schedule = build_schedule(graph, weight_dtype=weights, activation_dtype=activations, rounding_bytes=rounding_bytes)
    modules: tuple[str, ...] = ()
    if checkpoint_modules:
        if graph.mode != "training":
            raise UsageError(
                "--checkpoint: nothing is saved for backward in inference", "add --training to see its effect"
            )
        modules = match_modules(schedule, checkpoint_modules)
        schedule = checkpoint(schedule, modules)
    return schedule, WhatIf(
        weight_dtype=weights.value if weights else None,
        activation_dtype=activations.value if activations else None,
        checkpointed=modules,
        recomputed_ops=sum(step.recomputed for step in schedule.steps),
        rounding_bytes=rounding_bytes,
    )


def _step_name(name: str, recomputed: bool) -> str:
    return f"{name} (again)" if recomputed else name


def _moment(schedule: Schedule, live: Liveness) -> Moment:
    at = live.peak_step
    if at is None:
        return Moment(nbytes=live.peak_bytes, op=None, index=None, phase="forward")
    step = schedule.steps[at]
    phase = "recomputation" if step.recomputed else step.op.phase
    return Moment(nbytes=live.peak_bytes, op=_step_name(step.op.name, step.recomputed), index=at, phase=phase)


class _AliveAtPeak(Sequence[LiveTensor]):
    """What stands at the peak, largest first; residents included. Records are made for who asks: most are of weights
    that no list has room for."""

    def __init__(self, graph: Graph, schedule: Schedule, live: Liveness) -> None:
        self._graph, self._schedule = graph, schedule
        at_peak = () if live.peak_step is None else live.alive_at(live.peak_step)
        spans: list[tuple[Storage, Lifetime | None]] = [
            (storage, None) for storage in schedule.storages if storage.resident
        ]
        spans += [(schedule.storages[life.storage], life) for life in at_peak]
        spans.sort(key=_by_size)
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> LiveTensor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LiveTensor, ...]: ...
    def __getitem__(self, index: int | slice) -> LiveTensor | tuple[LiveTensor, ...]:
        if isinstance(index, slice):
            return tuple([self._record(*span) for span in self._spans[index]])
        return self._record(*self._spans[index])

    def _record(self, storage: Storage, life: Lifetime | None) -> LiveTensor:
        tensor, steps = self._graph.tensors.get(storage.tensor), self._schedule.steps
        kept = life is None or life.end >= len(steps)  # lives that end past the last step are kept to the end
        return LiveTensor(
            name=storage.tensor,
            nbytes=storage.nbytes,
            category=storage.category,
            shape=None if tensor is None else tensor.shape,
            dtype="mixed" if tensor is None else tensor.dtype.value,
            made_by=None if life is None else steps[life.start].op.name,
            freed_after=None if life is None or kept else steps[life.end].op.name,
        )

    def by_category(self) -> dict[str, int]:
        """Bytes of each category, the largest first."""
        totals: dict[Category, int] = {}
        for storage, _ in self._spans:
            category = storage.category
            totals[category] = totals.get(category, 0) + storage.nbytes
        return {category.value: total for category, total in sorted(totals.items(), key=lambda item: -item[1])}


def _by_size(span: tuple[Storage, Lifetime | None]) -> int:
    return -span[0].nbytes
