"""Numbers and names as text: SI prefixes, binary bytes, shares, shapes, and names made safe to print."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["exact", "nbytes", "percent", "plain", "seconds", "shape", "si", "signed", "threads"]

_SI = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
UNKNOWN = "?"


def si(value: float | None, unit: str = "", digits: int = 3) -> str:
    """``4089184256`` -> ``4.09 G``; with ``unit``, ``4.09 GMACs``. None is "?", never 0."""
    if value is None:
        return UNKNOWN
    number, prefix = float(value), 0
    while abs(number) >= 999.5 and prefix < len(_SI) - 1:
        number, prefix = number / 1000, prefix + 1
    text = str(int(value)) if prefix == 0 and float(value).is_integer() else _significant(number, digits)
    suffix = _SI[prefix] + unit
    return f"{text} {suffix}" if suffix else text


def nbytes(value: float | None) -> str:
    """``102228128`` -> ``97.5 MiB``."""
    if value is None:
        return UNKNOWN
    number, prefix = float(value), 0
    while abs(number) >= 1023.5 and prefix < len(_BINARY) - 1:
        number, prefix = number / 1024, prefix + 1
    return f"{int(number) if prefix == 0 else _significant(number, 3)} {_BINARY[prefix]}"


def seconds(value: float | None) -> str:
    """``0.01234`` -> ``12.3 ms``."""
    if value is None:
        return UNKNOWN
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= scale:
            return f"{_significant(value / scale, 3)} {unit}"
    return f"{_significant(value * 1e9, 3)} ns"


def percent(part: float | None, whole: float) -> str:
    """A share; "<0.1 %" where it's small but not nothing, "" where there is no whole."""
    if part is None:
        return UNKNOWN
    if not whole:
        return ""
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{share:.1f} %"


def signed(ratio: float, digits: int = 1) -> str:
    """``-0.343`` -> ``−34.3 %``, always with its sign; the minus is as wide as the plus."""
    return f"{100 * ratio:+.{digits}f} %".replace("-", "−")


def exact(value: int | None) -> str:
    """``4089184256`` -> ``4,089,184,256``."""
    return UNKNOWN if value is None else f"{value:,}"


def shape(dims: Sequence[int] | None) -> str:
    """``1×64×112×112``; a scalar is "scalar", an unknown shape "?"."""
    if dims is None:
        return UNKNOWN
    return "×".join(map(str, dims)) or "scalar"


def threads(count: int) -> str:
    """``1 thread``, ``4 threads``."""
    return f"{count} thread{'s' if count != 1 else ''}"


def plain(text: str) -> str:
    """A name from a model file, safe on a terminal: control characters are shown escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _significant(number: float, digits: int) -> str:
    """``digits`` significant ones, without exponent, trailing zeros kept (they say how exact it is)."""
    whole = len(str(int(abs(number))))
    return f"{number:.{max(0, digits - whole)}f}"
