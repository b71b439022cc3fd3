"""All layers' receptive fields: the propagated strands, read off as sizes, strides and starts."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from cnnprof.analyses.receptive_field.field import AxisField
from cnnprof.analyses.receptive_field.propagate import Propagation, propagate
from cnnprof.analyses.receptive_field.result import AxisWindow, LayerField, ReceptiveFields
from cnnprof.analyses.receptive_field.sets import fraction, unite
from cnnprof.ir import Graph
from cnnprof.ir.collection import collection_paused
from cnnprof.ir.tensor import Shape

_ONE = Fraction(1)

__all__ = ["fields_of", "receptive_field"]


@collection_paused()
def receptive_field(graph: Graph, axes: Mapping[str, tuple[int, ...]] | None = None) -> ReceptiveFields:
    """The receptive field of every layer that sees a graph input, and of every graph output.

    ``axes`` overrides which axes of a graph input are spatial. Nothing raises for what can't be followed:
    such windows are given as global with ``exact`` false.
    """
    return fields_of(graph, propagate(graph, axes))


def fields_of(graph: Graph, propagation: Propagation) -> ReceptiveFields:
    """The rows of a finished propagation."""
    reader = _Reader(graph, propagation)
    rows: list[LayerField] = []
    by_tensor: dict[str, tuple[LayerField, ...]] = {}
    for op in graph.ops:
        for output in op.present_outputs[:1]:
            made = reader.rows(output, (op.name, op.kind, op.scope))
            by_tensor[output] = made
            rows += made
    outputs = {}
    for name in graph.outputs:
        producer = graph.producer.get(name)
        label = (producer.name, producer.kind, producer.scope) if producer else (name, "input", "")
        outputs[name] = by_tensor.get(name) or reader.rows(name, label)
    return ReceptiveFields(rows=tuple(rows), outputs=outputs)


class _Reader:
    """Reads rows off a propagation, each window and each set of them once. What is known is found by identity: fields
    live as long as the propagation, and hashing their sets costs more than reading them off again."""

    def __init__(self, graph: Graph, propagation: Propagation) -> None:
        self._graph, self._propagation = graph, propagation
        self._windows: dict[tuple[int, int, int, Shape], AxisWindow] = {}
        self._rows: dict[tuple[int, Shape], tuple[LayerField, ...]] = {}

    def rows(self, tensor: str, label: tuple[str, str, str]) -> tuple[LayerField, ...]:
        """What ``tensor`` sees, a row for each graph input; ``label`` is its layer's name, kind and scope."""
        fields = self._propagation.fields.get(tensor)
        if not fields:
            return ()
        shape = self._graph.tensors[tensor].shape or ()
        known = self._rows.get((id(fields), shape))
        if known is not None:
            return tuple([row.relabelled(*label) for row in known])
        found = tuple([self._row(label, source, seen, shape) for source, seen in fields.items()])
        self._rows[id(fields), shape] = found
        return found

    def _row(self, label: tuple[str, str, str], source: str, fields: tuple[AxisField, ...], shape: Shape) -> LayerField:
        extents = self._graph.tensors[source].shape or ()
        windows = []
        for axis, field in zip(self._propagation.axes[source], fields, strict=True):
            simple = len(field.strands) == 1 and len(field.strands[0].digits) == 1
            key = (id(field), axis, extents[axis], () if simple else shape)
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _window(field, axis, extents[axis], shape)
            windows.append(window)
        return LayerField(
            layer=label[0],
            kind=label[1],
            scope=label[2],
            input=source,
            axes=tuple(windows),
            gridding_layer=next(filter(None, [f.gridded_by for f in fields]), None),
            misaligned_by=next(filter(None, [f.misaligned_by for f in fields]), None),
            data_dependent=any([f.data_dependent for f in fields]),  # noqa: C419  (short; a list is quicker)
            unknown=any([f.unknown for f in fields]),  # noqa: C419  (short; a list is quicker)
        )


def _window(field: AxisField, axis: int, extent: int, shape: Shape) -> AxisWindow:
    size: int | None = None
    stride = centre = None
    start: int | None = None
    density = _ONE
    sizes: tuple[int, ...] = ()
    if len(field.strands) == 1:
        window = field.strands[0].window
        size, stride, density = window.size, window.ratio, window.density
        first = window.phases[0]
        start = first.start if first.size else min((p.start for p in window.phases if p.size), default=0)
        if len(window.phases) > 1:
            sizes = tuple([phase.size for phase in window.phases])
            centre = window.centre
        else:
            centre = fraction(2 * start + size - 1, 2)
    elif field.strands:
        stride = min(strand.window.ratio for strand in field.strands)
        first = unite(strand.window.at(0) for strand in field.strands)
        middle = unite(strand.at(tuple(n // 2 for n in shape)) for strand in field.strands) if shape else first
        size = max(middle.size, first.size)
        start, centre = first.start, first.start + Fraction(first.size - 1, 2)
        density = Fraction(middle.count, middle.size) if middle.size else density
    return AxisWindow(
        axis=axis,
        extent=extent,
        is_global=field.is_global,
        size=size,
        stride=stride,
        start=start,
        centre=centre,
        density=density,
        aligned=field.misaligned_by is None,
        exact=field.exact,
        phase_sizes=sizes if sizes and len(set(sizes)) > 1 else (),
        branches=field.branches,
    )
