"""What the model is called with: from input descriptions, shapes or real tensors to substrate tensors.

A sequence gives positional arguments, a mapping keyword arguments. Each is a tensor, an
:class:`~cnnprof.frontends.inputs.InputSpec`, a shape (a tuple of ints) or a list, tuple or dict of those;
anything else is passed on as it is. The name of an InputSpec places it: ``ids`` is a parameter of ``forward``,
``batch.image`` an entry of the dict ``batch``, ``images.0`` an item of the list ``images``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cnnprof.errors import ModelError, UsageError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.dtypes import torch_dtype
from cnnprof.frontends.torch.substrate import Cpu, Substrate

__all__ = ["Arguments", "Inputs", "make_arguments", "plan_arguments"]

Inputs = Any  # see the module's docstring: nested, so no useful static type


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call's arguments with every input tensor's name, in the order they are given."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    tensors: tuple[tuple[str, torch.Tensor], ...]


def plan_arguments(module: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sort ``inputs`` into positional and keyword arguments; leaves are still descriptions.

    Raises :class:`ModelError` if ``forward`` doesn't take these, :class:`UsageError` for one given twice.
    """
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (torch.Tensor, InputSpec)) or _is_shape(inputs):
        inputs = (inputs,)
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise UsageError(
            f"inputs: expected shapes, tensors or input descriptions, got {type(inputs).__name__}",
            "for example inputs=[(1, 3, 224, 224)]",
        )
    named = [item for item in inputs if isinstance(item, InputSpec) and item.name]
    args = tuple(item for item in inputs if not (isinstance(item, InputSpec) and item.name))
    kwargs: dict[str, Any] = {}
    for spec in named:
        _put(kwargs, (spec.name or "").split("."), spec)
    kwargs = {key: _listed(value) for key, value in kwargs.items()}
    _check(module, args, kwargs)
    return args, kwargs


def make_arguments(
    module: nn.Module, planned: tuple[tuple[Any, ...], Mapping[str, Any]], substrate: Substrate, dtype: torch.dtype
) -> Arguments:
    """Tensors on ``substrate`` for everything planned; ``dtype`` where a description names none."""
    names = _parameter_names(module)
    maker = _Maker(substrate, dtype)
    planned_args, planned_kwargs = planned
    args = tuple(maker.make(v, names[i] if i < len(names) else f"input{i}") for i, v in enumerate(planned_args))
    kwargs = {key: maker.make(value, key) for key, value in planned_kwargs.items()}
    return Arguments(args, kwargs, tuple(maker.tensors))


class _Maker:
    """Makes tensors of descriptions, wherever those stand in a structure; ``tensors`` has them by name."""

    def __init__(self, substrate: Substrate, dtype: torch.dtype) -> None:
        self._substrate, self._dtype = substrate, dtype
        self.tensors: list[tuple[str, torch.Tensor]] = []

    def make(self, value: Any, name: str) -> Any:
        """``value`` with its descriptions replaced."""
        if isinstance(value, torch.Tensor):
            with torch.no_grad():  # a copy: the model may write into it
                tensor = self._substrate.like(value)
            self.tensors.append((name, tensor))
            return tensor
        if _is_shape(value):
            value = InputSpec(tuple(value))
        if isinstance(value, InputSpec):
            tensor = _from_spec(value, self._substrate, self._dtype)
            self.tensors.append((name, tensor))
            return tensor
        if isinstance(value, Mapping):
            return type(value)({k: self.make(v, f"{name}.{k}") for k, v in value.items()})  # type: ignore[call-arg]
        if type(value) in (list, tuple):
            return type(value)(self.make(v, f"{name}.{i}") for i, v in enumerate(value))
        return value


def _from_spec(spec: InputSpec, substrate: Substrate, default: torch.dtype) -> torch.Tensor:
    dtype = default if spec.dtype is None else torch_dtype(spec.dtype)
    if spec.low is not None and spec.dtype is None:
        dtype = torch.int64
    if isinstance(substrate, Cpu):
        low = 0 if spec.low is None else spec.low
        return substrate.fill(spec.shape, dtype, low, max(low, 1) if spec.high is None else spec.high)
    return substrate.empty(spec.shape, dtype)


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, (tuple, torch.Size))
        and len(value) > 0
        and all(isinstance(d, int) and not isinstance(d, bool) for d in value)
    )


def _put(tree: dict[str, Any], path: list[str], spec: InputSpec) -> None:
    *parents, last = path
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--input {spec.name}: {part!r} is both a tensor and a container", "rename one")
    if last in tree:
        raise UsageError(f"--input {spec.name}: given twice", "give each input once")
    tree[last] = spec


def _listed(value: Any) -> Any:
    """A dict whose keys are 0, 1, 2, ... is a list."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if set(inner) == {str(i) for i in range(len(inner))}:
        return [inner[str(i)] for i in range(len(inner))]
    return inner


def _forward(module: nn.Module) -> inspect.Signature | None:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):
        return None


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameter_names(module: nn.Module) -> list[str]:
    signature = _forward(module)
    if signature is None:
        return []
    return [p.name for p in signature.parameters.values() if p.kind in _POSITIONAL]


def _check(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse what ``forward`` can't take before anything runs, naming what it takes."""
    signature = _forward(module)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(str(p) for p in signature.parameters.values()) or "nothing"
        raise ModelError(
            f"inputs of {type(module).__name__}: {error}",
            f"its forward takes ({takes}); give each with --input NAME=SHAPE",
        ) from error
