"""From the kernels' times to the whole network: what the instruments add to each op, and what calling modules takes.

Networks call more modules than they have ops (containers, identities) or fewer (functions): with eager PyTorch a call
is Python, and no kernel computes meanwhile. timm's networks call 0.8 to 2.3 modules an op, torchvision's 0.8 to 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Whole"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Whole:
    """total = α·(Σ − δ·ops) + ``call_s`` · (calls of modules − ops): what a profile's ``total`` says."""

    alpha: float
    delta_s: float
    call_s: float = 0.0

    @classmethod
    def of(cls, total: Mapping[str, Any]) -> Whole:
        """Raises KeyError without α or δ; profiles from before calls were counted have no ``call_s``."""
        return cls(float(total["alpha"]), float(total["delta_s"]), float(total.get("call_s", 0.0)))

    def kernels_s(self, seconds: Floats) -> Floats:
        """Each kernel's part of the whole, of what it took with instruments; none is below 0."""
        return np.maximum(self.alpha * (seconds - self.delta_s), 0.0)
