"""The nodes of an ONNX file by name, for whoever has to look at a graph that a runtime has rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnnprof.frontends.onnx.source import opened
from cnnprof.frontends.onnx.walker import walk_model

__all__ = ["FileNode", "file_nodes"]


@dataclass(frozen=True, slots=True)
class FileNode:
    """One node as it stands in the file; absent optional inputs are ""."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def file_nodes(source: Path | bytes) -> tuple[FileNode, ...]:
    """The main graph's nodes in file order. Raises :class:`~cnnprof.errors.ModelError` for a damaged file."""
    with opened(source) as buffer:
        nodes = walk_model(buffer).graph.nodes
        return tuple(FileNode(n.name, n.op_type, n.domain, tuple(n.inputs), tuple(n.outputs)) for n in nodes)
