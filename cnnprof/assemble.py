"""From a Graph and its analyses to a Profile: no arithmetic of its own, only names of the schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from cnnprof import __version__
from cnnprof.analyses.complexity import Complexity, LayerCost
from cnnprof.ir import DType, Graph, Op, Tensor
from cnnprof.profile import CONVENTION, Layer, Profile

__all__ = ["profile_of"]

_BOUNDED = ("macs", "flops", "transcendentals")
_DTYPES = {dtype: dtype.value for dtype in DType}  # an Enum's value is looked up by Python code


def profile_of(
    graph: Graph,
    costs: Complexity,
    *,
    layer_sections: Mapping[str, Mapping[str, Any]] | None = None,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    totals: Mapping[str, Any] | None = None,
) -> Profile:
    """Put results together. ``layer_sections`` maps a key ("receptive_field") to objects by layer name;
    ``sections`` are top-level ones; ``totals`` joins the totals (``peak_bytes`` of the memory analysis).
    """
    source = graph.source
    attributes = _Attributes()
    model = {
        "reference": source.reference,
        "name": source.name,
        "format": source.format,
        "digest": source.digest,
    }
    return Profile(
        tool={"name": "cnnprof", "version": __version__},
        model=model if source.opset is None else {**model, "opset": source.opset},
        inputs=tuple(_tensor(graph.tensors[name]) for name in graph.inputs),
        outputs=tuple(_tensor(graph.tensors[name]) for name in graph.outputs),
        mode=graph.mode,
        convention=CONVENTION,
        totals={**_totals(costs), **(totals or {})},
        bounds=_bounds(costs),
        coverage=_coverage(costs),
        layers=tuple(
            Layer(_layer(graph, op, row, layer_sections or {}, attributes))
            for op, row in zip(graph.ops, costs.rows, strict=True)
        ),
        warnings=tuple(
            {"code": n.code, "message": n.message} | ({"layer": n.layer} if n.layer else {}) for n in graph.notes
        ),
        **(sections or {}),
    )


def _tensor(tensor: Tensor) -> dict[str, Any]:
    if tensor.shape is None:
        return {"name": tensor.name, "dtype": _DTYPES[tensor.dtype]}
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": _DTYPES[tensor.dtype]}


def _totals(costs: Complexity) -> dict[str, Any]:
    work = costs.work
    intensity = costs.arithmetic_intensity
    return {
        "macs": costs.macs,
        "flops": costs.flops,
        "transcendentals": work.transcendental,
        "work": work.to_dict(),
        "parameters": costs.parameters,
        "buffers": costs.buffers,
        "parameter_bytes": costs.parameter_bytes,
        "buffer_bytes": costs.buffer_bytes,
        "activation_elements": costs.activation_elements,
        "activation_bytes": costs.activation_bytes,
        "bytes_read": costs.bytes_read,
        "bytes_written": costs.bytes_written,
    } | ({} if intensity is None else {"arithmetic_intensity": intensity})


def _bounds(costs: Complexity) -> dict[str, Any] | None:
    """Ranges, where control flow or unknown operators leave one."""
    if costs.settled:
        return None
    ranges = {name: costs.bounds(attrgetter(name)) for name in _BOUNDED}
    open_ranges = {name: list(ends) for name, ends in ranges.items() if ends[0] != ends[1]}
    return open_ranges or None


def _coverage(costs: Complexity) -> dict[str, Any]:
    return {
        "ops": len(costs.rows),
        "counted": costs.counted,
        "zero_by_definition": costs.zero_by_definition,
        "unknown": [
            {"op_type": g.op_type, "count": g.count, "layers": list(g.layers), "reason": g.reason}
            for g in costs.unknown
        ],
        "complete": costs.complete,
    }


class _Attributes(dict[int, dict[str, Any]]):
    """Attributes as JSON, by the identity of the object that many ops of a graph may share."""

    def of(self, op: Op) -> dict[str, Any]:
        found = self.get(id(op.attributes))
        if found is None:
            found = self[id(op.attributes)] = {key: _json(value) for key, value in op.attributes.items()}
        return found


def _layer(
    graph: Graph, op: Op, row: LayerCost, sections: Mapping[str, Mapping[str, Any]], attributes: _Attributes
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": op.name,
        "kind": op.kind,
        "op_type": op.op_type,
        "scope": op.scope,
        "inputs": list(op.inputs),
        "outputs": [_tensor(graph.tensors[name]) for name in op.present_outputs],
        "attributes": attributes.of(op),
        "parameters": row.parameters,
        "parameter_bytes": row.parameter_bytes,
        "activation_elements": row.activation_elements,
    }
    work = row.work
    if work is None:
        data["unknown"] = row.reason
    else:
        data["work"] = work.to_dict()
        data["macs"] = work.mac
        data["flops"] = work.flops
        data["transcendentals"] = work.transcendental
    if row.activation_bytes is not None:
        data["activation_bytes"] = row.activation_bytes
    if row.bytes_read is not None:
        data["bytes_read"] = row.bytes_read
    if row.bytes_written is not None:
        data["bytes_written"] = row.bytes_written
    if row.buffers:
        data |= {"buffers": row.buffers, "buffer_bytes": row.buffer_bytes}
    if row.formula is not None:
        data["time_formula"] = {"symbols": row.formula.symbols, "numbers": row.formula.numbers}
    if op.execution.repeat != 1:
        data["repeat"] = op.execution.repeat
    if op.execution.branches:
        data["branches"] = [list(step) for step in op.execution.branches]
    for key, by_layer in sections.items():
        if op.name in by_layer:
            data[key] = by_layer[op.name]
    return data


def _json(value: Any) -> Any:
    """An attribute as JSON: numbers, strings and (nested) lists of them; anything else by its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    return str(value)
