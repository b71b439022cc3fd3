"""The work vector: what an operator computes, by kind of arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.ir.record import quick_init

__all__ = ["NO_WORK", "Work"]


@quick_init
@dataclass(frozen=True, slots=True)
class Work:
    """Exact integer counts for one execution. Transcendentals are apart and never in ``flops``.

    ``mac``: multiply-accumulates of sums of products. ``add`` includes subtraction; ``cmp`` min, max,
    comparison, abs and sign. ``transcendental``: one per exp, log, erf, tanh, sigmoid, sqrt, rsqrt, sin, pow.
    """

    mac: int = 0
    add: int = 0
    mul: int = 0
    cmp: int = 0
    div: int = 0
    transcendental: int = 0

    @property
    def flops(self) -> int:
        """2·MACs + every other addition, multiplication, division and comparison."""
        return 2 * self.mac + self.add + self.mul + self.cmp + self.div

    def __add__(self, other: Work) -> Work:
        return Work(
            self.mac + other.mac,
            self.add + other.add,
            self.mul + other.mul,
            self.cmp + other.cmp,
            self.div + other.div,
            self.transcendental + other.transcendental,
        )

    def __mul__(self, times: int) -> Work:
        return Work(
            self.mac * times,
            self.add * times,
            self.mul * times,
            self.cmp * times,
            self.div * times,
            self.transcendental * times,
        )

    __rmul__ = __mul__

    def __bool__(self) -> bool:
        return self != NO_WORK

    def to_dict(self) -> dict[str, int]:
        return {
            "mac": self.mac,
            "add": self.add,
            "mul": self.mul,
            "cmp": self.cmp,
            "div": self.div,
            "transcendental": self.transcendental,
        }


NO_WORK = Work()
