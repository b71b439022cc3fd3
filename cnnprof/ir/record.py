"""Frozen records that are made by the thousand."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

__all__ = ["quick_init"]

_Record = TypeVar("_Record")


def quick_init(cls: type[_Record]) -> type[_Record]:
    """Class decorator over ``@dataclass(frozen=True, slots=True)``: the same record, made in half the time.

    A frozen dataclass sets each field through ``object.__setattr__``, which looks the slot up by name every
    time. Here an object of a twin class of the same layout, which isn't frozen, is filled and then becomes one of
    ``cls``. Arguments and defaults stay as declared. A record is final: it has no subclasses.
    """
    twin = type(f"_{cls.__name__}Unfrozen", (), {"__slots__": cls.__slots__})  # type: ignore[attr-defined]
    names: dict[str, Any] = {"_new": object.__new__, "_twin": twin}
    parameters: list[str] = []
    lines: list[str] = []
    keywords = False
    for entry in fields(cls):  # type: ignore[arg-type]
        name = entry.name
        text = value = name
        if entry.default is not MISSING:
            names[f"_default_{name}"] = entry.default
            text = f"{name}=_default_{name}"
        elif entry.default_factory is not MISSING:
            names[f"_make_{name}"] = entry.default_factory
            names["_absent"] = _ABSENT
            text, value = f"{name}=_absent", f"_make_{name}() if {name} is _absent else {name}"
        if entry.kw_only and not keywords:
            parameters.append("*")
            keywords = True
        parameters.append(text)
        lines.append(f"    _self.{name} = {value}")
    body = "\n".join(lines)
    # As dataclasses does; _cls and _self can't be fields' names.
    exec(  # noqa: S102
        f"def __new__(_cls, {', '.join(parameters)}):\n    _self = _new(_twin)\n{body}\n"
        "    _self.__class__ = _cls\n    return _self",
        names,
    )
    made = names["__new__"]
    made.__qualname__ = f"{cls.__qualname__}.__new__"
    made.__annotations__ = getattr(cls.__init__, "__annotations__", {})
    type.__setattr__(cls, "__new__", staticmethod(made))
    type.__setattr__(cls, "__init__", object.__init__)
    type.__setattr__(cls, "__reduce__", _reduce)  # a copy isn't made from nothing
    return cls


def _reduce(record: Any) -> tuple[Any, ...]:
    return _rebuilt, (type(record), {entry.name: getattr(record, entry.name) for entry in fields(record)})


def _rebuilt(cls: type[Any], values: dict[str, Any]) -> Any:
    return cls(**values)


_ABSENT = object()
