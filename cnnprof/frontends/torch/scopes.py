"""The module path that the forward pass is in right now."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

__all__ = ["Scopes"]


class Scopes:
    """While entered, ``current`` is the path ("layer1/0/conv1") of the innermost module being called.

    torch's own global forward hooks tell it; they are gone again on exit. A module known under two
    names keeps the first; one that isn't part of the model runs under its caller's path.
    """

    def __init__(self, root: nn.Module) -> None:
        self._paths: dict[int, str] = {}
        for name, module in root.named_modules(remove_duplicate=False):
            self._paths.setdefault(id(module), name.replace(".", "/"))
        self._stack: list[tuple[int, str]] = []
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        self.current = ""

    def __enter__(self) -> Scopes:
        self._handles = [
            register_module_forward_pre_hook(self._push),
            register_module_forward_hook(self._pop, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _push(self, module: nn.Module, _args: Any) -> None:
        if threading.get_ident() == self._thread:
            self._stack.append((id(module), self.current))
            self.current = self._paths.get(id(module), self.current)

    def _pop(self, module: nn.Module, _args: Any, _output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        # A hook that raised may have skipped a pop: unwind to this module, never past the root.
        while self._stack:
            key, before = self._stack.pop()
            self.current = before
            if key == id(module):
                return
