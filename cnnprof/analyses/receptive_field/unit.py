"""The field of one unit, by layer name and position."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cnnprof.analyses.receptive_field.propagate import Propagation, propagate
from cnnprof.analyses.receptive_field.pullback import global_reads, pull_back
from cnnprof.analyses.receptive_field.region import Region, box, project
from cnnprof.analyses.receptive_field.relations import relations_of
from cnnprof.analyses.receptive_field.result import SeenInput, UnitField
from cnnprof.errors import ShapeError, UsageError
from cnnprof.ir import Graph, Op
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import DataDependent

__all__ = ["find_layer", "unit_axes", "unit_field"]


def unit_field(
    graph: Graph,
    layer: str | None = None,
    position: Sequence[int] | None = None,
    *,
    output: int = 0,
    propagation: Propagation | None = None,
) -> UnitField:
    """The exact set of input positions that reach one unit of ``layer``'s output number ``output``.

    ``layer`` None is the layer that makes the graph's first output. ``position`` is one index per spatial
    axis of that output (None: its middle); a unit is the position with all channels and samples together.
    Raises :class:`UsageError` for a layer that isn't there (with the nearest names), a position outside, or
    one with more or fewer indices than spatial axes; :class:`ShapeError` if the shape isn't known.
    """
    op = _last(graph) if layer is None else find_layer(graph, layer)
    if output >= len(op.outputs) or op.outputs[output] is None:
        raise UsageError(f"{op.name}: has no output {output}", f"it has {len(op.present_outputs)}")
    name = op.outputs[output]
    assert name is not None
    shape = graph.tensors[name].shape
    if shape is None:
        raise ShapeError(f"{op.name}: the shape of {name!r} depends on data", "choose an earlier layer")
    spread = propagation or propagate(graph)
    axes = unit_axes(graph, spread, name)
    extent = tuple(shape[axis] for axis in axes)
    where = _checked(op.name, position, axes, extent)
    picked = [(1 << size) - 1 for size in shape]
    for axis, index in zip(axes, where, strict=True):
        picked[axis] = 1 << index
    region = box(picked or [1])
    whole = pull_back(graph, spread, name, region)
    skipped = global_reads(graph, spread)
    near = pull_back(graph, spread, name, region, without=skipped) if skipped else whole
    return UnitField(
        layer=op.name,
        tensor=name,
        axes=axes,
        extent=extent,
        position=where,
        exact=not _guessed(graph, spread, name),
        inputs=tuple(
            _seen(graph, spread, source, whole[source], near.get(source, ())) for source in whole if spread.axes[source]
        ),
    )


def unit_axes(graph: Graph, propagation: Propagation, tensor: str) -> tuple[int, ...]:
    """The axes of a tensor along which its units move over some graph input; all after batch and channels
    if every path is global."""
    fields = propagation.fields.get(tensor, {})
    found = {
        digit.axis for rows in fields.values() for field in rows for strand in field.strands for digit in strand.digits
    }
    if found or any(field.strands for rows in fields.values() for field in rows):
        return tuple(sorted(found))
    return tuple(range(2, len(graph.tensors[tensor].shape or ())))


def find_layer(graph: Graph, name: str) -> Op:
    """A layer by name or module path. Raises :class:`UsageError` with the nearest names."""
    op = graph.op_by_name.get(name)
    if op is not None:
        return op
    path = name.replace(".", "/").strip("/")
    inside = [op for op in graph.ops if op.scope == path or op.scope.startswith(path + "/")]
    if inside:
        return inside[-1]
    names = [op.name for op in graph.ops] + sorted({op.scope for op in graph.ops if op.scope})
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(map(repr, close))}?" if close else "cnnprof rf MODEL lists the layers"
    raise UsageError(f"--layer {name!r}: no such layer in {graph.source.name}", hint)


def _last(graph: Graph) -> Op:
    for name in graph.outputs:
        if name in graph.producer:
            return graph.producer[name]
    raise UsageError(f"{graph.source.name}: the graph has no layer that makes an output", "name one: --layer")


def _checked(layer: str, position: Sequence[int] | None, axes: Shape, extent: Shape) -> Shape:
    if position is None:
        return tuple(size // 2 for size in extent)
    where = tuple(position)
    if len(where) != len(axes):
        said = ", ".join(f"axis {axis} of {size}" for axis, size in zip(axes, extent, strict=True)) or "none"
        raise UsageError(
            f"--position {','.join(map(str, where))}: {layer} has {len(axes)} spatial axes",
            f"its spatial axes: {said}",
        )
    for axis, index, size in zip(axes, where, extent, strict=True):
        if not 0 <= index < size:
            raise UsageError(
                f"--position {','.join(map(str, where))}: {index} is outside axis {axis} of {layer}",
                f"expected 0 to {size - 1}",
            )
    return where


def _seen(graph: Graph, spread: Propagation, source: str, region: Region, near: Region) -> SeenInput:
    shape = graph.tensors[source].shape or ()
    axes = spread.axes[source]
    return SeenInput(
        input=source,
        axes=axes,
        extent=tuple(shape[axis] for axis in axes),
        region=project(region, len(shape), axes),
        local=project(near, len(shape), axes),
    )


def _guessed(graph: Graph, spread: Propagation, tensor: str) -> bool:
    """True if an op on the way reads positions that depend on data, or isn't known."""
    wanted = {tensor}
    for op in reversed(graph.ops):
        if not wanted.intersection(op.present_outputs):
            continue
        rows = spread.relations.get(op.name) or relations_of(graph, op)
        for row in rows:
            for name, relation in zip(op.inputs, row, strict=False):
                if name is None or relation is None or name not in spread.fields:
                    continue
                if isinstance(relation, DataDependent):
                    return True
                wanted.add(name)
    return False
