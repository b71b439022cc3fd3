"""Keeps from onnx's shape inference what it isn't safe against.

Inference is C++ that trusts a node to fit its schema: a wrong count of outputs, an attribute of another type or a
missing input type can end the process. A node is *sound* if it keeps to the schema (of which the extension has the
table) and, for the operators in :data:`_CHECKS`, to what their inference takes for granted. Others are never handed
over; their shapes come from the operator table or stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnnprof.frontends.onnx.engine import schema
from cnnprof.frontends.onnx.records import Node

__all__ = ["Guard"]


@dataclass(slots=True)
class _Schema:
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    kinds: dict[str, int]
    required: tuple[str, ...]
    needed: tuple[int, ...]  # inputs that can't be left out


class Guard:
    """Answers for one model; remembers what it has seen, since nodes repeat."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[str, str, int], _Schema | None] = {}
        self._seen: dict[tuple[Any, ...], bool] = {}

    def sound(self, node: Node) -> bool:
        """True if inference can be asked about the node."""
        version = node.imports.get(node.domain, 0)
        key = (
            node.op_type,
            node.domain,
            version,
            len(node.inputs),
            len(node.outputs),
            *map(id, node.attrs.values()),  # shared between equal attributes by the walker
        )
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = self._fits(node, version)
        if found and "" in node.inputs:
            known = self._schema(node, version)
            return known is not None and all(node.inputs[slot] for slot in known.needed)
        return found

    def _schema(self, node: Node, version: int) -> _Schema | None:
        key = (node.op_type, node.domain, version)
        if key not in self._schemas:
            self._schemas[key] = _read(schema(*key))
        return self._schemas[key]

    def _fits(self, node: Node, version: int) -> bool:
        known = self._schema(node, version)
        if known is None:
            return False
        if not known.inputs[0] <= len(node.inputs) <= known.inputs[1]:
            return False
        if not known.outputs[0] <= len(node.outputs) <= known.outputs[1]:
            return False
        for name, attr in node.attrs.items():
            if attr.ref or (name in known.kinds and known.kinds[name] != attr.kind):
                return False
        if any(name not in node.attrs for name in known.required):
            return False
        check = _CHECKS.get(node.op_type)
        return check is None or check(node)


def _read(found: Any) -> _Schema | None:
    if found is None:
        return None
    return _Schema(
        (found.min_input, found.max_input),
        (found.min_output, found.max_output),
        {name: attr.type.value for name, attr in found.attributes.items()},
        tuple(name for name, attr in found.attributes.items() if attr.required),
        tuple(slot for slot, formal in enumerate(found.inputs) if formal.option.name == "Single"),
    )


def _split(node: Node) -> bool:
    return int(node.plain("num_outputs", len(node.outputs))) == len(node.outputs)


def _einsum(node: Node) -> bool:
    equation = node.plain("equation", "")
    return isinstance(equation, str) and re.fullmatch(r"[A-Za-z., >\-]*", equation) is not None


def _never(_node: Node) -> bool:
    """Inference answers, but wrongly: STFT's forgets ``onesided``."""
    return False


_CHECKS: dict[str, Callable[[Node], bool]] = {
    "Einsum": _einsum,
    "Split": _split,
    "STFT": _never,
}
