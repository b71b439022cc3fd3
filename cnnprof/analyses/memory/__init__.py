"""Memory: what is alive when, the peak, and what would lower it."""

from cnnprof.analyses.memory.analysis import fit_memory, memory, peak_bytes
from cnnprof.analyses.memory.result import MemoryResult

__all__ = ["MemoryResult", "fit_memory", "memory", "peak_bytes"]
