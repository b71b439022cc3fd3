"""Calls like one before: the same operator on tensors of the same geometry with the same other arguments.

Networks repeat themselves. What such a call comes to (canonical kind and attributes, its results' shapes) is known, so
that only names and memory are left to work out. Only calls with a rule for their results are remembered
(:mod:`cnnprof.frontends.torch.direct`): their results depend on nothing else. Of the commonest the kind and attributes
don't depend on sizes either: those are known again at any size, with results by their rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cnnprof.frontends.torch.schema import Plan
from cnnprof.ir import Role, Tensor
from cnnprof.ir.record import quick_init

__all__ = ["Repeat", "Repeats"]

_USUAL = frozenset({torch.Tensor, torch.nn.Parameter})
_META = torch.device("meta")
_empty_strided = torch.empty_strided


@quick_init
@dataclass(frozen=True, slots=True)
class Repeat:
    """What a call comes to. ``results`` are records without names; ``made`` the (shape, stride, dtype) of each, or None
    where the call gives back its first argument, written in place; ``roles`` are the inputs'.
    """

    kind: str
    attributes: Mapping[str, Any]
    results: tuple[Tensor | None, ...]
    made: tuple[tuple[Any, Any, torch.dtype] | None, ...] | None
    roles: list[Role | None]

    def run(self, arguments: tuple[Any, ...]) -> list[torch.Tensor | None]:
        """The results, as tensors."""
        if self.made is None:
            return [arguments[0]]
        return [
            None if one is None else _empty_strided(one[0], one[1], dtype=one[2], device=_META) for one in self.made
        ]


class Repeats:
    """The calls of one trace."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Repeat] = {}

    @staticmethod
    def key(plan: Plan, arguments: tuple[Any, ...]) -> Hashable | None:
        """What tells a call from others; None for one that isn't remembered (lists, unusual tensors)."""
        parts: list[Any] = [id(plan)]
        for value in arguments:
            if type(value) in _USUAL:
                if value.layout is not torch.strided:
                    return None
                parts.append((value.shape, value.stride(), value.dtype, value.is_meta))
            elif isinstance(value, (list, torch.Tensor)):
                return None
            else:
                # 1, 1.0 and True are equal, and not the same attribute.
                parts.append((type(value), value))
        return tuple(parts)

    def get(self, key: Hashable) -> Repeat | None:
        try:
            return self._known.get(key)
        except TypeError:  # an argument without a hash
            return None

    def put(
        self, key: Hashable, kind: str, attributes: Mapping[str, Any], results: tuple[Tensor | None, ...],
        outputs: list[torch.Tensor | None], roles: list[Role | None], *, in_place: bool,
    ) -> None:  # fmt: skip
        made = None
        if not in_place:
            made = tuple([None if t is None else (t.shape, t.stride(), t.dtype) for t in outputs])
        try:
            self._known[key] = Repeat(kind, attributes, results, made, roles)
        except TypeError:  # an argument without a hash
            return
