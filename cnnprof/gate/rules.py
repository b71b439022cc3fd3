"""From a flat table to a :class:`Budget`: every value's type, unit and level is checked here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cnnprof.errors import UsageError
from cnnprof.frontends.inputs import parse_inputs
from cnnprof.gate.budget import (
    Budget,
    CoverageLimit,
    FieldLimit,
    Forbidden,
    IncreaseLimit,
    LayerLimit,
    Level,
    Limit,
    Origin,
    Rule,
)
from cnnprof.gate.flatten import Flat, Path, nearest
from cnnprof.gate.metrics import METRICS
from cnnprof.gate.quantity import Increase, parse_increase, parse_quantity, parse_share
from cnnprof.ir import DType

__all__ = ["budget_from", "rules_from"]


def budget_from(name: str, flat: Flat, *, origin: Origin, root: str) -> Budget:
    """Build a budget. Raises :class:`UsageError` naming the place of whatever is wrong."""
    models = _texts(flat, ("model",))
    if not models:
        raise UsageError(f"{origin}: names no model", 'add model = "path/to/model.onnx" (globs are fine)')
    inputs = _texts(flat, ("inputs",))
    _placed(flat, ("inputs",), lambda: parse_inputs(inputs))
    rules = tuple(rules_from(flat, origin))
    if not any(not isinstance(rule, CoverageLimit) or rule.stated for rule in rules) and not _off(flat):
        raise UsageError(f"{origin}: holds no limit", 'add one, e.g. macs = "600M"')
    return Budget(
        name=name,
        models=models,
        origin=origin,
        model_origin=flat[("model",)][1],
        root=root,
        inputs=inputs,
        batch=_batch(flat),
        kwargs=_kwargs(flat),
        device=_device(flat),
        rules=rules,
    )


def rules_from(flat: Flat, origin: Origin) -> Iterator[Rule]:
    """The rules of a flat table, those switched off left out."""
    for path, (value, where) in flat.items():
        level = _level(flat, path)
        if level is Level.OFF:
            continue
        head = path[0]
        if head in METRICS:
            maximum = value.get("max") if isinstance(value, dict) else value
            quantity = parse_quantity(maximum, METRICS[head].dimension, str(where))
            yield Limit(id=head, level=level, origin=where, metric=head, maximum=quantity)
        elif head == "max_increase":
            metric = path[1]
            increase = parse_increase(value, METRICS[metric].dimension, str(where))
            yield IncreaseLimit(
                id=f"max_increase.{metric}", level=level, origin=where, metric=metric, increase=increase
            )
        elif head == "max_share":
            yield LayerLimit(
                id=f"max_share.{path[1]}", level=level, origin=where, metric=path[1], pattern="*", each=True,
                share=parse_share(value, str(where)),
            )  # fmt: skip
        elif head == "layers" and path[-1] != "level":
            yield _layer(path, value, where, level)
        elif head in ("forbid_ops", "forbid_dtypes"):
            patterns = _texts(flat, path)
            if head == "forbid_dtypes":
                _check_dtypes(patterns, where)
            yield Forbidden(id=head, level=level, origin=where, what=head[7:], patterns=patterns)
        elif head == "ratchet":
            for metric in _ratchets(value, where):
                yield IncreaseLimit(
                    id=f"ratchet.{metric}", level=level, origin=where, metric=metric,
                    increase=Increase(absolute=0), ratchet=True,
                )  # fmt: skip
    yield from _coverage(flat, origin)
    yield from _field(flat)


def _layer(path: Path, value: Any, where: Origin, level: Level) -> LayerLimit:
    metric, pattern, kind = path[-1], path[1], path[2] if len(path) == 4 else ""
    middle = f"{kind}." if kind else ""
    share = parse_share(value, str(where)) if kind == "max_share" else None
    maximum = None if share is not None else parse_quantity(value, METRICS[metric].dimension, str(where))
    return LayerLimit(
        id=f"layers.{pattern}.{middle}{metric}", level=level, origin=where, metric=metric, pattern=pattern,
        each=kind == "each", maximum=maximum, share=share,
    )  # fmt: skip


def _coverage(flat: Flat, origin: Origin) -> Iterator[CoverageLimit]:
    level = _level(flat, ("min_coverage",))
    if level is Level.OFF:
        return
    stated = ("min_coverage",) in flat
    # Unless stated otherwise every operator must be countable: a sum with holes can't be held to a limit.
    value, where = flat[("min_coverage",)] if stated else ("100%", origin)
    minimum = parse_share(value, str(where))
    yield CoverageLimit(
        id="min_coverage",
        level=level if stated else Level.ERROR,
        origin=where,
        minimum=minimum,
        stated=stated,
    )


def _field(flat: Flat) -> Iterator[FieldLimit]:
    ends = {end: flat.get(("receptive_field", end)) for end in ("min", "max")}
    level = _level(flat, ("receptive_field",))
    present = [entry for entry in ends.values() if entry is not None]
    if not present or level is Level.OFF:
        return
    sizes = {end: None if entry is None else _axes(*entry) for end, entry in ends.items()}
    low, high = sizes["min"], sizes["max"]
    if low and high and any(a > b for a, b in zip(_spread(low, high), _spread(high, low), strict=False)):
        raise UsageError(f"{present[0][1]}: the minimum is larger than the maximum", "swap them")
    layer = _texts(flat, ("receptive_field", "layer"))
    yield FieldLimit(
        id="receptive_field", level=level, origin=present[0][1], minimum=low, maximum=high,
        layer=layer[0] if layer else None,
    )  # fmt: skip


def _spread(sizes: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return sizes * len(other) if len(sizes) == 1 else sizes


def _axes(value: object, where: Origin) -> tuple[int, ...]:
    values = value if isinstance(value, list) and value else [value]
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            raise UsageError(f"{where}: expected pixels, got {item!r}", "write 224, or [224, 96] per axis")
    return tuple(values)


def _ratchets(value: object, where: Origin) -> tuple[str, ...]:
    if value is True:
        return ("macs", "parameters")
    if value is False:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{where}: expected true or a list of keys", 'e.g. ratchet = ["macs"]')
    for name in names:
        if name not in METRICS:
            raise UsageError(f"{where}: unknown key {name!r}", nearest(name, METRICS))
    return tuple(dict.fromkeys(names))


def _level(flat: Flat, path: Path) -> Level:
    """The rule's own level, its entry in ``levels``, its layer table's, the budget's: the first there is."""
    value = flat.get(path, (None, None))[0]
    if path[0] in METRICS and isinstance(value, dict):
        where = flat[path][1]
        for key in value:
            if key not in ("max", "level"):
                raise UsageError(f"{where}.{key}: unknown key", nearest(key, ("max", "level")))
        if "max" not in value:
            raise UsageError(f"{where}: has no max", '{ max = "600M", level = "warn" }')
        if "level" in value:
            return _as_level(value["level"], where)
    candidates = [
        ("levels", ".".join(path[:2])), ("levels", path[0]), (*path[:2], "level"), ("level",),
    ]  # fmt: skip
    for candidate in candidates:
        if candidate in flat:
            return _as_level(*flat[candidate])
    return Level.ERROR


