"""Receptive fields measured under onnxruntime: the input is lit up position by position.

The model runs with monotone operators (:mod:`cnnprof.frontends.onnx.monotone`) on an input that is 1 at some
positions, in all channels, and 0 elsewhere; whatever element then isn't 0 is reached by one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnprof.analyses.receptive_field.propagate import Propagation
from cnnprof.analyses.receptive_field.result import UnitField
from cnnprof.errors import DependencyError, ModelError, UsageError
from cnnprof.ir import Graph
from cnnprof.measure.rf_check import FieldCheck, compare, units_to_check

if TYPE_CHECKING:
    import numpy as np

__all__ = ["verify_onnx"]

_MOST_POSITIONS = 4096
_BATCH = 64
_DTYPES = {"float32": "float32", "float64": "float64", "float16": "float16"}
Reached = dict[tuple[int, str], set[tuple[int, ...]]]  # (unit, input) -> positions


def verify_onnx(
    graph: Graph,
    propagation: Propagation,
    source: str | Path | bytes,
    *,
    layer: str | None = None,
    position: Sequence[int] | None = None,
) -> tuple[FieldCheck, ...]:
    """Compare predicted and reached positions of one layer's units, or of a few layers'.

    Raises :class:`UsageError` if the input has too many positions or an operator isn't handled,
    :class:`DependencyError` without onnxruntime, :class:`ModelError` if the model doesn't run.
    """
    from cnnprof.frontends.onnx.monotone import monotone_model

    if isinstance(source, str):
        source = Path(source)
    places = {name: _positions(graph, name, axes) for name, axes in propagation.axes.items() if axes}
    shapes = {name: graph.tensors[name].shape or () for name in graph.inputs}
    every = [op.outputs[0] for op in graph.ops if op.outputs and op.outputs[0] is not None]
    _, missing = monotone_model(source, [name for name in every if name is not None], shapes)
    candidates = [op for op in graph.ops if op.outputs and op.outputs[0] not in missing]
    units = units_to_check(graph, propagation, candidates, layer, position)
    if layer is None:  # a model of fixed size may not get as far as its output at a reduced input
        units = tuple(unit for unit in units if _gets_to(source, unit.tensor, graph, shapes)) or units
    taps = list(dict.fromkeys(unit.tensor for unit in units))
    reached: Reached = {(number, name): set() for number in range(len(units)) for name in places}
    for name, wanted in places.items():
        size = _largest_batch(source, taps, shapes, name)
        batched = {**shapes, name: (size * shapes[name][0], *shapes[name][1:])}
        session = _session(monotone_model(source, taps, batched)[0])
        for lit in _chunks(wanted, size):
            found = _run(session, taps, _feeds(graph, batched, name, propagation.axes[name], lit, size))
            for number, unit in enumerate(units):
                values = found[unit.tensor]
                share = values.shape[0] // size
                for slot, place in enumerate(lit):
                    if _lit(values[slot * share : (slot + 1) * share], unit):
                        reached[number, name].add(place)
    return tuple(
        check
        for number, unit in enumerate(units)
        for check in compare(unit, {name: frozenset(reached[number, name]) for name in places})
    )


def _positions(graph: Graph, name: str, axes: Sequence[int]) -> list[tuple[int, ...]]:
    shape = graph.tensors[name].shape or ()
    places = list(product(*(range(shape[axis]) for axis in axes)))
    if len(places) > _MOST_POSITIONS:
        size = "x".join("48" if axis in axes else str(n) for axis, n in enumerate(shape))
        raise UsageError(
            f"--verify: input {name!r} has {len(places):,} positions, one run each", f"try --input {name}={size}"
        )
    return places


def _gets_to(source: Path | bytes, tap: str, graph: Graph, shapes: Mapping[str, Any]) -> bool:
    from cnnprof.frontends.onnx.monotone import monotone_model

    try:
        session = _session(monotone_model(source, [tap], shapes)[0])
        found = _run(session, [tap], _feeds(graph, shapes, "", (), [], 1))
    except ModelError:
        return False
    return bool(found[tap].shape == graph.tensors[tap].shape)


def _largest_batch(source: Path | bytes, taps: list[str], shapes: Mapping[str, Any], name: str) -> int:
    """How many copies of the input the model takes at once: a batch if nothing in it fixes that, else 1."""
    import numpy as np

    from cnnprof.frontends.onnx.monotone import monotone_model

    if len(shapes) > 1:
        return 1
    sizes = []
    for size in (1, _BATCH):
        batched = {name: (size * shapes[name][0], *shapes[name][1:])}
        try:
            session = _session(monotone_model(source, taps, batched)[0])
            kind = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
            found = session.run(taps, {name: np.zeros(batched[name], {"float": "float32", "double": "float64"}[kind])})
        except Exception:  # whatever stops a batch, single runs will say
            return 1
        sizes.append([value.shape[0] if value.ndim else 0 for value in found])
    return _BATCH if all(many == _BATCH * one for one, many in zip(*sizes, strict=True)) else 1


def _session(model: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise DependencyError("--verify: needs onnxruntime", "pip install 'cnnprof[onnxruntime]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        line = str(error).splitlines()[0][:200]
        raise ModelError(f"--verify: onnxruntime can't load the probe ({line})", "check the model with onnx") from None


def _chunks(places: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _feeds(
    graph: Graph, shapes: Mapping[str, Any], name: str, axes: Sequence[int], lit: list[tuple[int, ...]], size: int
) -> dict[str, Any]:
    import numpy as np

    feeds: dict[str, Any] = {}
    for other, shape in shapes.items():
        kind = graph.tensors[other].dtype.value
        feeds[other] = np.zeros(shape, np.dtype(kind))
    share = shapes[name][0] // size if name else 0
    for slot, place in enumerate(lit):
        index: list[Any] = [slice(None)] * len(shapes[name])
        index[0] = slice(slot * share, (slot + 1) * share)
        for axis, at in zip(axes, place, strict=True):
            index[axis] = at
        feeds[name][tuple(index)] = 1
    return feeds


def _run(session: Any, taps: list[str], feeds: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(zip(taps, session.run(taps, feeds), strict=True))
    except Exception as error:
        line = str(error).splitlines()[0][:200]
        raise ModelError(f"--verify: the probe fails under onnxruntime ({line})", "try another --input") from None


def _lit(values: np.ndarray[Any, Any], unit: UnitField) -> bool:
    index: list[Any] = [slice(None)] * values.ndim
    for axis, at in zip(unit.axes, unit.position, strict=True):
        index[axis] = at
    return bool((values[tuple(index)] != 0).any())
