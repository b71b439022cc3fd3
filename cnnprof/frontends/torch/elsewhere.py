"""Tensors of a trace that don't live on its substrate: what stands in for them, and which of them keep their values.

The user's own tensors, captured constants, what a model makes on a device that it names. Small constants on the CPU
are computed with for real, so that shapes that depend on them are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from cnnprof.frontends.torch.records import tensors_of
from cnnprof.frontends.torch.storage import Ledger
from cnnprof.frontends.torch.substrate import Cpu, Meta, Substrate

__all__ = ["Elsewhere"]

_SMALL = 1 << 16  # elements of a constant that is computed with


class Elsewhere:
    """For one trace on ``substrate``; ``name_of`` gives the graph's name of a tensor."""

    def __init__(self, substrate: Substrate, ledger: Ledger, name_of: Callable[[torch.Tensor], str]) -> None:
        self._substrate, self._ledger, self._name_of = substrate, ledger, name_of
        self._on_meta = isinstance(substrate, Meta)
        self._stand_ins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._unreal: set[str] = set()  # storages of constants whose values are no longer known

    def close(self) -> None:
        """Let go of everything; nothing may be asked afterwards."""
        del self._name_of
        self._stand_ins.clear()

    def has(self, tensors: Iterable[torch.Tensor | None]) -> bool:
        """True if one of them doesn't live on the substrate."""
        if self._on_meta:
            return any([t is not None and not t.is_meta for t in tensors])  # noqa: C419  (short; a list is quicker)
        is_native = self._substrate.is_native
        return any(t is not None and not is_native(t) for t in tensors)

    def is_constant_call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """True if every tensor is a small constant whose values are known: then shapes that depend on
        them can be computed for real."""
        if not self._on_meta:
            return False
        elements = 0
        for tensor in tensors_of(args, kwargs):
            if tensor.is_meta or tensor.device.type != "cpu":
                return False
            storage = self._ledger.storage(tensor)
            if storage is not None and storage.name in self._unreal:
                return False
            elements += tensor.numel()
        return elements <= _SMALL

    def substitute(self, value: Any) -> Any:
        """``value``, arguments of a call, with everything in it on the substrate."""
        if isinstance(value, torch.Tensor):
            return value if self._substrate.is_native(value) else self._stand_in(value)
        if isinstance(value, (list, tuple)):
            return type(value)([self.substitute(item) for item in value])
        if isinstance(value, dict):
            return {key: self.substitute(item) for key, item in value.items()}
        if isinstance(value, torch.device) and value.type != "cpu" and isinstance(self._substrate, Cpu):
            return torch.device("cpu")
        return value

    def original(self, result: torch.Tensor, written: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """The argument that ``result`` is, where the call wrote it in place (through a stand-in or not)."""
        for tensor in written:
            if tensor is result:
                return tensor
            stand_in = self._stand_ins.get(id(tensor))
            if stand_in is not None and stand_in[1] is result:
                return tensor
        return None

    def spoil(self, written: Sequence[torch.Tensor]) -> None:
        """The values of constants that are written by tensors without values are known no longer."""
        for tensor in written:
            self._name_of(tensor)
            storage = self._ledger.storage(tensor)
            if storage is not None and not tensor.is_meta:
                self._unreal.add(storage.name)

    def placed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keywords of a call that makes a constant of a size: large ones are made on meta too."""
        size = args[0] if args else kwargs.get("size")
        if not self._on_meta or not isinstance(size, (list, tuple)):
            return kwargs
        large = math.prod(int(dim) for dim in size) > _SMALL
        return {**kwargs, "device": torch.device("meta")} if large else kwargs

    def _stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same tensor on the substrate: same shape, strides and, in the graph, name and storage."""
        found = self._stand_ins.get(id(tensor))
        if found is not None and found[0] is tensor:
            return found[1]
        name = self._name_of(tensor)
        with _disable_current_modes():
            stand_in = self._substrate.like(tensor)
        record = self._ledger.storage(tensor)
        if record is not None:
            self._ledger.join(stand_in, record)
        self._ledger.add(stand_in, name, name)
        self._stand_ins[id(tensor)] = (tensor, stand_in)
        return stand_in