def _as_level(value: object, where: Origin) -> Level:
    try:
        return Level(value)
    except ValueError:
        raise UsageError(f"{where}: level {value!r} is not one", 'write "off", "warn" or "error"') from None


def _off(flat: Flat) -> bool:
    """True if a limit is written, though it may be switched off."""
    own = ("model", "inputs", "batch", "device", "kwargs", "extends", "level", "levels")
    return any(path[0] not in own for path in flat)


def _texts(flat: Flat, path: Path) -> tuple[str, ...]:
    if path not in flat:
        return ()
    value, where = flat[path]
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise UsageError(f"{where}: expected a string or a list of strings, got {value!r}", "correct the value")
    return tuple(values)


def _batch(flat: Flat) -> int | None:
    value, where = flat.get(("batch",), (None, None))
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"{where}: expected a whole number from 1, got {value!r}", "e.g. batch = 1")
    return value


def _device(flat: Flat) -> str | None:
    value, where = flat.get(("device",), (None, None))
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"{where}: expected a device's name, got {value!r}", "see: cnnprof devices list")
    if value is None and ("latency",) in flat:
        raise UsageError(f"{flat[('latency',)][1]}: no device to predict it for", 'add device = "NAME"')
    return value


def _kwargs(flat: Flat) -> dict[str, Any]:
    value, where = flat.get(("kwargs",), ({}, None))
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected a table, got {value!r}", "e.g. kwargs = { num_classes = 10 }")
    return value


def _check_dtypes(patterns: tuple[str, ...], where: Origin) -> None:
    known = [dtype.value for dtype in DType]
    for pattern in patterns:
        if re.fullmatch(r"\w+", pattern) and pattern not in known:
            raise UsageError(f"{where}: unknown dtype {pattern!r}", nearest(pattern, known))


def _placed(flat: Flat, path: Path, action: Any) -> None:
    """Run ``action``; a usage error in it is told with the place of ``path`` in front."""
    try:
        action()
    except UsageError as error:
        message = error.message.removeprefix("--input ")
        raise UsageError(f"{flat[path][1]}: {message}", error.hint) from None
