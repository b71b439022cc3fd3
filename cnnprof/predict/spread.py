"""How far a whole network is likely to be missed, against one kernel that takes a second.

Errors of many kernels average out, so a network of many is missed by less; so is one that takes long, since what
disturbs is short. One of a large batch is missed by more: its kernels work in other ways, of which few were seen. All
are powers that a calibration finds on networks that its fit hadn't seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["effective_kernels", "spread_of"]


def effective_kernels(seconds: npt.NDArray[np.float64]) -> float:
    """How many kernels of equal length would share their time as evenly: (Σt)² / Σt², at least 1."""
    squares = float((seconds * seconds).sum())
    return float(seconds.sum()) ** 2 / squares if squares > 0.0 else 1.0


def spread_of(total: Mapping[str, Any], kernels: float, seconds: float, batch: int = 1) -> float:
    """What a profile's ``total.log_quantiles`` are to be multiplied by for a network of so many effective ``kernels``
    that takes ``seconds`` for ``batch`` samples; beyond what the calibration saw (twice the kernels) it doesn't shrink
    further."""
    kernels = min(kernels, float(total.get("spread_kernels", 1.0)))
    seconds = min(seconds, float(total.get("spread_s", 1.0)))
    by_kernels, by_time, by_batch = (
        float(total.get(f"spread_{name}", 0.0)) for name in ("exponent", "time_exponent", "batch_exponent")
    )
    return float(kernels**-by_kernels * max(seconds, 1e-9) ** -by_time * batch**by_batch)
