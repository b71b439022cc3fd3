"""Use a module that belongs to someone else, and give it back exactly as it was.

The module's attributes, and the dicts, lists and sets among them (parameters, buffers, hooks, caches), are
remembered and put back, also after an exception. While borrowed, its tensors are replaced by stand-ins on
the substrate (or lend themselves for one at need), so its weights are neither moved nor written, and get no gradient.
Random states (torch, CUDA, Python, NumPy) are put back too.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnnprof.frontends.torch.direct import SHORT
from cnnprof.frontends.torch.lent import Lent, Tensors, own_of
from cnnprof.frontends.torch.substrate import Meta, Substrate

__all__ = ["Loan", "Parts", "borrowed", "has_lazy", "named_parts", "random_state_kept", "weights_of"]


Parts = list[tuple[str, nn.Module]]
Told = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True, slots=True)
class Loan:
    """What was borrowed. ``at_need``: its registered tensors are ordinary ones, their stand-ins made at need; ``tell``
    takes who is told of each of those: (tensor, stand-in)."""

    parts: Parts
    at_need: bool
    tell: Callable[[Told], None]


def named_parts(root: nn.Module) -> Parts:
    """``root.named_modules()``: every module once, under its first path. Not a chain of generators as deep as the
    model, which costs as much as recording its layers."""
    if type(root).named_modules is not nn.Module.named_modules:
        return list(root.named_modules())
    seen: set[nn.Module] = set()
    found: list[tuple[str, nn.Module]] = []
    waiting: list[tuple[str, nn.Module]] = [("", root)]
    while waiting:
        path, module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        found.append((path, module))
        inside = module._modules
        if inside:
            prefix = f"{path}." if path else ""
            waiting += [(prefix + name, part) for name, part in reversed(inside.items()) if part is not None]
    return found


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave every random generator that the model can reach as it was."""
    state, python_state = torch.get_rng_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        random.setstate(python_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


@contextmanager
def borrowed(module: nn.Module, substrate: Substrate, *, training: bool, at_need: bool = False) -> Iterator[Loan]:
    """Within the context ``module`` holds stand-ins of ``substrate`` and is in evaluation mode (training
    mode if ``training``; a module that is in it already keeps the modes of its parts). ``at_need`` leaves making a
    weight's stand-in to the moment somebody asks for it, where that makes no difference."""
    with random_state_kept():
        named = named_parts(module)
        parts = [part for _, part in named]
        kinds = _Containers()
        kept = [_Kept(part, kinds) for part in parts]
        try:
            _set_mode(module, parts, training=training)
            stand_ins = _StandIns(substrate, lends=at_need and not training and _are_usual(parts, substrate))
            if training or not _all_on(parts, substrate):
                with torch.no_grad():
                    _replace(parts, stand_ins)
            yield Loan(named, stand_ins.lends, stand_ins.tell)
        finally:
            for part in kept:
                part.restore()


_PLAIN = frozenset({bool, int, float, str, type(None)})
_SCALARS = _PLAIN | {tuple}


class _Containers(dict[type, bool]):
    """Whether a type is one of the containers that are put back."""

    def __missing__(self, kind: type) -> bool:
        found = self[kind] = issubclass(kind, (dict, list, set)) and hasattr(kind, "copy")
        return found


class _Kept:
    """One module's attributes as they were found."""

    def __init__(self, module: nn.Module, is_container: Mapping[type, bool]) -> None:
        self._module = module
        self._class = module.__class__
        self._attributes = dict(module.__dict__)
        values = self._attributes.values()
        self._containers = list(compress(values, map(is_container.__getitem__, map(type, values))))
        # Most are a module's hooks, and empty: nothing to copy.
        self._filled = [(value, value.copy()) for value in filter(None, self._containers)]

    def restore(self) -> None:
        if self._module.__class__ is not self._class:
            object.__setattr__(self._module, "__class__", self._class)
        attributes = self._module.__dict__
        attributes.clear()
        attributes.update(self._attributes)
        for container in filter(None, self._containers):
            container.clear()
        for container, contents in self._filled:
            if isinstance(container, list):
                container[:] = contents
            else:
                container.update(contents)


def _set_mode(module: nn.Module, parts: Sequence[nn.Module], *, training: bool) -> None:
    if training:
        if not module.training:
            module.train()
        return
    for part in parts:
        # Past eval(): exported programs refuse it, and an override may do more than set the flag.
        if isinstance(part, torch.jit.ScriptModule):
            part.eval()
        else:
            part.__dict__["training"] = False


def _all_on(parts: Sequence[nn.Module], substrate: Substrate) -> bool:
    if not isinstance(substrate, Meta):
        return False
    return all(
        tensor is None or tensor.is_meta
        for part in parts
        for tensor in (*part._parameters.values(), *part._buffers.values())
    )


def _are_usual(parts: Sequence[nn.Module], substrate: Substrate) -> bool:
    """True if stand-ins can be made at need: plain tensors, that needn't become anything in a first call."""
    kinds: set[type] = set()
    for part in parts:
        kinds.update(map(type, part._parameters.values()))
        kinds.update(map(type, part._buffers.values()))
    return isinstance(substrate, Meta) and kinds <= _USUAL | {type(None)}


def has_lazy(parts: Parts) -> bool:
    """True if a weight has no shape yet."""
    return any(
        type(tensor) not in _USUAL and is_lazy(tensor)
        for _, part in parts
        for held in (part._parameters, part._buffers)
        for tensor in held.values()
        if tensor is not None
    )


def weights_of(parts: Parts) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """(state-dict name, tensor, is a parameter) of each distinct parameter and buffer that has a shape; the tensors
    underneath where they are lent at need."""
    # As named_parameters and named_buffers do, without a walk of its own: that is most of their cost.
    for is_parameter in (True, False):
        seen: set[int] = set()
        for path, part in parts:
            held = part._parameters if is_parameter else part._buffers
            for name, tensor in own_of(held).items():
                if tensor is None or id(tensor) in seen or (type(tensor) not in _USUAL and is_lazy(tensor)):
                    continue
                seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor, is_parameter


# What every module has: registered tensors, hooks and submodules.
_BOOKKEEPING = frozenset(nn.Module().__dict__)


def _replace(parts: Sequence[nn.Module], stand_ins: _StandIns) -> None:
    """Put a stand-in wherever a part of the module holds a tensor: registered, as a plain attribute, or in a list,
    tuple or dict of them. Tensors that are one, or share memory, do so afterwards."""
    simple: dict[type, frozenset[str]] = {}  # attributes of layers that hold nothing but settings beside their tensors
    for part in parts:
        if isinstance(part, torch.jit.ScriptModule):
            continue  # its tensors live in C++: the recorder replaces them as it meets them
        held = part.__dict__
        for key in ("_parameters", "_buffers"):
            if held[key]:
                held[key] = stand_ins.registered(held[key])
        if stand_ins.lends and held.keys() == simple.get(type(part)):
            continue
        if type(part) in SHORT:
            simple[type(part)] = frozenset(held)
        for key in [key for key in held if key not in _BOOKKEEPING]:
            value = held[key]
            if type(value) not in _PLAIN and isinstance(value, (torch.Tensor, list, tuple, dict)):
                changed = stand_ins.inside(value)
                if changed is not value:
                    held[key] = changed


_USUAL = frozenset({torch.Tensor, nn.Parameter})  # no lazy ones


_META = torch.device("meta")


class _StandIns:
    """``lends``: those of registered tensors are made at need."""

    def __init__(self, substrate: Substrate, *, lends: bool) -> None:
        self._substrate = substrate
        self.lends = lends
        self._on_meta = isinstance(substrate, Meta)
        self.made: dict[int, torch.Tensor] = {}
        self._originals: list[torch.Tensor] = []  # keeps the ids above valid
        self._storages: dict[int, torch.Tensor] = {}
        self._told: Told | None = None

    def tell(self, told: Told) -> None:
        """Have ``told`` know of every stand-in made at need, and of what else stands for the same memory."""
        if not self.lends:
            return
        self._told = told
        for tensor in self._originals:
            told(tensor, self.made[id(tensor)])

    def registered(self, own: Tensors) -> Tensors | Lent:
        """What a module holds in place of its ``own`` parameters or buffers."""
        if self.lends:
            return Lent(own, self.at_need, self.made)
        for name, tensor in own.items():  # replaced values leave a dict's order and size alone
            if tensor is not None:
                own[name] = self.of(tensor)
        return own

    def at_need(self, tensor: torch.Tensor) -> torch.Tensor:
        """:meth:`of`, in the middle of a trace."""
        made = self.made.get(id(tensor))
        if made is None:
            # Making it is nothing that the model does.
            with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch(), torch.no_grad():
                made = self.of(tensor)
            if self._told is not None:
                self._told(tensor, made)
        return made

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor | None = self.made.get(id(tensor))
        if made is None and type(tensor) is nn.Parameter and self._on_meta:
            made = self._make(tensor)
            made.__class__ = nn.Parameter  # as its constructor would, without its Python
            if tensor.requires_grad:
                made.requires_grad = True
            self.made[id(tensor)] = made
            self._originals.append(tensor)
        elif made is None:
            lazy = type(tensor) not in _USUAL and is_lazy(tensor)
            made = self._lazy(tensor) if lazy else self._make(tensor)
            if lazy:
                pass
            elif isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            elif tensor.requires_grad and tensor.is_leaf:
                made.requires_grad_()
            self.made[id(tensor)] = made
            self._originals.append(tensor)
        return made

    def inside(self, value: Any) -> Any:
        """``value`` with its tensors replaced; the same object where there are none."""
        if isinstance(value, torch.Tensor):
            return self.of(value)
        if not value:
            return value
        if isinstance(value, dict) and any(isinstance(v, torch.Tensor) for v in value.values()):
            changed = value.copy()
            changed.update((k, self.inside(v)) for k, v in value.items() if isinstance(v, torch.Tensor))
            return changed
        if type(value) in (list, tuple) and not _SCALARS.issuperset(map(type, value)):
            if not any(isinstance(v, torch.Tensor) for v in value):
                return value
            return type(value)(self.inside(v) if isinstance(v, torch.Tensor) else v for v in value)
        return value

    def _lazy(self, tensor: torch.Tensor) -> torch.Tensor:
        make: Any = type(tensor)
        lazy: torch.Tensor = make(device=self._substrate.device, dtype=tensor.dtype)
        return lazy

    def _make(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._on_meta or tensor.layout is not torch.strided:
            return self._substrate.like(tensor)
        storage = tensor.untyped_storage()
        base = self._storages.get(storage._cdata)
        if base is None:
            nbytes = storage.nbytes()
            if nbytes == tensor.nbytes:  # all of it, as weights are
                made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)
                self._storages[storage._cdata] = made
                return made
            base = self._storages[storage._cdata] = torch.empty(nbytes, dtype=torch.uint8, device=_META)
        view = torch.empty(0, dtype=tensor.dtype, device="meta")
        return view.set_(base.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
