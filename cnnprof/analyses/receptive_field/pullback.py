"""The exact receptive field of one unit: its set of input positions, followed back op by op.

Every tensor on the way holds the set of its elements that reach the unit; what falls outside a tensor is
padding and drops out there, so that units at the border get what they really see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cnnprof.analyses.receptive_field.field import pull, shapes_along
from cnnprof.analyses.receptive_field.propagate import Propagation
from cnnprof.analyses.receptive_field.region import Region, full, preimage, unite
from cnnprof.analyses.receptive_field.relations import in_place_of, relations_of, steps
from cnnprof.ir import Graph
from cnnprof.ir.tensor import Shape
from cnnprof.ops.window import Relation

__all__ = ["global_reads", "pull_back"]

Read = tuple[str, int, int]  # op name, output index, input index


def pull_back(
    graph: Graph,
    propagation: Propagation,
    tensor: str,
    region: Region,
    *,
    without: Collection[Read] = (),
) -> Mapping[str, Region]:
    """Graph input -> its region that reaches ``region`` of ``tensor``. Reads in ``without`` are skipped."""
    pending: dict[str, Region] = {tensor: region}
    for op in reversed(graph.ops):
        rows = None
        for output, name in enumerate(op.outputs):
            wanted = pending.pop(name, ()) if name is not None and name not in graph.inputs else ()
            if not wanted:
                continue
            rows = rows or propagation.relations.get(op.name) or relations_of(graph, op)
            out_shape = graph.tensors[name].shape  # type: ignore[index]
            for index, (source, relation) in enumerate(zip(op.inputs, rows[output], strict=False)):
                if source is None or relation is None:
                    continue
                shape = graph.tensors[source].shape
                if (op.name, output, index) in without:
                    relation = in_place_of(op, index, shape)  # noqa: PLW2901
                    if relation is None:
                        continue
                if shape is None:
                    continue
                found = full(shape) if out_shape is None else _through(wanted, relation, shape, out_shape)
                if found:
                    pending[source] = unite(pending.get(source, ()), found)
    return {name: pending[name] for name in graph.inputs if name in pending}


def _through(region: Region, relation: Relation, input_shape: Shape, output_shape: Shape) -> Region:
    links = steps(relation)
    shapes = [*shapes_along(links, input_shape), output_shape]
    for number, link in enumerate(links):
        after, before = shapes[len(links) - number], shapes[len(links) - number - 1]
        region = preimage(region, link, before, after)
    return region


def global_reads(graph: Graph, propagation: Propagation) -> frozenset[Read]:
    """The reads that see a whole spatial axis (gates, global pooling, attention): no part of a local path."""
    found: set[Read] = set()
    for op in graph.ops:
        rows = propagation.relations.get(op.name, ())
        for output, row in enumerate(rows):
            for index, (name, relation) in enumerate(zip(op.inputs, row, strict=False)):
                if name is None or relation is None or name not in propagation.fields:
                    continue
                shape = graph.tensors[name].shape or ()
                for axis_fields in propagation.fields[name].values():
                    for field in axis_fields:
                        if field.strands and not pull(field, relation, shape).strands:
                            found.add((op.name, output, index))
    return frozenset(found)
