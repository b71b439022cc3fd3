"""Runs through the nodes once, in order, and works out every value's shape.

For each node, in turn: fold it if its inputs' values are known; take what onnx inferred; ask onnx again if
something has been learned since; use the operator table's own shape rule; at last believe what the file
declares. Control flow is flattened on the way (:mod:`cnnprof.frontends.onnx.control`). Names stay those of
the file; in subgraphs they are made unique.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cnnprof.errors import GraphError, ModelError
from cnnprof.frontends.onnx.call import own_types
from cnnprof.frontends.onnx.fold import evaluate, foldable
from cnnprof.frontends.onnx.guard import Guard
from cnnprof.frontends.onnx.infer import Inference, guesses
from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.lengths import sequence_length
from cnnprof.frontends.onnx.order import in_order
from cnnprof.frontends.onnx.records import Node, TensorRec, TypeRec
from cnnprof.frontends.onnx.reference import RARE, evaluate_rare
from cnnprof.frontends.onnx.values import attr_value, tensor_value
from cnnprof.ir import ONCE, Execution, Note

__all__ = ["Context", "Names", "Step", "Tracer"]


class Names:
    """What a name in a (sub)graph means: its own definitions, then those around it."""

    def __init__(self, own: dict[str, str] | None = None, outer: Names | None = None) -> None:
        self.own = own or {}
        self.outer = outer

    def __call__(self, name: str) -> str:
        scope: Names | None = self
        while scope is not None:
            if name in scope.own:
                return scope.own[name]
            scope = scope.outer
        return name


@dataclass(slots=True)
class Context:
    """Where a run of nodes stands."""

    names: Names = field(default_factory=Names)
    branches: tuple[tuple[str, int], ...] = ()
    module: str = ""


@dataclass(slots=True)
class Step:
    """One operator to execute. ``kind`` and ``attributes`` are set for the pieces of control flow."""

    node: Node
    execution: Execution
    module: str = ""
    kind: str = ""
    attributes: dict[str, Any] | None = None


class Tracer:
    """``infos`` by value name; ``steps`` in order; ``constants`` in the order they were met."""

    def __init__(self, declared: dict[str, TypeRec] | None, budget: int) -> None:
        self.infos: dict[str, Info] = {}
        self.steps: list[Step] = []
        self.constants: dict[str, None] = {}
        self.notes: dict[Note, None] = {}
        self.reserved: set[str] = set()
        self.folded: set[str] = set()  # constants read by what was folded away
        self.declared = declared or {}
        self.believing = declared is not None  # what the file says of shapes still holds
        self._budget = budget
        self._guard = Guard()
        self._suffix: dict[str, int] = {}
        self._unnamed: dict[str, int] = {}
        self._open_branches: dict[str, int] = {}

    # -- names ------------------------------------------------------------------------------------

    def fresh(self, wanted: str) -> str:
        """A value name that nothing else has."""
        name = wanted
        while name in self.infos or name in self.reserved:
            self._suffix[wanted] = self._suffix.get(wanted, 1) + 1
            name = f"{wanted}.{self._suffix[wanted]}"
        self.reserved.add(name)
        return name

    def label(self, node: Node) -> str:
        """The node's name, or one made of its type ("Conv_0")."""
        if node.name:
            return f"{node.prefix}/{node.name}" if node.prefix else node.name
        count = self._unnamed.get(node.op_type, 0)
        self._unnamed[node.op_type] = count + 1
        node.name = f"{node.op_type}_{count}"
        return f"{node.prefix}/{node.name}" if node.prefix else node.name

    def branch_name(self, label: str) -> str:
        """A name for an If that no other If has."""
        count = self._open_branches.get(label, 0)
        self._open_branches[label] = count + 1
        return f"{label}.{count + 1}" if count else label

    def note(self, code: str, message: str, layer: str | None = None) -> None:
        self.notes[Note(code, message, layer)] = None

    # -- constants --------------------------------------------------------------------------------

    def add_constant(self, tensor: TensorRec, name: str) -> None:
        if name in self.infos:
            raise GraphError(f"value {name!r} is defined twice", "every value needs a name of its own")
        self.infos[name] = Info(tensor.elem, tensor.dims, tensor_value(tensor), constant=True)
        self.constants[name] = None

    def _add_constant_node(self, node: Node) -> bool:
        """Take a Constant node's value. False if it holds none (a function's open attribute)."""
        for attr in node.attrs.values():
            if attr.ref:
                continue
            info = Info(constant=True, value=attr_value(attr))
            if isinstance(attr.value, TensorRec):
                info.elem, info.dims = attr.value.elem, attr.value.dims
            elif info.value is not None:
                info.elem, info.dims = info.value.elem, info.value.shape
            elif attr.name in _CONSTANT_LISTS and isinstance(attr.value, tuple):
                info.elem, info.dims = _CONSTANT_LISTS[attr.name], (len(attr.value),)
            elif attr.name == "value_string":
                info.elem, info.dims = 8, ()
            else:
                continue
            if len(node.outputs) == 1 and node.outputs[0]:
                self.infos[node.outputs[0]] = info
                self.constants[node.outputs[0]] = None
            return True
        return False

    # -- the pass ---------------------------------------------------------------------------------

    def mark(self) -> tuple[int, int, int]:
        return len(self.steps), len(self.infos), len(self.constants)

    def rollback(self, mark: tuple[int, int, int]) -> None:
        """Forget everything since ``mark``, so that a loop body can be run with other shapes."""
        del self.steps[mark[0] :]
        for table, size in ((self.infos, mark[1]), (self.constants, mark[2])):
            while len(table) > size:
                table.popitem()

    def run(self, nodes: Sequence[Node], context: Context) -> None:
        """Execute ``nodes`` (names already those of ``infos``). Raises :class:`GraphError`."""
        from cnnprof.frontends.onnx.control import CONTROL

        self._budget -= len(nodes)
        if self._budget < 0:
            raise ModelError("the model unfolds into too many operators", "nested loops or functions multiply")
        ordered, changed = in_order(nodes, self.infos, context.names)
        if changed:
            self.note("reordered", "the file lists nodes before the values they read; they were sorted")
        todo = [
            node for node in ordered if node.op_type != "Constant" or node.domain or not self._add_constant_node(node)
        ]
        inference = Inference(todo, self.infos, self._guard)
        once = Execution(branches=context.branches) if context.branches else ONCE
        for index, node in enumerate(todo):
            control = CONTROL.get(node.op_type) if node.has_graphs and not node.domain else None
            if control is not None:
                control(self, node, context)
                inference.stale = True
            elif self._work_out(node, index, inference):
                self.steps.append(Step(node, once, context.module))

    def _work_out(self, node: Node, index: int, inference: Inference) -> bool:
        """Enter the infos of the node's outputs. False if it turns out to be a constant of the file."""
        infos = self.infos
        inputs = [infos[name] if name else None for name in node.inputs]
        constant = bool(inputs) and all(info is None or info.constant for info in inputs)
        values = None
        if foldable(node):
            values = evaluate(node, inputs)
        elif node.op_type in RARE and all(i is None or i.value is not None for i in inputs):
            values = evaluate_rare(node, inputs)
        if values is not None:
            inference.stale = True
        types = inference.types(index)
        own: list[Info] | None = None
        for slot, name in enumerate(node.outputs):
            if not name:
                continue
            if values is not None and slot < len(values):
                value = values[slot]
                infos[name] = Info(value.elem, value.shape, value, None, constant)
                continue
            found = _info(types.get(name))
            if found is None or (found.other is None and found.shape is None):
                if inference.stale:
                    types = inference.again(index)
                    found = _info(types.get(name)) or found
                if found is None or (found.other is None and found.shape is None):
                    if own is None:
                        own = (
                            [Info(inputs[0].elem if inputs[0] else 0)] * len(node.outputs)
                            if guesses(node, infos)
                            else own_types(node, inputs, len(node.outputs))
                        )
                    found = self._settle(name, found, own[slot], inference)
            found.constant = constant
            if found.other is not None:
                found.length = sequence_length(node, inputs)
            infos[name] = found
        if constant and node.op_type == "ConstantOfShape" and not node.domain and node.outputs[0]:
            self.constants[node.outputs[0]] = None
            self.folded.update(node.inputs)
            return False
        return True

    def _settle(self, name: str, inferred: Info | None, own: Info, inference: Inference) -> Info:
        """The best of what onnx, the operator table and the file itself say."""
        if own.shape is not None:
            inference.stale = True
            elem = inferred.elem if inferred is not None and inferred.elem else own.elem
            return Info(elem, own.dims)
        said = self.declared.get(name)
        if said is not None and said.kind == "tensor":
            told = Info(said.elem, _sizes(said))
            if told.shape is not None and (inferred is None or _agrees(inferred, told)):
                inference.stale = True
                return told
        return own if inferred is None else inferred


_CONSTANT_LISTS = {"value_ints": 7, "value_floats": 1, "value_strings": 8}


def _agrees(inferred: Info, told: Info) -> bool:
    """True if what is known doesn't contradict what the file declares."""
    if inferred.other is not None or (inferred.elem and inferred.elem != told.elem):
        return False
    if inferred.dims is None or told.dims is None:
        return True
    return len(inferred.dims) == len(told.dims) and all(
        a is None or a == b for a, b in zip(inferred.dims, told.dims, strict=True)
    )


def _sizes(kind: TypeRec) -> tuple[int | None, ...] | None:
    if kind.dims is None:
        return None
    return tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in kind.dims)


def _info(kind: TypeRec | None) -> Info | None:
    if kind is None or kind.kind == "none":
        return None
    if kind.kind != "tensor":
        return Info(other=kind)
    return Info(kind.elem, _sizes(kind))
