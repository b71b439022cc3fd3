"""The only way to make a Graph: every name is checked as it is added."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType

from cnnprof.errors import GraphError
from cnnprof.ir.graph import Graph, ModelSource, Note
from cnnprof.ir.op import Op
from cnnprof.ir.tensor import Role, Tensor

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """Collects tensors and ops in execution order and refuses what can't be a dataflow graph.

    Graph inputs and weights are added with :meth:`add_tensor` before the op that reads them; an
    op's outputs come with the op. Raises :class:`GraphError` on an undefined input, a tensor or an op
    defined twice, or an undefined graph output.
    """

    def __init__(self, source: ModelSource, mode: str = "inference") -> None:
        self.source = source
        self.mode = mode
        self._ops: list[Op] = []
        self._op_names: set[str] = set()
        self._tensors: dict[str, Tensor] = {}
        self._notes: dict[Note, None] = {}
        self._storage_bytes: dict[str, int] = {}
        self._released: dict[str, int] = {}
        self._suffix: dict[str, int] = {}
        self.tensors: Mapping[str, Tensor] = MappingProxyType(self._tensors)

    def add_tensor(self, tensor: Tensor) -> Tensor:
        if tensor.name in self._tensors:
            raise GraphError(f"tensor {tensor.name!r} is defined twice", "every tensor needs a name of its own")
        self._tensors[tensor.name] = tensor
        return tensor

    def add_op(self, op: Op, outputs: Iterable[Tensor]) -> Op:
        """Append ``op``; ``outputs`` are the records of its present outputs, in any order."""
        if op.name in self._op_names:
            raise GraphError(f"op {op.name!r} is defined twice", "every op needs a name of its own")
        tensors = self._tensors
        for name in op.inputs:
            if name is not None and name not in tensors:
                raise GraphError(
                    f"op {op.name!r} ({op.op_type}) reads {name!r}, which nothing before it makes",
                    "the graph has an undefined input or a cycle",
                )
        made = list(outputs)
        if len(made) != 1 or op.outputs != (made[0].name,):  # nearly all have one
            named = {tensor.name: tensor for tensor in made}
            if named.keys() != set(op.present_outputs):
                raise GraphError(
                    f"op {op.name!r} ({op.op_type}): expected records of {sorted(op.present_outputs)}, "
                    f"got {sorted(named)}"
                )
            made = list(named.values())
        for tensor in made:
            self.add_tensor(tensor)
        self._op_names.add(op.name)
        self._ops.append(op)
        return op

    def set_storage_bytes(self, storage: str, nbytes: int) -> None:
        """State a storage's size where it is not its largest tensor's (views of a part, expanded views)."""
        self._storage_bytes[storage] = nbytes

    def set_released(self, storage: str, op_index: int | None = None) -> None:
        """State the last op during which the framework held ``storage`` (default: the op added last);
        see ``Graph.released``. A storage held to the end is not stated."""
        self._released[storage] = len(self._ops) - 1 if op_index is None else op_index

    def note(self, code: str, message: str, layer: str | None = None) -> None:
        """Remember something for the user; the same note twice is kept once."""
        self._notes[Note(code, message, layer)] = None

    def unique_op_name(self, wanted: str) -> str:
        return self._unique(wanted, self._op_names)

    def unique_tensor_name(self, wanted: str) -> str:
        return self._unique(wanted, self._tensors)

    def _unique(self, wanted: str, taken: Container[str]) -> str:
        # The counter remembers where each base name stands: 100,000 unnamed nodes stay linear.
        name = wanted
        while name in taken:
            self._suffix[wanted] = self._suffix.get(wanted, 1) + 1
            name = f"{wanted}.{self._suffix[wanted]}"
        return name

    def build(
        self,
        inputs: Iterable[str],
        outputs: Iterable[str],
        *,
        saved_for_backward: Iterable[str] = (),
        optimizer_state_bytes: int = 0,
        module_calls: int | None = None,
    ) -> Graph:
        """The graph; for the keywords see :class:`Graph`."""
        ins, outs = tuple(inputs), tuple(outputs)
        for name in (*ins, *outs):
            if name not in self._tensors:
                raise GraphError(f"graph input or output {name!r} is never defined")
        for name in ins:
            if self._tensors[name].role is not Role.INPUT:
                raise GraphError(f"graph input {name!r} has role {self._tensors[name].role.value}")
        return Graph(
            source=self.source,
            ops=tuple(self._ops),
            tensors=MappingProxyType(dict(self._tensors)),
            inputs=ins,
            outputs=outs,
            mode=self.mode,
            notes=tuple(self._notes),
            storage_bytes=MappingProxyType(dict(self._storage_bytes)),
            saved_for_backward=tuple(saved_for_backward),
            optimizer_state_bytes=optimizer_state_bytes,
            module_calls=module_calls,
            released=MappingProxyType(dict(self._released)),
        )
