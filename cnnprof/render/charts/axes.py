"""Where ticks stand: round numbers, in decimal or binary, linear or logarithmic."""

from __future__ import annotations

import math
import re

__all__ = ["bytes_ticks", "close_log_ticks", "log_ticks", "short", "ticks"]


def ticks(largest: float, count: int = 4) -> tuple[float, list[float]]:
    """(top of the axis, ticks from 0) at steps of 1, 2, 2.5 or 5 times a power of ten."""
    if largest <= 0:
        return 1.0, [0.0, 1.0]
    rough = largest / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-12))
    steps = math.ceil(largest / step - 1e-9)
    return step * steps, [step * i for i in range(steps + 1)]


def bytes_ticks(largest: float, count: int = 4) -> tuple[float, list[float]]:
    """The same at round numbers of KiB, MiB, GiB."""
    if largest <= 0:
        return 1.0, [0.0]
    unit = 1024 ** min(5, max(0, math.floor(math.log(largest, 1024) + 1e-12)))
    top, marks = ticks(largest / unit, count)
    return top * unit, [mark * unit for mark in marks]


def log_ticks(low: float, high: float) -> tuple[float, float, list[float]]:
    """(bottom, top, ticks): whole powers of ten around [low, high]; every second one if there are many."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    step = 1 if last - first <= 6 else 2 if last - first <= 12 else 3
    return 10.0**first, 10.0**last, [10.0**i for i in range(first, last + 1, step)]


def close_log_ticks(low: float, high: float) -> tuple[float, float, list[float]]:
    """(bottom, top, ticks) at 1, 2 and 5 times powers of ten, close around [low, high]."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    marks = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    bottom = max(mark for mark in marks if mark <= low * (1 + 1e-9))
    top = min(mark for mark in marks if mark >= high * (1 - 1e-9) and mark > bottom)
    return bottom, top, [mark for mark in marks if bottom <= mark <= top]


def short(text: str) -> str:
    """A tick's text without zeros that say nothing: ``10.0 G`` -> ``10 G``."""
    return re.sub(r"\.0+(?=\D|$)", "", text)
