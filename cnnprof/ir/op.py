"""One operator of the graph, in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cnnprof.ir.record import quick_init

__all__ = ["NO_ATTRIBUTES", "ONCE", "UNKNOWN_KIND", "Execution", "Op"]

UNKNOWN_KIND = "unknown"
NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Execution:
    """How often an operator runs for one run of the graph.

    ``repeat`` multiplies its cost (loop bodies). ``bounded`` is False where the trip count is
    unknown, so that ``repeat`` is only a lower bound. ``branches`` is the path of alternatives the
    op stands in, outermost first: (name of the If, index of the branch); at most one branch of an
    If runs.
    """

    repeat: int = 1
    bounded: bool = True
    branches: tuple[tuple[str, int], ...] = ()


ONCE = Execution()


@quick_init
@dataclass(frozen=True, slots=True)
class Op:
    """An operator: canonical ``kind`` and attributes, ordered inputs and outputs.

    ``kind`` is :data:`UNKNOWN_KIND` where the operator table has no entry; ``op_type`` keeps the
    foreign spelling ("onnx:Conv", "aten:convolution.default"). An input is None where an optional
    one is absent; so is an output. ``scope`` is the module path ("layer1/0/conv1"). ``phase`` is
    "forward", "backward" or "optimizer"; a backward op carries the scope of the module it belongs to.
    """

    name: str
    kind: str
    op_type: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=lambda: NO_ATTRIBUTES)
    scope: str = ""
    execution: Execution = ONCE
    phase: str = "forward"

    @property
    def present_inputs(self) -> tuple[str, ...]:
        return self.inputs if None not in self.inputs else tuple([n for n in self.inputs if n is not None])  # type: ignore[return-value]

    @property
    def present_outputs(self) -> tuple[str, ...]:
        return self.outputs if None not in self.outputs else tuple([n for n in self.outputs if n is not None])  # type: ignore[return-value]

    @property
    def writes_in_place(self) -> bool:
        """True for ATen's in-place spellings (``aten:relu_.default``): they read and write although
        their result shares the input's storage; a view does neither."""
        return self.op_type.partition(".")[0].endswith("_")
