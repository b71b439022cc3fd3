"""The module path that the forward pass is in right now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cnnprof.frontends.torch.borrow import Parts

__all__ = ["LeafCall", "Scopes"]

# What a layer's call with one positional argument comes to; None where the layer's own forward is needed.
LeafCall = Callable[[Any], Any]


class Scopes:
    """While entered, ``current`` is the path ("layer1/0/conv1") of the innermost module being called.

    Each part gets a ``forward`` of its own that says where it is and calls the class's: torch's global hooks would
    tell as well, but send every call of every module the long way round. Parts with hooks of their own get two more
    of theirs, so that what those hooks compute is theirs too. ``leaf`` may give a short cut for a part.
    ``calls`` counts the calls of parts. A module known under two names keeps the first; one that isn't part of the
    model runs under its caller's path.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = [(module, name.replace(".", "/")) for name, module in parts]
        self.leaf: Callable[[nn.Module], LeafCall | None] | None = None
        self._thread = threading.get_ident()
        self._undo: list[Callable[[], Any]] = []  # hooks
        self._wrapped: list[tuple[dict[str, Any], Any]] = []  # a part's attributes, and its own forward among them
        self.current = ""
        self.calls = 0  # of modules, so far

    def __enter__(self) -> Scopes:
        for module, path in self._parts:
            held = module.__dict__
            hooked = any([held.get(name) for name in _HOOKS])  # noqa: C419  (short; a list is quicker)
            if hooked and not isinstance(module, torch.jit.ScriptModule):
                self._hook(module, path)
            else:
                self._wrap(module, path)
        return self

    def __exit__(self, *_exception: object) -> None:
        while self._undo:
            self._undo.pop()()
        for attributes, own in reversed(self._wrapped):
            if own is _NONE:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = own
        self._wrapped.clear()
        self.leaf = None  # knows the recorder, which knows this

    def _wrap(self, module: nn.Module, path: str) -> None:
        forward = module.forward
        short = None if self.leaf is None else self.leaf(module)
        thread, get_ident = self._thread, threading.get_ident

        def entered(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != thread:
                return forward(*args, **kwargs)
            before = self.current
            self.current = path
            self.calls += 1
            try:
                if short is not None and len(args) == 1 and not kwargs:
                    result = short(args[0])
                    if result is not None:
                        return result
                return forward(*args, **kwargs)
            finally:
                self.current = before

        attributes = module.__dict__
        self._wrapped.append((attributes, attributes.get("forward", _NONE)))
        entered.__wrapped__ = forward  # type: ignore[attr-defined]  # for models that look at a signature
        attributes["forward"] = entered

    def _hook(self, module: nn.Module, path: str) -> None:
        came_from: list[str] = []

        def push(_module: nn.Module, _args: Any) -> None:
            if threading.get_ident() == self._thread:
                came_from.append(self.current)
                self.current = path
                self.calls += 1

        def pop(_module: nn.Module, _args: Any, _output: Any) -> None:
            if threading.get_ident() == self._thread and came_from:
                self.current = came_from.pop()

        first = module.register_forward_pre_hook(push, prepend=True)
        last = module.register_forward_hook(pop, always_call=True)
        self._undo += [first.remove, last.remove]


_NONE = object()
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
