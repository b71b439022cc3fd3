"""The IR: operators in execution order, tensors by name, and a networkx view of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cnnprof.ir.op import Op
from cnnprof.ir.tensor import Role, Tensor

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Graph", "ModelSource", "Note"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know: a default that was chosen, a declaration corrected."""

    code: str
    message: str
    layer: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a graph comes from. ``digest`` identifies structure and weights' shapes, not their values."""

    reference: str
    name: str
    format: str
    digest: str = ""
    opset: int | None = None


@dataclass(frozen=True)
class Graph:
    """A model's dataflow. Made only by :class:`~cnnprof.ir.builder.GraphBuilder`, so that it is
    ordered and acyclic by construction.

    ``storage_bytes`` holds the size of each storage that is not simply its largest tensor's.
    ``released`` holds, where the front end saw it, the index of the last op during which the framework still
    held a storage: Python frames and autograd keep some beyond their last reader.

    In a training graph (``mode`` "training") ops have phases; ``saved_for_backward`` names the tensors that
    autograd keeps from the forward to the backward phase, ``optimizer_state_bytes`` is what the optimizer holds
    between steps. ``module_calls`` is how many modules one pass calls, containers and those that compute nothing among
    them: each costs the host its share of Python. None where no modules were seen.
    """

    source: ModelSource
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    mode: str = "inference"
    notes: tuple[Note, ...] = ()
    storage_bytes: Mapping[str, int] = field(default_factory=dict)
    released: Mapping[str, int] = field(default_factory=dict)
    saved_for_backward: tuple[str, ...] = ()
    optimizer_state_bytes: int = 0
    module_calls: int | None = None

    def __len__(self) -> int:
        return len(self.ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    @cached_property
    def op_by_name(self) -> Mapping[str, Op]:
        return {op.name: op for op in self.ops}

    @cached_property
    def producer(self) -> Mapping[str, Op]:
        """Tensor name -> the op that makes it; inputs and weights have none."""
        return {out: op for op in self.ops for out in op.present_outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Op, ...]]:
        """Tensor name -> the ops that read it, in execution order, each once."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.present_inputs):
                found.setdefault(name, []).append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    def role(self, role: Role) -> tuple[Tensor, ...]:
        """All tensors of one role, in definition order."""
        return tuple(t for t in self.tensors.values() if t.role is role)

    @cached_property
    def calls(self) -> dict[str, Any]:
        """What :func:`cnnprof.ops.bind.bind` has made of each op, by name: several analyses ask for it."""
        return {}

    @cached_property
    def tensor_bytes(self) -> Mapping[str, int | None]:
        """Tensor name -> bytes of its elements, None where they aren't known: several analyses ask, of every use."""
        return {name: tensor.nbytes for name, tensor in self.tensors.items()}

    @cached_property
    def storages(self) -> Mapping[str, int]:
        """Storage name -> bytes. Tensors of unknown size count as 0 here; analyses must say so."""
        sizes: dict[str, int] = {}
        stated, nbytes = self.storage_bytes, self.tensor_bytes
        for name, tensor in self.tensors.items():
            key = tensor.storage or name
            if key in stated:
                sizes[key] = stated[key]
            else:
                sizes[key] = max(sizes.get(key, 0), nbytes[name] or 0)
        sizes.update(stated)
        return sizes

    @cached_property
    def digraph(self) -> nx.MultiDiGraph[str]:
        """A frozen ``networkx.MultiDiGraph``: nodes are op names carrying ``op=Op``; each edge is one
        use of a tensor, keyed ``(tensor, input index)``, so parallel uses all survive."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_nodes_from((op.name, {"op": op}) for op in self.ops)
        producer = self.producer
        graph.add_edges_from(
            (producer[name].name, op.name, (name, index), {"tensor": self.tensors[name]})
            for op in self.ops
            for index, name in enumerate(op.inputs)
            if name is not None and name in producer
        )
        return nx.freeze(graph)
