"""Quantities as people write them: ``"4.2 GMACs"``, ``"25M"``, ``"64 MiB"``, ``"5 ms"``, ``"2%"``.

Counts are read exactly (no float in between): "4.2 GMACs" is 4,200,000,000. A unit of another dimension is an
error that names the right ones. Factors: SI prefixes (k, M, G, T, P) are powers of 1000; binary ones (KiB,
MiB, ...) powers of 1024.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from cnnprof.errors import UsageError

__all__ = ["Dimension", "Increase", "exact_text", "parse_increase", "parse_quantity", "parse_share", "show"]

_NUMBER = re.compile(
    r"(?P<number>[0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)\s*(?P<unit>[^\s\d]*(?:\s+[A-Za-z]+)?)"
)
_SI = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_LARGEST = 2**63 - 1


class Dimension(Enum):
    """What a limit is a number of. ``value`` is the word for messages."""

    MACS = "MACs"
    FLOPS = "FLOPs"
    COUNT = "evaluations"
    PARAMETERS = "parameters"
    ELEMENTS = "elements"
    BYTES = "bytes"
    SECONDS = "seconds"
    PIXELS = "pixels"
    SHARE = "share"

    @property
    def example(self) -> str:
        return _EXAMPLES[self]


_EXAMPLES = {
    Dimension.MACS: '"4.2 GMACs", "4.2G" or 4200000000',
    Dimension.FLOPS: '"8.4 GFLOPs", "8.4G" or 8400000000',
    Dimension.COUNT: '"2M" or 2000000',
    Dimension.PARAMETERS: '"25M", "25M params" or 25000000',
    Dimension.ELEMENTS: '"10M" or 10000000',
    Dimension.BYTES: '"64 MiB", "64 MB" or 67108864 (units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)',
    Dimension.SECONDS: '"5 ms" (units s, ms, us, µs, ns)',
    Dimension.PIXELS: '427 or "427 px"',
    Dimension.SHARE: '"30%" or 0.3',
}
# Words a unit may end in, by dimension; what stands before is an SI prefix.
_WORDS: Mapping[Dimension, tuple[str, ...]] = {
    Dimension.MACS: ("macs", "mac"),
    Dimension.FLOPS: ("flops", "flop"),
    Dimension.COUNT: ("evaluations",),
    Dimension.PARAMETERS: ("parameters", "params", "param"),
    Dimension.ELEMENTS: ("elements",),
    Dimension.PIXELS: ("pixels", "px"),
}
_BYTES = {
    "": 1, "B": 1, "bytes": 1, "byte": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_SECONDS = {
    "s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6), "ns": Fraction(1, 10**9),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Increase:
    """How much more than the baseline is allowed: ``relative`` ("2%" is 1/50) or ``absolute``; the other is None."""

    relative: Fraction | None = None
    absolute: int | Fraction | None = None

    def limit(self, base: float) -> Fraction:
        """The largest value allowed over ``base``."""
        if self.relative is not None:
            return Fraction(base) * (1 + self.relative)
        return Fraction(base) + Fraction(self.absolute or 0)

    def __str__(self) -> str:
        if self.relative is not None:
            return f"{_decimal(self.relative * 100)}%"
        return f"{_decimal(Fraction(self.absolute or 0))}"


def parse_quantity(value: object, dimension: Dimension, where: str) -> int | Fraction:
    """A limit: an int for counts, bytes and pixels, an exact Fraction of seconds.

    ``where`` names the key (and its line) in messages. Raises :class:`UsageError`.
    """
    if dimension is Dimension.SHARE:
        return parse_share(value, where)
    number, unit = _split(value, where, dimension.example)
    factor = _factor(unit, dimension, where, value)
    result = number * factor
    if result > _LARGEST:
        raise UsageError(f"{where}: {value!r} is larger than any model ({_LARGEST})", "check the prefix")
    # A limit of 1234.5 MACs allows 1234 and not 1235: rounding down says exactly the same.
    return result if dimension is Dimension.SECONDS else int(result)


def parse_share(value: object, where: str) -> Fraction:
    """``"30%"`` or 0.3, from 0 to 1. Raises :class:`UsageError`."""
    number, unit = _split(value, where, Dimension.SHARE.example)
    if unit not in ("", "%"):
        raise UsageError(f"{where}: {value!r} has the unit {unit!r}", f"write {Dimension.SHARE.example}")
    share = number / 100 if unit == "%" else number
    if share > 1:
        raise UsageError(f"{where}: {value!r} is more than 100%", f"write {Dimension.SHARE.example}")
    return share


def parse_increase(value: object, dimension: Dimension, where: str) -> Increase:
    """``"2%"`` relative to the baseline; ``0``, ``"10k"`` or ``"5 MMACs"`` on top of it."""
    if isinstance(value, str) and value.strip().endswith("%"):
        number, unit = _split(value, where, '"2%" or 0')
        if unit != "%":
            raise UsageError(f"{where}: {value!r} is not a percentage", 'write "2%" or 0')
        return Increase(relative=number / 100)
    if isinstance(value, float) and not value.is_integer():
        raise UsageError(
            f"{where}: {value!r} is neither a percentage nor a whole number",
            f'write "{_decimal(Fraction(str(value)) * 100)}%" or an amount such as {dimension.example}',
        )
    if value == 0 and not isinstance(value, bool):
        return Increase(absolute=0)
    return Increase(absolute=parse_quantity(value, dimension, where))


def show(value: float | Fraction | None, dimension: Dimension) -> str:
    """For people: three digits and a prefix beside the exact count (``4.09G (4,089,184,256)``)."""
    if value is None:
        return "unknown"
    if dimension is Dimension.SECONDS:
        return _seconds(float(value))
    if dimension is Dimension.SHARE:
        return f"{float(value) * 100:.4g}%"
    whole = int(value)
    if dimension is Dimension.BYTES:
        short = _scaled(whole, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
        return short if whole < 1024 else f"{short} ({whole:,})"
    if dimension is Dimension.PIXELS or whole < 10_000:
        return f"{whole:,}"
    return f"{_scaled(whole, 1000, ('', 'k', 'M', 'G', 'T', 'P'))} ({whole:,})"


def exact_text(value: float | Fraction | None, dimension: Dimension) -> str:
    """Short and exact enough to tell neighbours apart: whole counts, seconds with a unit."""
    if value is None:
        return "unknown"
    if dimension in (Dimension.SECONDS, Dimension.SHARE):
        return show(value, dimension)
    return f"{int(value):,}"


def _split(value: object, where: str, example: str) -> tuple[Fraction, str]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UsageError(f"{where}: expected a quantity, got {type(value).__name__}", f"write {example}")
    text = str(value).strip()
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"{where}: {text!r} is not a quantity", f"write {example}")
    return Fraction(match["number"].replace(",", "").replace("_", "")), "".join(match["unit"].split())


def _factor(unit: str, dimension: Dimension, where: str, value: object) -> int | Fraction:
    if dimension is Dimension.BYTES and unit in _BYTES:
        return _BYTES[unit]
    if dimension is Dimension.SECONDS and unit in _SECONDS:
        return _SECONDS[unit]
    for word in (*_WORDS.get(dimension, ()), ""):
        if unit.lower().endswith(word) and dimension in _WORDS:
            prefix = unit[: len(unit) - len(word)]
            if prefix in _SI:
                return _SI[prefix]
    if dimension is Dimension.PARAMETERS and unit == "B":
        return 10**9
    problem = f"the unit {unit!r} is not one of {dimension.value}" if unit else "the unit is missing"
    hint = f"write {dimension.example}"
    if dimension is Dimension.MACS and unit.lower().endswith("flops"):
        hint += "; one MAC is two FLOPs: to limit FLOPs use the key flops"
    raise UsageError(f"{where}: {value!r}: {problem}", hint)


def _scaled(value: int, base: int, units: tuple[str, ...]) -> str:
    number, index = float(value), 0
    while number >= base and index < len(units) - 1:
        number, index = number / base, index + 1
    digits = f"{number:.0f}" if index == 0 else f"{number:.{max(0, 3 - len(str(int(number))))}f}"
    return f"{digits} {units[index]}" if units[0] else f"{digits}{units[index]}"


def _seconds(value: float) -> str:
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value * 1e9:.4g} ns"


def _decimal(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"
