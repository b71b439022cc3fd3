"""Which tensors share memory, and under what name each live tensor is known in the graph.

Only weak references are kept, so every tensor dies when the framework lets go of it, and the moment is seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Geometry", "Ledger", "StorageRecord", "Write", "geometry_of"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a tensor's elements lie in its storage, in elements."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


def geometry_of(tensor: torch.Tensor) -> Geometry:
    return Geometry(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))


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
    reference: weakref.ref[Any]
    writes: list[Write] = field(default_factory=list)
    known: list[weakref.ref[torch.Tensor]] = field(default_factory=list)


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
        self._storages: dict[int, StorageRecord] = {}

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
        for reference in reversed(record.known):
            other = reference()
            if other is not None and geometry_of(other) == wanted and other.dtype == tensor.dtype:
                found = self._tensors[id(other)]
                self._tensors[id(tensor)] = _Entry(weakref.ref(tensor), found.name, record, found.seen)
                return found
        return None

    def storage(self, tensor: torch.Tensor) -> StorageRecord | None:
        """The record of the storage that ``tensor`` lives in, if it was seen before and still lives."""
        storage = _storage(tensor)
        if storage is None:
            return None
        record = self._storages.get(storage._cdata)
        return record if record is not None and record.reference() is not None else None

    def add(self, tensor: torch.Tensor, name: str, storage_name: str) -> StorageRecord:
        """Know ``tensor`` as ``name``; a storage that is new gets ``storage_name``."""
        return self.place(tensor, name, storage_name)[0]

    def place(self, tensor: torch.Tensor, name: str, storage_name: str) -> tuple[StorageRecord, int | None]:
        """As :meth:`add`; and the bytes of the storage if it is new (None: it isn't, or has none of its own)."""
        storage = _storage(tensor)
        nbytes = None
        if storage is None:  # a tensor type without memory of its own (nested, sparse)
            record = StorageRecord(storage_name, weakref.ref(tensor))
        else:
            found = self._storages.get(storage._cdata)
            if found is None or found.reference() is None:
                nbytes = _nbytes(storage)
                found = StorageRecord(storage_name, weakref.ref(storage, self._on_death(storage_name)))
                self._storages[storage._cdata] = found
            record = found
        reference = weakref.ref(tensor)
        record.known.append(reference)
        self._tensors[id(tensor)] = _Entry(reference, name, record, len(record.writes))
        return record, nbytes

    def join(self, tensor: torch.Tensor, record: StorageRecord) -> None:
        """Treat the storage of ``tensor`` (a stand-in on another device) as one with ``record``."""
        storage = _storage(tensor)
        if storage is not None:
            self._storages[storage._cdata] = StorageRecord(
                record.name, weakref.ref(storage), record.writes, record.known
            )

    def wrote(self, tensor: torch.Tensor, name: str) -> None:
        """``tensor`` was written in place and is ``name`` from now on."""
        record = self.add(tensor, name, name)
        record.writes.append(Write(name, geometry_of(tensor)))
        self._tensors[id(tensor)].seen = len(record.writes)

    def rename(self, tensor: torch.Tensor, name: str) -> None:
        """``tensor`` is known and up to date as ``name``."""
        self.add(tensor, name, name)

    def storages_of(self, tensors: Iterator[torch.Tensor]) -> list[str]:
        """Names of the storages of ``tensors`` that are known, each once, in order."""
        names = (record.name for tensor in tensors if (record := self.storage(tensor)) is not None)
        return list(dict.fromkeys(names))

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
