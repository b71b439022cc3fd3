"""Every error cnnprof raises on purpose.

Each class has an exit code: 1 is a verdict (the gate's "no", not an exception), 2 usage, 3 the
model can't be read or analysed, 4 a dependency or device is missing, 5 a saved file has the wrong
schema. A message is one line: *where: expected, got*; the hint says what to do.
"""

from __future__ import annotations

__all__ = [
    "CnnprofError",
    "DependencyError",
    "DeviceError",
    "GraphError",
    "ModelError",
    "SchemaError",
    "ShapeError",
    "UnknownOperatorError",
    "UsageError",
    "first_line",
    "one_line",
]


class CnnprofError(Exception):
    """Base of all errors meant for the user: one line, and what to do about it."""

    exit_code = 3

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}; {self.hint}"


class UsageError(CnnprofError):
    """The command line or the arguments of a call are wrong."""

    exit_code = 2


class ModelError(CnnprofError):
    """The model can't be read: damaged file, unsupported format, factory that fails."""


class GraphError(ModelError):
    """The model's structure is impossible: undefined input, duplicate name, cycle."""


class ShapeError(ModelError):
    """A shape that the analysis needs is unbound, or shapes contradict each other."""


class UnknownOperatorError(ModelError):
    """``--strict`` was asked for and an operator has no known cost."""


class DependencyError(CnnprofError):
    """An optional dependency is not installed; the hint holds the install line."""

    exit_code = 4


class DeviceError(CnnprofError):
    """A device that was asked for isn't there."""

    exit_code = 4


class SchemaError(CnnprofError):
    """A saved file has another schema than this version reads."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """The first line of another library's message that says something, of readable length; its type where none does."""
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), type(error).__name__)


def one_line(error: BaseException) -> str:
    """Another library's exception in one line: its type, and :func:`first_line`."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"
