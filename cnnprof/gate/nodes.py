"""A layer as the diff sees it: what it is, what it costs, and which layers feed it.

Made from a Profile, or from a baseline's compact rows (:mod:`cnnprof.gate.baseline`), so that a check can say
which layers moved since a baseline that holds no whole profile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cnnprof.profile import Profile

__all__ = ["COSTS", "LayerNode", "costed", "nodes_of", "nodes_to_rows", "rows_to_nodes"]

COSTS = ("macs", "flops", "parameters", "activation_bytes", "bytes_moved")
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNode:
    """``attributes`` is canonical JSON text; ``shapes`` has one entry per output, None where unknown.
    ``sources`` are the positions of the layers that feed it; ``costs`` by name, None where unknown."""

    name: str
    kind: str
    attributes: str
    shapes: tuple[Shape | None, ...]
    dtypes: tuple[str, ...]
    sources: tuple[int, ...]
    costs: Mapping[str, int | None]

    @property
    def label(self) -> tuple[object, ...]:
        """Everything but name and place: two layers of one label are the same layer."""
        return (
            self.kind, self.attributes, self.shapes, self.dtypes,
            self.costs.get("macs"), self.costs.get("flops"), self.costs.get("parameters"),
        )  # fmt: skip


def nodes_of(profile: Profile) -> tuple[LayerNode, ...]:
    """The profile's layers in execution order."""
    producer: dict[str, int] = {}
    nodes: list[LayerNode] = []
    for index, layer in enumerate(profile.layers):
        sources = [producer[name] for name in layer.inputs if name is not None and name in producer]
        costs = {key: getattr(layer, key) for key in COSTS}
        if layer.unknown is not None:
            costs |= {"macs": None, "flops": None}
        nodes.append(
            LayerNode(
                name=layer.name,
                kind=layer.kind if layer.unknown is None else layer.op_type,
                attributes=json.dumps(layer.attributes, sort_keys=True, default=str),
                shapes=tuple(tuple(out["shape"]) if out.get("shape") is not None else None for out in layer.outputs),
                dtypes=tuple(str(out["dtype"]) for out in layer.outputs),
                sources=tuple(sources),
                costs=costs,
            )
        )
        for out in layer.outputs:
            producer[str(out["name"])] = index
    return tuple(nodes)


def nodes_to_rows(nodes: Iterable[LayerNode]) -> list[dict[str, Any]]:
    """Compact JSON rows of the layers that cost MACs or hold parameters; the others are left out."""
    return [
        {
            "name": node.name,
            "kind": node.kind,
            "attributes": json.loads(node.attributes),
            "shapes": [None if shape is None else list(shape) for shape in node.shapes],
            "dtypes": list(node.dtypes),
            **{key: node.costs[key] for key in COSTS if node.costs.get(key) is not None},
        }
        for node in nodes
        if _counts(node)
    ]


def rows_to_nodes(rows: Iterable[Mapping[str, Any]]) -> tuple[LayerNode, ...]:
    """What :func:`nodes_to_rows` wrote, as a chain. Raises KeyError, TypeError or ValueError on damaged rows."""
    return tuple(
        LayerNode(
            name=str(row["name"]),
            kind=str(row["kind"]),
            attributes=json.dumps(row["attributes"], sort_keys=True),
            shapes=tuple(None if shape is None else tuple(map(int, shape)) for shape in row["shapes"]),
            dtypes=tuple(map(str, row["dtypes"])),
            sources=(index - 1,) if index else (),
            costs={key: row.get(key) for key in COSTS},
        )
        for index, row in enumerate(rows)
    )


def costed(nodes: Iterable[LayerNode]) -> tuple[LayerNode, ...]:
    """The layers that a baseline keeps, as a chain: what its rows can be compared with."""
    return rows_to_nodes(nodes_to_rows(nodes))


def _counts(node: LayerNode) -> bool:
    return node.costs.get("macs") != 0 or bool(node.costs.get("parameters"))
