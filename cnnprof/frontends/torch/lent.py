"""A module's registered tensors while it is borrowed: stand-ins, made when somebody asks for one.

Most weights are only read by layers that are recorded without running their Python
(:mod:`cnnprof.frontends.torch.direct`): for those their names, shapes and types are enough, and no stand-in is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

import torch

__all__ = ["Lent", "Tensors", "own_of", "shown_by"]

Tensors = dict[str, torch.Tensor | None]


class Lent(MutableMapping[str, torch.Tensor | None]):
    """Stands where a module keeps its parameters or buffers. ``own`` is the module's own dict; who asks gets
    ``stand_in(tensor)``. ``made`` has those made so far, by the id of what they stand for. What is put in while it is
    lent stays what it is.

    No dict: what copies one (``dict(parameters)``, ``**parameters``) would take the tensors underneath.
    """

    __slots__ = ("_made", "_new", "_stand_in", "own")

    def __init__(
        self, own: Tensors, stand_in: Callable[[torch.Tensor], torch.Tensor], made: Mapping[int, torch.Tensor]
    ) -> None:
        self.own = own
        self._stand_in, self._made = stand_in, made
        self._new: set[str] = set()

    def shown(self) -> Tensors:
        """For those that only look at names and shapes: the stand-ins there are, and of the others the tensors."""
        made = self._made
        if not made:
            return self.own
        return {name: tensor if tensor is None else made.get(id(tensor), tensor) for name, tensor in self.own.items()}

    def __getitem__(self, name: str) -> torch.Tensor | None:
        tensor = self.own[name]
        return tensor if tensor is None or name in self._new else self._stand_in(tensor)

    def __setitem__(self, name: str, tensor: torch.Tensor | None) -> None:
        self.own[name] = tensor
        self._new.add(name)

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)

    def copy(self) -> Tensors:
        return dict(self)

    def __reduce__(self) -> tuple[type[Tensors], tuple[Tensors]]:
        return dict, (dict(self),)  # what copies the module copies stand-ins


def own_of(held: Mapping[str, torch.Tensor | None]) -> Mapping[str, torch.Tensor | None]:
    """What is underneath: for :class:`Lent` the module's own tensors."""
    return held.own if type(held) is Lent else held


def shown_by(held: Mapping[str, torch.Tensor | None]) -> Mapping[str, torch.Tensor | None]:
    """What there is to look at, without asking for anything: see :meth:`Lent.shown`."""
    return held.shown() if type(held) is Lent else held
