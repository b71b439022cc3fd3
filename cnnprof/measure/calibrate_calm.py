"""Which measurements of a calibration count: of a network that was measured twice, and of all networks.

The same network differs from one process to the next, by 5 % (standard deviation over 40 synthetic networks, four times
each; 3 % of those above 20 ms, 7 % of those below 8 ms), and that would count as a fit's error. Measured in two
processes, ten networks apart, and averaged, it is less; and where one is beside a neighbour, there is the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from cnnprof.measure.contention import CONTENDED
from cnnprof.measure.samples import NetSample, quiet_level_s

__all__ = ["apart", "calm_limit_s", "is_calm", "together", "undisturbed"]

_KEPT_SHARE = 0.8
_DISTURBED = 0.5


def calm_limit_s(samples: Sequence[NetSample]) -> float:
    """What copying may take around a network that nobody slowed through the cache, judged by ``samples``."""
    return (1.0 + CONTENDED) * quiet_level_s(samples)


def is_calm(sample: NetSample, limit_s: float) -> bool:
    """Whether no neighbour slowed it, neither on the core nor (copying took ``limit_s`` at most) through the cache."""
    return sample.disturbed <= _DISTURBED and sample.stream_s <= limit_s


def together(first: NetSample, second: NetSample, limit_s: float) -> NetSample:
    """One sample of two of the same network: the mean of both, or the calmer one alone if not both are calm."""
    if not (is_calm(first, limit_s) and is_calm(second, limit_s)):
        return min(first, second, key=_restless)
    return replace(
        first,
        total_s=_mean(first.total_s, second.total_s),
        disturbed=_mean(first.disturbed, second.disturbed),
        stream_s=_mean(first.stream_s, second.stream_s),
        seconds=tuple(map(_mean, first.seconds, second.seconds)),
        host_s=tuple(map(_mean, first.host_s, second.host_s)),
    )


def apart(first: NetSample, second: NetSample) -> float:
    """By how much the slower took longer, as a logarithm."""
    return abs(math.log(second.total_s / first.total_s))


def undisturbed(samples: Sequence[NetSample], slow: Collection[int] = (), fewest: int = 0) -> list[NetSample]:
    """The networks that no neighbour slowed, neither on the core nor through the cache, nor the machine's own pace
    (``slow``), in order; at least four fifths of them (and ``fewest``), the least disturbed: more networks make a
    better fit, up to there, than quieter ones."""
    least = max(fewest, math.ceil(_KEPT_SHARE * len(samples)))
    limit_s = calm_limit_s(samples)
    kept = [sample for sample in samples if is_calm(sample, limit_s) and sample.network not in slow]
    if len(kept) >= least:
        return kept
    # A slow pace nothing tells from a slow network.
    kept = sorted(samples, key=lambda sample: (sample.network in slow, *_restless(sample)))[:least]
    return sorted(kept, key=lambda sample: sample.network)


def _restless(sample: NetSample) -> tuple[bool, float]:
    """A neighbour on the core costs more than a busy cache."""
    return sample.disturbed > _DISTURBED, sample.stream_s


def _mean(one: float, other: float) -> float:
    return 0.5 * (one + other)
