"""Which tensors share memory, and under what name each live tensor is known in the graph.

Only weak references are kept, so every tensor dies when the framework lets go of it, and the moment is seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from cnnprof.ir.record import quick_init

__all__ = ["Geometry", "Ledger", "StorageRecord", "Write", "geometry_of"]


@quick_init
@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a tensor's elements lie in its storage, in elements."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def geometry_of(tensor: torch.Tensor) -> Geometry:
    return Geometry(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))


@quick_init
@dataclass(frozen=True, slots=True)
class Write:
    """One in-place write: the new tensor's name, and the part of the storage that it covers."""

    name: str
    geometry: Geometry


@dataclass(slots=True)
class StorageRecord:
    """A storage that lives now. ``writes`` are the in-place ones, in order: a tensor that was known
    before one of them is out of date."""

    name: str
    first: weakref.ref[torch.Tensor]  # tensors that lie in it, in the order they became known
    others: list[weakref.ref[torch.Tensor]] | None = None
    writes: list[Write] | tuple[()] = ()  # a list from the first on: most storages are never written

    def latest_first(self) -> Iterator[weakref.ref[torch.Tensor]]:
        """The tensors that lie in it."""
        yield from reversed(self.others or ())
        yield self.first

    def add(self, tensor: weakref.ref[torch.Tensor]) -> None:
        if self.others is None:
            self.others = []
        self.others.append(tensor)

    def written(self, write: Write) -> None:
        if isinstance(self.writes, list):
            self.writes.append(write)
        else:
            self.writes = [write]


@dataclass(slots=True)
class _Entry:
    reference: weakref.ref[torch.Tensor]
    name: str
    storage: StorageRecord
    seen: int  # how many of the storage's writes this name already includes


