"""Small ONNX models for tests, written in ONNX's text form, and what the front end makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx.parser
from onnx import TensorProto, helper

from cnnprof.analyses.complexity import Complexity, complexity
from cnnprof.frontends.inputs import parse_inputs
from cnnprof.frontends.onnx.load import load_onnx
from cnnprof.ir import Graph, Note, Role

FLOAT = TensorProto.FLOAT


def parsed(text: str, opset: int = 18, extra: str = "") -> bytes:
    """``text`` is ``name (inputs) => (outputs) { nodes }`` with optional functions after it."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1, "local" : 1{extra}]>'
    return onnx.parser.parse_model(head + text).SerializeToString()


def weight(name: str, *dims: int, elem: int = FLOAT) -> onnx.TensorProto:
    """A constant with its data, all zero."""
    width = helper.tensor_dtype_to_np_dtype(elem).itemsize
    size = width
    for dim in dims:
        size *= dim
    return helper.make_tensor(name, elem, dims, bytes(size), raw=True)


def built(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str | None] | None],
    outputs: dict[str, Sequence[int | str | None] | None] | Sequence[str],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 18,
    **options: Any,
) -> bytes:
    """A serialised model; inputs are float32 of the given shapes, outputs undeclared or as given."""
    declared = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs)
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [
            onnx.ValueInfoProto(name=n) if s is None else helper.make_tensor_value_info(n, FLOAT, s)
            for n, s in declared.items()
        ],
        list(weights),
        value_info=options.pop("value_info", []),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **options).SerializeToString()


def loaded(model: bytes, *inputs: str) -> Graph:
    return load_onnx(model, inputs=parse_inputs(inputs), reference="m.onnx")


def costed(model: bytes, *inputs: str) -> Complexity:
    return complexity(loaded(model, *inputs))


def macs(model: bytes, *inputs: str) -> int:
    found = costed(model, *inputs)
    assert not found.unknown, found.unknown
    return found.macs


def shape(model: bytes, name: str, *inputs: str) -> tuple[int, ...] | None:
    return loaded(model, *inputs).tensors[name].shape


def notes(graph: Graph) -> set[str]:
    return {note.code for note in graph.notes}


def note(graph: Graph, code: str) -> Note:
    return next(n for n in graph.notes if n.code == code)


def parameters(graph: Graph) -> int:
    return sum(t.elements or 0 for t in graph.role(Role.PARAMETER))
