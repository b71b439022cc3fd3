"""What the memory analysis answers: frozen records, bytes in every name, JSON by ``to_dict``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnnprof.analyses.memory.arena import Arena
from cnnprof.analyses.memory.fit import Fit
from cnnprof.analyses.memory.schedule import Category
from cnnprof.ir.record import quick_init

__all__ = ["LiveTensor", "MemoryResult", "Moment", "Reordered", "Saving", "WhatIf", "compact"]

# A timeline of a large graph is kept as this many buckets in JSON; each holds its ops' maximum, so the peak
# stays.
TIMELINE_POINTS = 512
_LISTED = 64


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTensor:
    """One piece of memory alive at the peak, by the tensor that first fills it.

    ``made_by`` is the op that makes it (None: it was there from the start), ``freed_after`` the last op that
    needs it (None: kept to the end).
    """

    name: str
    nbytes: int
    category: Category
    shape: tuple[int, ...] | None
    dtype: str
    made_by: str | None
    freed_after: str | None

    def to_dict(self) -> dict[str, Any]:
        data = {
            "name": self.name,
            "bytes": self.nbytes,
            "category": self.category.value,
            "dtype": self.dtype,
            "shape": None if self.shape is None else list(self.shape),
            "made_by": self.made_by,
            "freed_after": self.freed_after,
        }
        return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A peak: bytes, the op during which it is reached (None: a graph without ops) and its phase."""

    nbytes: int
    op: str | None
    index: int | None
    phase: str

    def to_dict(self) -> dict[str, Any]:
        data = {"bytes": self.nbytes, "op": self.op, "index": self.index, "phase": self.phase}
        return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Something that would lower the peak: what to do, and what the analysis says it saves."""

    what: str
    detail: str
    peak_bytes: int
    saving_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "detail": self.detail,
            "peak_bytes": self.peak_bytes,
            "saving_bytes": self.saving_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """The assumptions this result was computed under; None and empty: none."""

    weight_dtype: str | None = None
    activation_dtype: str | None = None
    checkpointed: tuple[str, ...] = ()
    recomputed_ops: int = 0
    rounding_bytes: int = 1

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if self.weight_dtype:
            data["weight_dtype"] = self.weight_dtype
        if self.activation_dtype:
            data["activation_dtype"] = self.activation_dtype
        if self.checkpointed:
            data |= {"checkpointed": list(self.checkpointed), "recomputed_ops": self.recomputed_ops}
        if self.rounding_bytes != 1:
            data["rounding_bytes"] = self.rounding_bytes
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Reordered:
    """The best execution order found (heuristic): op names in the order to run them."""

    peak_bytes: int
    method: str
    order: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "peak_bytes": self.peak_bytes,
            "method": self.method,
            "heuristic": True,
            "order": list(self.order),
        }


@dataclass(frozen=True, kw_only=True)
class MemoryResult:
    """Memory of one run of a graph, by the counting convention (a tensor lives from its producer to its last
    reader).

    ``live_bytes[k]`` is alive while op k of the (possibly transformed) schedule runs; ``op_names`` names
    those ops. ``framework_live_bytes`` is the same as the framework was seen to hold it: frames and autograd
    keep some tensors longer (None: the front end can't see that). ``by_category`` holds the bytes at the
    peak.
    """

    mode: str
    parameter_bytes: int
    buffer_bytes: int
    constant_bytes: int
    optimizer_state_bytes: int
    input_bytes: int
    output_bytes: int
    saved_for_backward_bytes: int
    gradient_bytes: int
    op_names: tuple[str, ...]
    phases: tuple[str, ...]
    live_bytes: tuple[int, ...]
    peak: Moment
    alive_at_peak: Sequence[LiveTensor]
    by_category: dict[str, int]
    framework_live_bytes: tuple[int, ...] | None
    framework_peak: Moment | None
    arena: Arena | None
    savings: tuple[Saving, ...]
    what_if: WhatIf
    reordered: Reordered | None = None
    fit: Fit | None = None
    unsized: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        return self.peak.nbytes

    @property
    def weight_bytes(self) -> int:
        """What is there before and after: parameters, buffers, constants and optimizer state."""
        return self.parameter_bytes + self.buffer_bytes + self.constant_bytes + self.optimizer_state_bytes

    @property
    def peak_activation_bytes(self) -> int:
        """The peak without weights and optimizer state (inputs, saved tensors and gradients are in it)."""
        return self.peak_bytes - self.weight_bytes

    @property
    def complete(self) -> bool:
        """False where tensors of unknown size count as nothing: every figure is then a lower bound."""
        return not self.unsized

    def to_dict(self) -> dict[str, Any]:
        """The ``memory`` section of a saved profile."""
        data: dict[str, Any] = {
            "mode": self.mode,
            "parameter_bytes": self.parameter_bytes,
            "buffer_bytes": self.buffer_bytes,
            "constant_bytes": self.constant_bytes,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "peak_bytes": self.peak_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "peak": self.peak.to_dict(),
            "by_category": dict(self.by_category),
            "alive_at_peak": [tensor.to_dict() for tensor in self.alive_at_peak[:_LISTED]],
            "alive_at_peak_count": len(self.alive_at_peak),
            "timeline": compact(self.live_bytes),
            "savings": [saving.to_dict() for saving in self.savings],
            "complete": self.complete,
        }
        if self.mode == "training":
            data |= {
                "optimizer_state_bytes": self.optimizer_state_bytes,
                "saved_for_backward_bytes": self.saved_for_backward_bytes,
                "gradient_bytes": self.gradient_bytes,
            }
        if self.framework_peak is not None and self.framework_live_bytes is not None:
            data["framework"] = {
                "peak": self.framework_peak.to_dict(),
                "timeline": compact(self.framework_live_bytes),
            }
        if self.arena is not None:
            data["arena"] = {
                "bytes": self.arena.nbytes,
                "lower_bound_bytes": self.arena.lower_bound_bytes,
                "alignment_bytes": self.arena.alignment_bytes,
                "method": self.arena.method,
            }
        what_if = self.what_if.to_dict()
        for key, value in (("what_if", what_if), ("unsized", list(self.unsized[:_LISTED]))):
            if value:
                data[key] = value
        if self.reordered is not None:
            data["reordered"] = self.reordered.to_dict()
        if self.fit is not None:
            data["fit"] = self.fit.to_dict()
        return data


def compact(live_bytes: tuple[int, ...], points: int = TIMELINE_POINTS) -> dict[str, Any]:
    """A timeline in at most ``points`` buckets of equally many ops, each with its maximum."""
    width = max(1, -(-len(live_bytes) // points))
    buckets = [max(live_bytes[i : i + width]) for i in range(0, len(live_bytes), width)]
    return {"ops": len(live_bytes), "ops_per_point": width, "live_bytes": buckets}
