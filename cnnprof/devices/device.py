"""A datasheet device: peak rates as its maker states them, each with the place it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnnprof.errors import UsageError

__all__ = ["Device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One entry of the catalogue.

    ``vector_flops_per_s`` and ``matrix_flops_per_s`` map a dtype to the dense peak of the vector units and of the
    matrix units (2 FLOPs a multiply-accumulate, no sparsity); a device without matrix units has an empty
    second table. ``cache_bytes`` is the last level's. ``sources`` says where each number stands.
    ``cores`` is 0 for GPUs; a CPU's peaks are for all of its cores.
    """

    name: str
    title: str
    kind: str
    vector_flops_per_s: Mapping[str, float]
    bandwidth_bytes_per_s: float
    cache_bytes: int
    memory_bytes: int
    launch_overhead_s: float
    sources: Mapping[str, str]
    matrix_flops_per_s: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    cores: int = 0

    def peak_flops_per_s(self, dtype: str, *, matrix: bool) -> float:
        """The dense peak for ``dtype``. Where the vector units have no rate of their own they run at float32's.

        Raises :class:`UsageError` for a dtype that the device has no rate for.
        """
        if matrix and dtype in self.matrix_flops_per_s:
            return self.matrix_flops_per_s[dtype]
        if dtype in self.vector_flops_per_s:
            return self.vector_flops_per_s[dtype]
        if not matrix or dtype in self.dtypes:
            return self.vector_flops_per_s["float32"]
        raise UsageError(
            f"{self.name}: no peak rate for {dtype} in its datasheet", f"one of {', '.join(sorted(self.dtypes))}"
        )

    @property
    def dtypes(self) -> frozenset[str]:
        """Element types with a peak rate."""
        return frozenset(self.vector_flops_per_s) | frozenset(self.matrix_flops_per_s)
