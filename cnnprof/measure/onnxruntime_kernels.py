"""Which kernel of the lowering each node of onnxruntime's optimised graph is.

Rewriting keeps names: a node's output, or its own name less what a rewrite adds to it, leads back to a value of the
model. A node that leads nowhere (the reshapes around a Gemm) belongs to the kernel that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cnnprof.frontends.onnx.structure import FileNode
from cnnprof.predict.lower_onnxruntime import Placed

__all__ = ["kernel_of_nodes", "keys_of", "node_times"]

_KERNEL = "_kernel_time"
_REORDERS = {"ReorderInput": "in", "ReorderOutput": "out", "Transpose": "transpose"}


def keys_of(nodes: Sequence[tuple[str, str]]) -> list[str]:
    """A key for every node of (name, operator type): its name, or where it has none its place among its like."""
    seen: dict[str, int] = {}
    keys = []
    for name, op_type in nodes:
        if not name:
            seen[op_type] = seen.get(op_type, -1) + 1
        keys.append(name or f"{op_type}#{seen[op_type]}")
    return keys


def kernel_of_nodes(
    optimised: Sequence[FileNode], original: Sequence[FileNode], placed: Sequence[Placed]
) -> Mapping[str, int]:
    """Key of a node (:func:`keys_of`) -> index of its kernel. A node of no kernel isn't there."""
    plain = {name: i for i, item in enumerate(placed) if not item.reorders for name in item.makes}
    special = {(item.reorders, name): i for i, item in enumerate(placed) if item.reorders for name in item.makes}
    known = {name for item in placed for name in item.makes}
    makes = {node.name: node.outputs for node in original if node.name}
    value: dict[str, str] = {}  # of a tensor of the optimised graph: the model's
    found: dict[str, int] = {}
    keys = keys_of([(node.name, node.op_type) for node in optimised])
    for key, node in zip(keys, optimised, strict=True):
        made = _value(node, plain, makes, value)
        value.update({name: name if name in known else made or "" for name in node.outputs})
        index = None
        if node.op_type in _REORDERS:
            name = value.get(node.inputs[0], node.inputs[0]) if node.op_type == "ReorderInput" else node.outputs[0]
            index = special.get((_REORDERS[node.op_type], name))
            index = special.get(("transpose", name)) if index is None else index
        if index is None and made is not None:
            index = plain.get(made)
        if index is not None:
            found[key] = index
    pairs = list(zip(keys, optimised, strict=True))
    readers = {name: key for key, node in reversed(pairs) for name in node.inputs}
    for key, node in pairs:
        reader = readers.get(node.outputs[0]) if key not in found and node.outputs else None
        if reader in found:
            found[key] = found[reader]
    return found


def _value(
    node: FileNode, plain: Mapping[str, int], makes: Mapping[str, tuple[str, ...]], value: Mapping[str, str]
) -> str | None:
    """The model's value that ``node`` makes, as its names tell."""
    if node.op_type in ("ReorderInput", "ReorderOutput"):
        return value.get(node.inputs[0], node.inputs[0])
    own = node.name.removesuffix("_nchwc").removesuffix("_bn")
    base = node.name.partition("/")[0].removeprefix("fused ")
    for name in (*node.outputs, own, *makes.get(node.name, ()), *makes.get(base, ())):
        if name in plain:
            return name
    return None


def node_times(profile: Sequence[Mapping[str, Any]], named: Collection[str]) -> Iterator[tuple[str, float]]:
    """(key, seconds) of every event of a node in a profile, in order; keys as :func:`keys_of` makes them."""
    nameless: dict[str, str] = {}  # an event's name -> the key of its node
    counts: dict[str, int] = {}
    for event in profile:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_KERNEL):
            continue
        name = name.removesuffix(_KERNEL)
        op_type = str(event.get("args", {}).get("op_name", ""))
        if name not in named and name.startswith(f"{op_type}_") and name.removeprefix(f"{op_type}_").isdigit():
            if name not in nameless:
                counts[op_type] = counts.get(op_type, 0) + 1
                nameless[name] = keys_of([("", op_type)] * counts[op_type])[-1]
            name = nameless[name]
        yield name, float(event["dur"]) * 1e-6
