"""Make a module from a factory without allocating its weights, where the factory allows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnprof.errors import CnnprofError, ModelError
from cnnprof.frontends.torch.borrow import random_state_kept

__all__ = ["Built", "build"]

_INITIALISERS = frozenset(
    {
        *(getattr(nn.init, name) for name in ("uniform_", "normal_", "constant_", "kaiming_uniform_")),
        *(
            getattr(torch.Tensor, name)
            for name in (
                *("uniform_", "normal_", "fill_", "zero_", "clamp_", "erfinv_", "mul_", "add_", "div_"),
                *("log_normal_", "exponential_", "bernoulli_", "random_", "copy_"),
            )
        ),
    }
)


class _SkipFilling(TorchFunctionMode):
    """Meta tensors have no values: filling them is only time. (Most of what building on meta costs.)"""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _INITIALISERS:
            target = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(target, torch.Tensor) and target.is_meta:
                return target
        return func(*args, **(kwargs or {}))


class Built:
    """A module, and how to make it again with real weights (None where it has them)."""

    def __init__(self, module: nn.Module, rebuild: Callable[[], nn.Module] | None) -> None:
        self.module = module
        self.rebuild = rebuild


def build(factory: Callable[[], Any], reference: str) -> Built:
    """Call ``factory`` on the meta device, or on the CPU if it can't be built there.

    Raises :class:`ModelError` if it fails on the CPU too, or returns no module.
    """
    with random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"), _SkipFilling():
                module = factory()
            on_meta = True
        except CnnprofError:
            raise
        except Exception:  # whatever stops it on meta, the CPU run below reports the real cause
            module, on_meta = _really(factory, reference), False
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{reference}: expected a torch.nn.Module, got {type(module).__name__}",
            "name a module, or a callable that returns one",
        )
    made_on_meta = on_meta and any(t.is_meta for t in (*module.parameters(), *module.buffers()))
    return Built(module, _rebuilder(module, factory, reference) if made_on_meta else None)


def _really(factory: Callable[[], Any], reference: str) -> Any:
    try:
        return factory()
    except CnnprofError:
        raise
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ModelError(
            f"{reference}: building the model failed: {type(error).__name__}: {text[:200]}",
            "check --kwargs; --debug shows the traceback",
        ) from error


def _rebuilder(module: nn.Module, factory: Callable[[], Any], reference: str) -> Callable[[], nn.Module]:
    def rebuild() -> nn.Module:
        need = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if need > free:
            raise ModelError(
                f"{reference}: its shapes depend on data, and a real run needs {need:,} bytes of weights, "
                f"more than the {free:,} free",
                "analyse a smaller configuration",
            )
        with random_state_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = _really(factory, reference)
            return made

    return rebuild
