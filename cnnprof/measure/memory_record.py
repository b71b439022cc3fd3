"""A measured memory run, and how it compares with the predicted one. Needs no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnnprof.analyses.memory.result import MemoryResult, compact

__all__ = ["Comparison", "Difference", "MeasuredMemory", "Sample", "compare"]

# How far the two op sequences may drift apart before they count as unaligned there.
_LOOK_AHEAD = 60
_IN_A_ROW = 3
_PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm", "bmm", "baddbmm"})
_MOVES = """alias as_strided clone copy_ detach detach_ empty empty_like empty_strided expand lift_fresh permute
reshape select slice squeeze t transpose unsqueeze view _reshape_alias _to_copy _unsafe_view unbind split chunk"""
_NO_LANDMARKS = frozenset(_MOVES.split())


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes alive right after one call of the operator ``op_type`` ("aten:convolution.default")."""

    op_type: str
    live_bytes: int


@dataclass(frozen=True, kw_only=True)
class MeasuredMemory:
    """One measured run. ``resident_bytes``: weights, buffers, inputs and optimizer state, there from the
    start.

    ``samples`` follow the run (empty where the device gives only a peak: then ``tensor_peak`` holds it).
    ``allocator_peak_bytes`` has the kernels' own workspace and the allocator's rounding in it, and ``held_bytes``,
    which libraries keep from one call to the next; None: not seen.
    """

    device: str
    method: str
    mode: str
    resident_bytes: int
    samples: tuple[Sample, ...] = ()
    tensor_peak: int | None = None
    allocator_peak_bytes: int | None = None
    held_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """The most that tensors took together, residents included."""
        if self.tensor_peak is not None:
            return self.tensor_peak
        return max((sample.live_bytes for sample in self.samples), default=self.resident_bytes)

    @property
    def peak_op_type(self) -> str | None:
        peak = self.peak_bytes
        return next((sample.op_type for sample in self.samples if sample.live_bytes == peak), None)

    @property
    def workspace_bytes(self) -> int | None:
        """What kernels' own buffers add to the peak: allocator's peak less the tensors' (0 or more)."""
        if self.allocator_peak_bytes is None:
            return None
        return max(0, self.allocator_peak_bytes - self.peak_bytes)

    def to_dict(self) -> dict[str, Any]:
        data = {
            "device": self.device,
            "method": self.method,
            "mode": self.mode,
            "resident_bytes": self.resident_bytes,
            "peak_bytes": self.peak_bytes,
            "peak_op_type": self.peak_op_type,
            "allocator_peak_bytes": self.allocator_peak_bytes,
            "workspace_bytes": self.workspace_bytes,
            "held_bytes": self.held_bytes or None,
            "timeline": compact(tuple(s.live_bytes for s in self.samples)) if self.samples else None,
        }
        return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Predicted against measured bytes alive at one op (measured less predicted is ``bytes_more``)."""

    op: str
    op_type: str
    predicted_bytes: int
    measured_bytes: int

    @property
    def bytes_more(self) -> int:
        return self.measured_bytes - self.predicted_bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "op_type": self.op_type,
            "predicted_bytes": self.predicted_bytes,
            "measured_bytes": self.measured_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``differences``: where the two timelines come apart most, largest first; ``aligned``: how many of
    the ``ops`` predicted (views and other moves apart) were found in the measured run."""

    predicted_peak_bytes: int
    measured_peak_bytes: int
    differences: tuple[Difference, ...]
    aligned: int
    ops: int

    @property
    def error(self) -> float:
        """Predicted over measured, minus one: +0.03 means predicted 3 % too much."""
        return self.predicted_peak_bytes / self.measured_peak_bytes - 1 if self.measured_peak_bytes else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "predicted_peak_bytes": self.predicted_peak_bytes,
            "measured_peak_bytes": self.measured_peak_bytes,
            "error": self.error,
            "aligned_ops": self.aligned,
            "ops": self.ops,
            "differences": [difference.to_dict() for difference in self.differences],
        }


def compare(result: MemoryResult, op_types: Sequence[str], measured: MeasuredMemory, *, top: int = 8) -> Comparison:
    """Set a prediction against a measurement. ``op_types`` are those of the prediction's ops, in order."""
    live = result.framework_live_bytes or result.live_bytes
    peak = result.peak if result.framework_peak is None else result.framework_peak
    pairs = align(op_types, [sample.op_type for sample in measured.samples])
    rows = [
        Difference(
            op=result.op_names[i],
            op_type=op_types[i],
            predicted_bytes=live[i],
            measured_bytes=measured.samples[j].live_bytes,
        )
        for i, j in pairs
    ]
    rows = [row for row in rows if row.bytes_more]
    rows.sort(key=lambda row: -abs(row.bytes_more))
    return Comparison(
        predicted_peak_bytes=peak.nbytes,
        measured_peak_bytes=measured.peak_bytes,
        differences=tuple(rows[:top]),
        aligned=len(pairs),
        ops=sum(1 for op_type in op_types if _landmark(op_type)),
    )


def align(predicted: Sequence[str], measured: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices of operators that are the same call, in order.

    Calls that only move or name data are left out. The tracer records some calls as one op (linear,
    attention) that a real run takes apart, and the other way round: where the two walks differ, they go on at the
    nearest place from which several ops in a row agree.
    """
    left = [(i, _landmark(op_type)) for i, op_type in enumerate(predicted)]
    right = [(j, _landmark(op_type)) for j, op_type in enumerate(measured)]
    left, right = [row for row in left if row[1]], [row for row in right if row[1]]
    marks, others = [mark for _, mark in left], [mark for _, mark in right]
    pairs = []
    i = j = 0
    while i < len(left) and j < len(right):
        if marks[i] == others[j]:
            pairs.append((left[i][0], right[j][0]))
            i, j = i + 1, j + 1
            continue
        ahead = _next_agreement(marks[i : i + _LOOK_AHEAD], others[j : j + _LOOK_AHEAD])
        if ahead is None:
            i, j = i + 1, j + 1
        else:
            i, j = i + ahead[0], j + ahead[1]
    return pairs


def _landmark(op_type: str) -> str:
    """What an operator is aligned by: its name without overload, all matrix products alike; "" for a call
    that computes nothing."""
    name = op_type.removeprefix("aten:").partition(".")[0]
    return "" if name in _NO_LANDMARKS else "product" if name in _PRODUCTS else name


def _next_agreement(left: Sequence[str], right: Sequence[str]) -> tuple[int, int] | None:
    """The nearest (skip left, skip right) after which :data:`_IN_A_ROW` operators agree."""
    for skipped in range(1, len(left) + len(right)):
        for i in range(max(0, skipped - len(right)), min(skipped, len(left)) + 1):
            j = skipped - i
            row, other = left[i : i + _IN_A_ROW], right[j : j + _IN_A_ROW]
            at_both_ends = i + len(row) == len(left) and j + len(other) == len(right)
            if row and row == other and (len(row) == _IN_A_ROW or at_both_ends):
                return i, j
    return None
