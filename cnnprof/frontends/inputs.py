"""Input descriptions as people write them: ``NAME=DTYPE:1x3x224x224``.

1x3x224x224              the only input, float32 (or what the model says)
image=1x3x480x640        by name
ids=int64:1x128          with a dtype
ids=int64:1x128:0..30521 token ids with their range, both ends included
step=int64:scalar        a scalar
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cnnprof.errors import UsageError
from cnnprof.ir import DType, Shape

__all__ = ["InputSpec", "parse_input", "parse_inputs"]

_FORM = "[NAME=][DTYPE:]SHAPE[:LOW..HIGH], e.g. 1x3x224x224 or ids=int64:1x128:0..30521"
_PATTERN = re.compile(
    r"(?:(?P<name>.+?)=)?(?:(?P<dtype>[a-z]+[0-9]*):)?"
    r"(?P<shape>scalar|[0-9]+(?:x[0-9]+)*)(?::(?P<low>-?[0-9]+)\.\.(?P<high>-?[0-9]+))?"
)
_MAX_DIM = 2**31 - 1


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input: ``name`` None means the model's only one; ``dtype`` None what the model says.
    ``low`` and ``high`` bound integer values, both included."""

    shape: Shape
    name: str | None = None
    dtype: DType | None = None
    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        bounds = "" if self.low is None else f":{self.low}..{self.high}"
        prefix = f"{self.name}=" if self.name else ""
        return f"{prefix}{self.dtype.value + ':' if self.dtype else ''}{shape}{bounds}"


def parse_input(text: str) -> InputSpec:
    """Read one ``--input``. Raises :class:`UsageError` naming the form that is expected."""
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--input {text!r}: not an input description", f"expected {_FORM}")
    dtype = None
    if match["dtype"] is not None:
        known = {d.value: d for d in DType if d.bits}
        if match["dtype"] not in known:
            raise UsageError(
                f"--input {text!r}: unknown dtype {match['dtype']!r}", f"one of {', '.join(sorted(known))}"
            )
        dtype = known[match["dtype"]]
    shape = () if match["shape"] == "scalar" else tuple(map(int, match["shape"].split("x")))
    if any(not 0 <= dim <= _MAX_DIM for dim in shape):
        raise UsageError(f"--input {text!r}: a dimension is larger than {_MAX_DIM}", "check the shape")
    low, high = (None, None) if match["low"] is None else (int(match["low"]), int(match["high"]))
    if low is not None and high is not None and low > high:
        raise UsageError(f"--input {text!r}: the range {low}..{high} is empty", "write LOW..HIGH")
    return InputSpec(shape, match["name"], dtype, low, high)


def parse_inputs(texts: Iterable[str | Shape | InputSpec]) -> tuple[InputSpec, ...]:
    """Read several; a name given twice is an error. Shapes and ready specs pass through."""
    specs = tuple(
        text if isinstance(text, InputSpec) else parse_input(text) if isinstance(text, str) else InputSpec(tuple(text))
        for text in texts
    )
    names = [spec.name for spec in specs if spec.name]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--input {name}: given twice", "give each input once")
    return specs
