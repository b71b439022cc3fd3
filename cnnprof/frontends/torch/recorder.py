"""Records every ATen call as an op of the graph.

Sits in the dispatcher below autograd, so it sees what is really executed, forward and backward. It runs each
call on the substrate (replacing tensors that live elsewhere by stand-ins), then adds one op. Calls
inside a composite that is recorded as a whole are run, not recorded.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.frontends.torch.dtypes import check_one_dtype
from cnnprof.frontends.torch.records import record_of, results_of, tensors_of, unnamed
from cnnprof.frontends.torch.refresh import refresh_attributes
from cnnprof.frontends.torch.repeats import Repeats
from cnnprof.frontends.torch.schema import Bound, Plan, bind_arguments, plan_of
from cnnprof.frontends.torch.scopes import Scopes
from cnnprof.frontends.torch.shapes import RULES
from cnnprof.frontends.torch.storage import Ledger, Write, geometry_of
from cnnprof.frontends.torch.substrate import Cpu, Meta, Substrate
from cnnprof.ir import UNKNOWN_KIND, GraphBuilder, Op, Role, Tensor
from cnnprof.ops.spec import RULE_FAILURES, Call
from cnnprof.ops.table import resolve

__all__ = ["Recorder"]

# Constants up to this many elements are computed for real, so that shapes that depend on them are known.
_SMALL = 1 << 16
_FACTORIES_BY_SIZE = frozenset({"empty", "zeros", "ones", "full", "rand", "randn"})


class Recorder(TorchDispatchMode):
    """A dispatch mode that fills ``builder``; ``phase`` marks the ops added from now on."""

    def __init__(
        self,
        builder: GraphBuilder,
        scopes: Scopes,
        substrate: Substrate,
        weights: Callable[[], Iterable[tuple[str, torch.Tensor, bool]]],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = builder
        self.phase = "forward"
        self.ledger = Ledger(builder.set_released)
        self._scopes = scopes
        self._substrate = substrate
        self._weights = weights
        self._muted = 0
        self._repeats = Repeats()
        self.on_meta = isinstance(substrate, Meta)
        # By id: an overload's hash is Python. RULES keeps them alive.
        self._rules = {id(overload): rule for overload, rule in RULES.items()} if self.on_meta else {}
        self._stand_ins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._unreal: set[str] = set()  # storages of constants whose values are no longer known
        self._forward_scope: dict[int, str] = {}  # autograd sequence number -> scope of its forward op

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # True (torch's default) wraps every call of this mode and imports torch._dynamo, seconds, at the first.
        # `trace` runs compiled parts eagerly instead.
        return False

    # -- weights and inputs -----------------------------------------------------------------------------

    def declare(self, tensor: torch.Tensor, name: str, role: Role) -> str:
        """Name a tensor that the model holds or is given; the one already known keeps its name."""
        # What is held throughout has no end to watch for.
        watched = role is not Role.PARAMETER and role is not Role.BUFFER
        name, record, nbytes = self.ledger.admit(tensor, self.builder.unique_tensor_name(name), watched=watched)
        if record is None:
            return name
        self.builder.add_tensor(record_of(tensor, name, record.name, role))
        if nbytes is not None:
            # Always stated: a view that repeats it (expand) may look larger later on.
            self.builder.set_storage_bytes(record.name, nbytes)
        return name

    def name_of(self, tensor: torch.Tensor) -> str:
        """The graph's name of a live tensor; one that nothing made is a constant (or a hidden parameter)."""
        entry = self.ledger.find(tensor)
        if entry is None:
            return self._declare_late(tensor)
        if entry.seen < len(entry.storage.writes):
            return self._refresh(tensor, entry.name, entry.storage.writes[entry.seen :])
        return entry.name

    def _declare_late(self, tensor: torch.Tensor) -> str:
        for name, weight, is_parameter in self._weights():  # lazy modules make theirs on the way
            if weight is tensor:
                return self.declare(tensor, name, Role.PARAMETER if is_parameter else Role.BUFFER)
        if isinstance(tensor, torch.nn.Parameter):
            return self.declare(tensor, "parameter", Role.PARAMETER)
        return self.declare(tensor, "constant", Role.CONSTANT)

    def _refresh(self, tensor: torch.Tensor, old: str, writes: Sequence[Write]) -> str:
        """``tensor`` shares memory with others that were written since: its data comes from those too."""
        name = old
        for write in writes:
            attributes = refresh_attributes(geometry_of(tensor), write.geometry)
            if attributes is None:
                continue
            base = f"{self._scopes.current}/view" if self._scopes.current else "view"
            op_name = self.builder.unique_op_name(base)
            record = self.ledger.storage(tensor)
            storage = record.name if record else op_name
            made = record_of(tensor, self.builder.unique_tensor_name(op_name), storage, Role.ACTIVATION)
            scope = self._scopes.current
            read = (name, write.name)
            op = Op(op_name, "refresh", "torch:refresh", read, (made.name,), attributes, scope, phase=self.phase)
            self.builder.add_op(op, (made,))
            name = made.name
        self.ledger.add(tensor, name, name)
        return name

    # -- calls ----------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        plan = plan_of(func)
        bound = None
        if self._muted == 0:
            bound = bind_arguments(plan, args, kwargs)
        foreign = self._has_foreign(tensors_of(args, kwargs) if bound is None else bound.tensors)
        if foreign and bound is None:
            bound = bind_arguments(plan, args, kwargs)
        if foreign and not self._is_constant_call(args, kwargs):
            args, kwargs = self._substitute(args), self._substitute(kwargs)
            if bound is not None and plan.writes:
                self._spoil(bound.written)
        elif not foreign and plan.base in _FACTORIES_BY_SIZE:
            kwargs = self._place(plan, args, kwargs)
        rule = self._rules.get(id(func))
        result = None if rule is None else rule(*args, **kwargs)
        if result is None:
            loaded = len(sys.modules)
            result = func(*args, **kwargs)
            if len(sys.modules) != loaded:
                # torch's Python kernels import what they need at their first call, torch._dynamo too, which leaves
                # cycles that hold this call's frames with all their tensors.
                gc.collect()
        if bound is not None and self._muted == 0:
            self.record(plan, bound, result)
        return result

    def record(self, plan: Plan, bound: Bound, result: Any, key: Hashable | None = None) -> None:
        """Add the op of a call that has just run with these (original) arguments. With a ``key`` of
        :meth:`Repeats.key` the next call like it can be a :meth:`repeat`."""
        outputs = results_of(result)
        if plan.one_dtype is not None:
            check_one_dtype(plan.base, bound.tensors[plan.one_dtype[0]], bound.tensors[plan.one_dtype[1]])
        if plan.is_alias and bound.tensors[0] is not None:
            self._alias(bound.tensors[0], outputs)
            return
        if all([t is None for t in outputs]):  # noqa: C419  (short; a list is quicker)
            outputs = list(bound.written)
        if self._makes_nothing(plan, bound, outputs):
            return
        given = self._names_of(bound.tensors)
        results = tuple([None if t is None else unnamed(t) for t in outputs])
        kind, attributes, inputs = self._canonical(plan, bound, given, results)
        if key is not None and inputs is given:
            roles = self._roles_of(inputs)
            self._repeats.put(key, kind, attributes, results, outputs, roles, in_place=bool(bound.written))
        self._add(plan, kind, attributes, inputs, outputs, results, bound.written)

    def repeat(self, key: Hashable, plan: Plan, arguments: tuple[Any, ...], result: Any = None) -> torch.Tensor | None:
        """Record a call like one before and give its (first) result; None if there was none. ``result`` is needed where
        the one before may have been of another size."""
        known = self._repeats.get(key)
        if known is None:
            return None
        count = len(arguments)
        inputs = self._names_of([arguments[place] if place < count else None for place in plan.tensor_places])
        if self._roles_of(inputs) != known.roles:
            return None
        if result is None:
            outputs, results = known.run(arguments), known.results
        else:
            outputs = results_of(result)
            results = tuple([None if t is None else unnamed(t) for t in outputs])
        written = () if known.made is not None else (arguments[0],)
        self._add(plan, known.kind, known.attributes, inputs, outputs, results, written)
        return outputs[0]

    def _names_of(self, tensors: Sequence[torch.Tensor | None]) -> tuple[str | None, ...]:
        current = self.ledger.current_name
        return tuple([None if t is None else current(t) or self.name_of(t) for t in tensors])

    def _roles_of(self, names: Sequence[str | None]) -> list[Role | None]:
        known = self.builder.tensors
        return [None if name is None else known[name].role for name in names]

    def _add(
        self, plan: Plan, kind: str, attributes: Mapping[str, Any], inputs: tuple[str | None, ...],
        outputs: Sequence[torch.Tensor | None], results: Sequence[Tensor | None], written: Sequence[torch.Tensor],
    ) -> None:  # fmt: skip
        scope = self._scope()
        base = plan.base if kind == UNKNOWN_KIND else kind
        if self.phase != "forward":
            base = f"{self.phase}/{base}"
        name = self.builder.unique_op_name(f"{scope}/{base}" if scope else base)
        made = self._outputs(name, written, outputs, results)
        names = tuple([None if tensor is None else tensor.name for tensor in made])
        op = Op(name, kind, plan.op_type, inputs, names, attributes, scope, phase=self.phase)
        self.builder.add_op(op, [tensor for tensor in made if tensor is not None])

    def _has_foreign(self, tensors: Iterable[torch.Tensor | None]) -> bool:
        """True if one of them doesn't live on the substrate."""
        if self.on_meta:
            return any([t is not None and not t.is_meta for t in tensors])  # noqa: C419  (short; a list is quicker)
        is_native = self._substrate.is_native
        return any(t is not None and not is_native(t) for t in tensors)

    @property
    def is_muted(self) -> bool:
        return self._muted > 0

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Run calls without recording them: the inside of a composite."""
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1

    # -- from a call to an op ---------------------------------------------------------------------------

    def _canonical(
        self, plan: Plan, bound: Bound, inputs: tuple[str | None, ...], results: tuple[Tensor | None, ...]
    ) -> tuple[str, Mapping[str, Any], tuple[str | None, ...]]:
        known = self.builder.tensors
        call = Call(
            plan.op_type,
            tuple([None if name is None else known[name] for name in inputs]),
            results,
            bound.attributes,
        )
        try:
            found = resolve(plan.op_type, call)
        except RULE_FAILURES as error:
            self.builder.note("uncountable", f"{plan.op_type}: {error}", self._scopes.current or None)
            found = None
        if found is None:
            return UNKNOWN_KIND, bound.attributes, inputs
        entry, canonical = found
        if canonical.inputs is call.inputs:
            return entry.kind, canonical.attributes, inputs
        return entry.kind, canonical.attributes, tuple([None if t is None else t.name for t in canonical.inputs])

    def _outputs(
        self, op_name: str, writes: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor | None],
        results: Sequence[Tensor | None],
    ) -> list[Tensor | None]:  # fmt: skip
        """Records of an op's results: a written tensor gets a new name in the storage it had, a view
        the storage it looks into, anything else memory of its own."""
        made: list[Tensor | None] = []
        several = len(outputs) > 1 and sum([t is not None for t in outputs]) > 1
        for index, (tensor, result) in enumerate(zip(outputs, results, strict=True)):
            if tensor is None or result is None:
                made.append(None)
                continue
            name = self.builder.unique_tensor_name(f"{op_name}:{index}" if several else op_name)
            written = self._original(tensor, writes) if writes else None
            if written is not None:
                storage = self.ledger.wrote(tensor, name)
                if written is not tensor:
                    self.ledger.rename(written, name)
            else:
                storage, nbytes = self.ledger.place(tensor, name, name)
                if nbytes is not None:
                    self.builder.set_storage_bytes(storage.name, nbytes)
            at = "" if storage.name == name else storage.name
            made.append(Tensor(name, result.shape, result.dtype, Role.ACTIVATION, storage=at, layout=result.layout))
        return made

    def _original(self, result: torch.Tensor, written: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """The argument that ``result`` is, where the call wrote it in place (through a stand-in or not)."""
        for tensor in written:
            if tensor is result:
                return tensor
            stand_in = self._stand_ins.get(id(tensor))
            if stand_in is not None and stand_in[1] is result:
                return tensor
        return None

    def _makes_nothing(self, plan: Plan, bound: Bound, outputs: list[torch.Tensor | None]) -> bool:
        """True for calls that are no op: no tensor comes out, or only one that went in, untouched."""
        if plan.is_batch_norm and not bound.attributes.get("training"):
            # At inference nothing is saved; what stands there is a placeholder.
            outputs[1:] = [None] * len(outputs[1:])
        present = [t for t in outputs if t is not None]
        if not present or (plan.base == "empty" and all(t.numel() == 0 for t in present)):
            return True
        if bound.written:
            return False
        for tensor in present:
            for given in bound.tensors:
                if given is tensor:
                    break
            else:
                return False
        return True

    def _alias(self, source: torch.Tensor, outputs: Sequence[torch.Tensor | None]) -> None:
        name = self.name_of(source)
        for tensor in outputs:
            if tensor is not None and tensor is not source:
                self.ledger.add(tensor, name, name)

    def _scope(self) -> str:
        current = self._scopes.current
        if self.phase == "forward":
            if torch.is_grad_enabled():
                # Autograd's node of this call was made just before the dispatcher got here.
                self._forward_scope[torch._C._autograd._get_sequence_nr() - 1] = current
            return current
        if current or self.phase != "backward":
            return current
        node = torch._C._current_autograd_node()
        return "" if node is None else self._forward_scope.get(node._sequence_nr(), "")

    # -- tensors from elsewhere -------------------------------------------------------------------------

    def _is_constant_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """True if every tensor is a small constant whose values are known: then shapes that depend on
        them can be computed for real."""
        if not isinstance(self._substrate, Meta):
            return False
        elements = 0
        for tensor in tensors_of(args, kwargs):
            if tensor.is_meta or tensor.device.type != "cpu":
                return False
            storage = self.ledger.storage(tensor)
            if storage is not None and storage.name in self._unreal:
                return False
            elements += tensor.numel()
        return elements <= _SMALL

    def _substitute(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value if self._substrate.is_native(value) else self._stand_in(value)
        if isinstance(value, (list, tuple)):
            return type(value)([self._substitute(item) for item in value])
        if isinstance(value, dict):
            return {key: self._substitute(item) for key, item in value.items()}
        if isinstance(value, torch.device) and value.type != "cpu" and isinstance(self._substrate, Cpu):
            return torch.device("cpu")
        return value

    def _stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same tensor on the substrate: same shape, strides and, in the graph, name and storage."""
        found = self._stand_ins.get(id(tensor))
        if found is not None and found[0] is tensor:
            return found[1]
        name = self.name_of(tensor)
        with _no_recording():
            stand_in = self._substrate.like(tensor)
        record = self.ledger.storage(tensor)
        if record is not None:
            self.ledger.join(stand_in, record)
        self.ledger.add(stand_in, name, name)
        self._stand_ins[id(tensor)] = (tensor, stand_in)
        return stand_in

    def _spoil(self, written: Sequence[torch.Tensor]) -> None:
        """The values of constants that are written by tensors without values are known no longer."""
        for tensor in written:
            self.name_of(tensor)
            storage = self.ledger.storage(tensor)
            if storage is not None and not tensor.is_meta:
                self._unreal.add(storage.name)

    def _place(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Large new constants are made on meta too."""
        size = args[0] if args else kwargs.get("size")
        if not isinstance(self._substrate, Meta) or not isinstance(size, (list, tuple)):
            return kwargs
        large = math.prod(int(dim) for dim in size) > _SMALL
        return {**kwargs, "device": torch.device("meta")} if large else kwargs


def _no_recording() -> Any:
    return torch.utils._python_dispatch._disable_current_modes()