class Ledger:
    """Names of live tensors and storages. ``released`` is called with a storage's name when it dies."""

    def __init__(self, released: Callable[[str], None]) -> None:
        self._released = released
        self._tensors: dict[int, _Entry] = {}
        self._storages: dict[int, tuple[weakref.ref[Any], StorageRecord]] = {}

    def find(self, tensor: torch.Tensor) -> _Entry | None:
        """The entry of this very tensor, or of one with the same geometry in the same storage
        (``.data`` and saved variables make those without the dispatcher)."""
        entry = self._tensors.get(id(tensor))
        if entry is not None and entry.reference() is tensor:
            return entry
        record = self.storage(tensor)
        if record is None:
            return None
        wanted = geometry_of(tensor)
        for reference in record.latest_first():
            other = reference()
            if other is not None and geometry_of(other) == wanted and other.dtype == tensor.dtype:
                found = self._tensors[id(other)]
                self._tensors[id(tensor)] = _Entry(weakref.ref(tensor), found.name, record, found.seen)
                return found
        return None

    def current_name(self, tensor: torch.Tensor) -> str | None:
        """The name of this very tensor, if it is known and nothing was written over it since."""
        entry = self._tensors.get(id(tensor))
        if entry is None or entry.seen != len(entry.storage.writes) or entry.reference() is not tensor:
            return None
        return entry.name

    def storage(self, tensor: torch.Tensor) -> StorageRecord | None:
        """The record of the storage that ``tensor`` lives in, if it was seen before and still lives."""
        storage = _storage(tensor)
        if storage is None:
            return None
        found = self._storages.get(storage._cdata)
        return None if found is None or found[0]() is None else found[1]

    def add(self, tensor: torch.Tensor, name: str, storage_name: str) -> StorageRecord:
        """Know ``tensor`` as ``name``; a storage that is new gets ``storage_name``."""
        return self.place(tensor, name, storage_name)[0]

    def place(self, tensor: torch.Tensor, name: str, storage_name: str) -> tuple[StorageRecord, int | None]:
        """As :meth:`add`; and the bytes of the storage if it is new (None: it isn't, or has none of its own)."""
        return self._place(tensor, _storage(tensor), name, storage_name, watched=True)

    def admit(self, tensor: torch.Tensor, name: str, *, watched: bool) -> tuple[str, StorageRecord | None, int | None]:
        """Know a tensor that is held from the start as ``name``: (name, record, bytes) as :meth:`place`; its name alone
        if it is known. Nobody is told when its storage dies if it isn't ``watched``."""
        storage = _storage(tensor)
        if storage is None or storage._cdata in self._storages:
            found = self.find(tensor)
            if found is not None:
                return found.name, None, None
            return name, *self._place(tensor, storage, name, name, watched=watched)
        return name, *self._begin(tensor, storage, name, name, watched=watched)

    def _place(
        self, tensor: torch.Tensor, storage: Any, name: str, storage_name: str, *, watched: bool
    ) -> tuple[StorageRecord, int | None]:
        reference = weakref.ref(tensor)
        if storage is None:  # a tensor type without memory of its own (nested, sparse)
            record = StorageRecord(storage_name, reference)
        else:
            found = self._storages.get(storage._cdata)
            if found is None or found[0]() is None:
                return self._begin(tensor, storage, name, storage_name, watched=watched)
            record = found[1]
            record.add(reference)
        self._tensors[id(tensor)] = _Entry(reference, name, record, len(record.writes))
        return record, None

    def _begin(
        self, tensor: torch.Tensor, storage: Any, name: str, storage_name: str, *, watched: bool
    ) -> tuple[StorageRecord, int | None]:
        """Know a storage that is new, and ``tensor`` as the first in it."""
        reference = weakref.ref(tensor)
        record = StorageRecord(storage_name, reference)
        alive = weakref.ref(storage, self._on_death(storage_name)) if watched else weakref.ref(storage)
        self._storages[storage._cdata] = (alive, record)
        self._tensors[id(tensor)] = _Entry(reference, name, record, 0)
        return record, _nbytes(storage)

    def made(self, tensor: torch.Tensor, name: str) -> int:
        """Know ``tensor``, just made in memory of its own, as ``name``. Gives that memory's bytes."""
        _, nbytes = self._begin(tensor, tensor.untyped_storage(), name, name, watched=True)
        return nbytes or 0

    def join(self, tensor: torch.Tensor, record: StorageRecord) -> None:
        """Treat the storage of ``tensor`` (a stand-in on another device) as one with ``record``."""
        storage = _storage(tensor)
        if storage is not None:
            self._storages[storage._cdata] = (weakref.ref(storage), record)

    def lend(self, tensor: torch.Tensor, stand_in: torch.Tensor) -> None:
        """Know ``stand_in`` as what ``tensor`` is known as; nothing where that isn't known itself."""
        record, entry = self.storage(tensor), self.find(tensor)
        if record is not None:
            self.join(stand_in, record)
        if entry is not None:
            self.add(stand_in, entry.name, entry.name)

    def wrote(self, tensor: torch.Tensor, name: str) -> StorageRecord:
        """``tensor`` was written in place and is ``name`` from now on. Gives its storage."""
        entry = self._tensors.get(id(tensor))
        if entry is not None and entry.reference() is tensor and entry.storage is self.storage(tensor):
            entry.name = name
        else:
            self.add(tensor, name, name)
            entry = self._tensors[id(tensor)]
        record = entry.storage
        record.written(Write(name, geometry_of(tensor)))
        entry.seen = len(record.writes)
        return record

    def rename(self, tensor: torch.Tensor, name: str) -> None:
        """``tensor`` is known and up to date as ``name``."""
        self.add(tensor, name, name)

    def storages_of(self, tensors: Iterator[torch.Tensor]) -> list[str]:
        """Names of the storages of ``tensors`` that are known, each once, in order."""
        names = (record.name for tensor in tensors if (record := self.storage(tensor)) is not None)
        return list(dict.fromkeys(names))

    def close(self) -> None:
        """Let go of everything: of storages that die from now on nobody is told."""
        self._tensors.clear()
        self._storages.clear()

    def _on_death(self, name: str) -> Callable[[Any], None]:
        return lambda _reference: self._released(name)


def _nbytes(storage: Any) -> int | None:
    try:
        return int(storage.nbytes())
    except (NotImplementedError, RuntimeError):
        return None


def _storage(tensor: torch.Tensor) -> Any:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None
