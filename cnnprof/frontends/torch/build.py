"""Make a module from a factory without allocating its weights, where the factory allows."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnprof.errors import CnnprofError, ModelError, one_line
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


_EMPTY = frozenset({torch.empty, torch.empty_strided})
_FILLED = frozenset({torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})
_SMALL = 1 << 16


class _WeightsOnMeta(TorchFunctionMode):
    """Only what layers make their weights with goes to the meta device, so that a factory that computes (widths,
    drop rates) finds its values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if options.get("device") is None and (func in _EMPTY or (func in _FILLED and _large(args, options))):
            options["device"] = "meta"
        return func(*args, **options)


def _large(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
    return isinstance(size, (tuple, list)) and math.prod(d for d in size if isinstance(d, int)) > _SMALL


class Built:
    """A module, and how to make it again with real weights (None where it has them)."""

    def __init__(self, module: nn.Module, rebuild: Callable[[], nn.Module] | None) -> None:
        self.module = module
        self.rebuild = rebuild


def build(factory: Callable[[], Any], reference: str) -> Built:
    """Call ``factory`` on the meta device; with only its weights there if it computes; or on the CPU.

    Raises :class:`ModelError` if it fails on the CPU too, or returns no module.
    """
    with random_state_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, on_meta = None, True
        for place in (torch.device("meta"), _WeightsOnMeta()):
            try:
                with place, _SkipFilling():
                    module = factory()
                break
            except CnnprofError:
                raise
            except Exception:  # whatever stops it on meta, the CPU run below reports the real cause
                module = None
        else:
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
        raise ModelError(
            f"{reference}: building the model failed: {one_line(error)}",
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
