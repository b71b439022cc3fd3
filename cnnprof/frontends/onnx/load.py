"""Reads an ONNX model into the IR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnprof.errors import CnnprofError, GraphError, ModelError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.onnx.bind import Binding, bind_inputs
from cnnprof.frontends.onnx.convert import to_graph
from cnnprof.frontends.onnx.digest import digest
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.inline import inline_functions
from cnnprof.frontends.onnx.records import GraphRec, ModelRec, TypeRec
from cnnprof.frontends.onnx.source import opened
from cnnprof.frontends.onnx.tracer import Context, Tracer
from cnnprof.frontends.onnx.walker import walk_model
from cnnprof.ir import Graph, ModelSource
from cnnprof.ir.collection import collection_paused
from cnnprof.ops import table

__all__ = ["load_onnx"]

_GROWTH = 20  # how often a node may be executed while loop bodies settle, on average


@collection_paused()
def load_onnx(source: Path | bytes, *, inputs: Sequence[InputSpec] = (), reference: str | None = None) -> Graph:
    """The graph of an ONNX file (or of its bytes, from standard input). Weights are never read.

    ``inputs`` override what the file says of its inputs, fixed sizes included. Raises :class:`ModelError`
    (damaged), :class:`GraphError` (undefined value, cycle), :class:`~cnnprof.errors.ShapeError` (an open size;
    the hint is the command to run) and :class:`~cnnprof.errors.UsageError` (no such input).
    """
    shown = reference if reference is not None else "-" if isinstance(source, bytes) else str(source)
    return _load(source, inputs, shown)


def _load(source: Path | bytes, inputs: Sequence[InputSpec], shown: str) -> Graph:
    with opened(source) as buffer:
        try:
            model = walk_model(buffer)
        except CnnprofError as error:
            raise type(error)(f"{shown}: {error.message}", error.hint) from None
        except (RecursionError, MemoryError):
            raise ModelError(f"{shown}: is nested too deeply or too large to read") from None
    identity = ModelSource(shown, _name(shown, model), "onnx", digest(model), model.imports.get(""))
    inline_functions(model)
    return _trace(model, identity, inputs, shown)


def _name(reference: str, model: ModelRec) -> str:
    return model.graph.name or "stdin" if reference == "-" else Path(reference).stem


def _trace(model: ModelRec, identity: ModelSource, inputs: Sequence[InputSpec], shown: str) -> Graph:
    table.specs()  # a mistake in the table must not pass for a malformed model
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializers}
    real = [value for value in graph.inputs if value.name not in constants]
    names = [value.name for value in real]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GraphError(f"graph input {twice!r} stands twice", "every value needs a name of its own")
    binding = bind_inputs(real, inputs, shown)
    declared = {value.name: value.type for value in (*graph.value_info, *graph.outputs)}
    tracer = Tracer(None if binding.overridden else declared, _GROWTH * _count(graph) + 10_000)
    for note in binding.notes:
        tracer.notes[note] = None
    tracer.infos.update(binding.infos)
    for tensor in graph.initializers:
        tracer.add_constant(tensor, tensor.name)
    tracer.reserved.update(name for node in graph.nodes for name in node.outputs)
    tracer.run(graph.nodes, Context())
    outputs = [value.name for value in graph.outputs]
    for name in outputs:
        if name not in tracer.infos:
            raise GraphError(f"graph output {name!r} is never made", "export the model again")
    _note_unused(tracer, graph)
    if not binding.overridden:
        _note_corrections(tracer, graph, binding)
    return to_graph(tracer, identity, names, list(dict.fromkeys(outputs)))


def _count(graph: GraphRec) -> int:
    from cnnprof.frontends.onnx.order import subgraphs

    return sum(1 + sum(_count(inner) for inner in subgraphs(node)) for node in graph.nodes)


def _note_unused(tracer: Tracer, graph: GraphRec) -> None:
    used = {name for step in tracer.steps for name in step.node.inputs} | tracer.folded
    used |= {value.name for value in graph.outputs}
    idle = [tensor.name for tensor in graph.initializers if tensor.name not in used]
    if idle:
        tracer.note("unused_initializers", f"{len(idle)} constants are read by nothing and not counted: {_some(idle)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _note_corrections(tracer: Tracer, graph: GraphRec, binding: Binding) -> None:
    """Say where the file declares another shape than the operators make."""
    wrong = [
        (value.name, value.type.dims, tracer.infos[value.name].dims)
        for value in (*graph.outputs, *graph.value_info)
        if value.name in tracer.infos
        and value.name not in binding.infos
        and _contradicts(value.type, tracer.infos[value.name])
    ]
    if wrong:
        name, said, real = wrong[0]
        tracer.note(
            "declared_shape",
            f"{len(wrong)} declared shapes are wrong and were corrected: {name} is declared "
            f"{_shape(said)} and is {_shape(real)}",
        )


def _contradicts(said: TypeRec, real: Info) -> bool:
    if said.kind != "tensor" or said.dims is None or real.dims is None:
        return False
    return len(said.dims) != len(real.dims) or any(
        isinstance(a, int) and a >= 0 and b is not None and a != b for a, b in zip(said.dims, real.dims, strict=True)
    )


def _shape(dims: Sequence[int | str | None] | None) -> str:
    return "x".join("?" if dim is None else str(dim) for dim in dims or ()) or "scalar"
