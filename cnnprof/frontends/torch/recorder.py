"""Records every ATen call as an op of the graph.

Sits in the dispatcher below autograd, so it sees what is really executed, forward and backward. It runs each
call on the substrate (replacing tensors that live elsewhere by stand-ins), then adds one op. Calls
inside a composite that is recorded as a whole are run, not recorded.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.frontends.torch.dtypes import check_one_dtype
from cnnprof.frontends.torch.elsewhere import Elsewhere
from cnnprof.frontends.torch.records import record_of, results_of, tensors_of, unnamed
from cnnprof.frontends.torch.refresh import refresh_attributes
from cnnprof.frontends.torch.repeats import Repeat, Repeats
from cnnprof.frontends.torch.schema import Bound, Plan, bind_arguments, plan_of
from cnnprof.frontends.torch.scopes import Scopes
from cnnprof.frontends.torch.shapes import RULES
from cnnprof.frontends.torch.storage import Ledger, Write, geometry_of
from cnnprof.frontends.torch.substrate import Meta, Substrate
from cnnprof.ir import UNKNOWN_KIND, GraphBuilder, Op, Role, Tensor
from cnnprof.ops.spec import RULE_FAILURES, Call
from cnnprof.ops.table import resolve

__all__ = ["Recorder"]

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
        self._weights = weights
        self._muted = 0
        self._repeats = Repeats()
        self.on_meta = isinstance(substrate, Meta)
        # By id: an overload's hash is Python. RULES keeps them alive.
        self._rules = {id(overload): rule for overload, rule in RULES.items()} if self.on_meta else {}
        self._elsewhere = Elsewhere(substrate, self.ledger, self.name_of)
        self._forward_scope: dict[int, str] = {}  # autograd sequence number -> scope of its forward op

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # True (torch's default) wraps every call of this mode and imports torch._dynamo, seconds, at the first.
        # `trace` runs compiled parts eagerly instead.
        return False

    def close(self) -> None:
        """Let go of everything: what knows whom in a circle would else wait for Python's collector."""
        self.ledger.close()
        self._elsewhere.close()

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
        elsewhere = self._elsewhere
        foreign = elsewhere.has(tensors_of(args, kwargs) if bound is None else bound.tensors)
        if foreign and bound is None:
            bound = bind_arguments(plan, args, kwargs)
        if foreign and not elsewhere.is_constant_call(args, kwargs):
            args, kwargs = elsewhere.substitute(args), elsewhere.substitute(kwargs)
            if bound is not None and plan.writes:
                elsewhere.spoil(bound.written)
        elif not foreign and plan.base in _FACTORIES_BY_SIZE:
            kwargs = elsewhere.placed(args, kwargs)
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
            roles = self._roles_of(plan, inputs)
            self._repeats.put(key, kind, attributes, results, outputs, roles, in_place=bool(bound.written))
        self._add(plan, kind, attributes, inputs, outputs, results, bound.written)

    def repeat(self, key: Hashable, plan: Plan, arguments: tuple[Any, ...], result: Any = None) -> torch.Tensor | None:
        """Record a call like one before and give its (first) result; None if there was none. ``result`` is needed where
        the one before may have been of another size."""
        known = self._repeats.get(key)
        if known is None:
            return None
        count = len(arguments)
        tensors = [arguments[place] if place < count else None for place in plan.tensor_places]
        # Of those known again only joins take a list, and nothing else.
        inputs = self._names_of(tensors[0] if type(tensors[0]) is list else tensors)
        if self._roles_of(plan, inputs) != known.roles:
            return None
        if result is not None:  # of any size: those calls give one tensor
            made: torch.Tensor = result[0] if isinstance(result, tuple) else result
            self._add_one(plan, known, inputs, made)
            return made
        outputs = known.run(arguments)
        written = () if known.made is not None else (arguments[0],)
        self._add(plan, known.kind, known.attributes, inputs, outputs, known.results, written)
        return outputs[0]

    def _add_one(self, plan: Plan, known: Repeat, inputs: tuple[str | None, ...], made: torch.Tensor) -> None:
        """:meth:`_add` for a call like ``known``, at inference, that gives one tensor: its first argument, written in
        place, or one in memory of its own."""
        scope, builder = self._scopes.current, self.builder
        name = builder.unique_op_name(f"{scope}/{known.kind}" if scope else known.kind)
        tensor = storage = builder.unique_tensor_name(name)
        if known.made is None:
            storage = self.ledger.wrote(made, tensor).name
        else:
            builder.set_storage_bytes(tensor, self.ledger.made(made, tensor))
        names = (tensor, *[None for _ in known.results[1:]])
        op = Op(name, known.kind, plan.op_type, inputs, names, known.attributes, scope)
        builder.add_op(op, [record_of(made, tensor, storage, Role.ACTIVATION)])

    def _names_of(self, tensors: Sequence[torch.Tensor | None]) -> tuple[str | None, ...]:
        current = self.ledger.current_name
        return tuple([None if t is None else current(t) or self.name_of(t) for t in tensors])

    def _roles_of(self, plan: Plan, names: Sequence[str | None]) -> list[Role | None]:
        """Of each input; where there may be any number of them, those that there are."""
        known = self.builder.tensors
        roles = [None if name is None else known[name].role for name in names]
        return roles if len(plan.tensor_places) > 1 else list(dict.fromkeys(roles))

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
            written = self._elsewhere.original(tensor, writes) if writes else None
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
