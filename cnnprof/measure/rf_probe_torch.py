"""Receptive fields measured on the torch module itself: by gradient, independent of any graph.

:func:`reached_positions` finds which input positions reach a unit; :func:`effective_field` how strongly, at
the module's own weights (Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NeurIPS 2016).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cnnprof.errors import ModelError, UsageError
from cnnprof.measure.rf_positive_torch import Positive, double_precision, positive_copy

__all__ = ["EffectiveField", "ProbeUnit", "ReachedInput", "effective_field", "reached_positions"]

_SPREAD = 0.0455  # Luo et al.: what a Gaussian keeps outside two standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedInput:
    """The positions (index tuples over ``axes``) of tensor input number ``index`` that reach the unit."""

    index: int
    axes: tuple[int, ...]
    extent: tuple[int, ...]
    positions: frozenset[tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveField:
    """Mean absolute gradient of a unit over the input's positions, the largest being 1.

    ``spread`` has one value per position, flat in row-major order over ``extent``. ``count`` positions carry
    at least 4.55 % of the largest; ``size`` is the side of the square (cube) with as many positions.
    """

    axes: tuple[int, ...]
    extent: tuple[int, ...]
    spread: tuple[float, ...]
    count: int
    size: float
    samples: int


@dataclass(frozen=True, slots=True)
class ProbeUnit:
    """A unit: its ``position`` over ``axes`` of tensor number ``output`` that a module gives the last time it
    is called; ``path`` names the module, "" the model. All channels and samples are taken together."""

    path: str
    output: int
    axes: tuple[int, ...]
    position: tuple[int, ...]


def reached_positions(
    module: nn.Module,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    units: Sequence[ProbeUnit],
    *,
    input_axes: Sequence[Sequence[int]],
) -> tuple[tuple[ReachedInput, ...], ...]:
    """Put a gradient probe for each unit through one run of a monotone copy of ``module``.

    ``input_axes`` are the spatial axes of each floating-point tensor among the arguments; per unit there's
    one result for each of these. Raises :class:`UsageError` for a path that isn't a module or gives no such
    output, :class:`ModelError` if the model fails.
    """
    probe = positive_copy(module)
    leaves, rebuilt = _leaves(arguments, lambda tensor: torch.ones_like(tensor, dtype=torch.float64))
    with double_precision(), torch.enable_grad(), Positive():
        gradients = _gradients(probe, rebuilt, leaves, units)
    return tuple(
        tuple(
            ReachedInput(
                index=number,
                axes=tuple(kept),
                extent=tuple(leaf.shape[axis] for axis in kept),
                positions=frozenset(tuple(row) for row in _over(gradient != 0, kept).nonzero().tolist()),
            )
            for number, (leaf, gradient, kept) in enumerate(zip(leaves, row, input_axes, strict=True))
        )
        for row in gradients
    )


def effective_field(
    module: nn.Module,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    unit: ProbeUnit,
    *,
    input_axes: Sequence[int],
    samples: int = 16,
    seed: int = 0,
) -> EffectiveField:
    """Luo et al.'s effective field of one unit for the first floating-point input, over ``samples`` random
    inputs; torch's global random state is left as it was."""
    probe = copy.deepcopy(module).to(device="cpu").float().eval()
    if samples < 1:
        raise UsageError(f"--samples {samples}: expected 1 or more", "give a positive number")
    total = torch.zeros(())
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        leaves, rebuilt = _leaves(
            arguments, lambda tensor: torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
        )
        with torch.enable_grad():
            gradient = _gradients(probe, rebuilt, leaves, (unit,))[0][0]
        kept = tuple(input_axes)
        others = tuple(axis for axis in range(gradient.dim()) if axis not in kept)
        strength = gradient.abs().sum(others) if others else gradient.abs()
        total = total + strength
    top = float(total.max())
    spread = (total / top if top > 0 else total).flatten().tolist()
    count = sum(value >= _SPREAD for value in spread) if top > 0 else 0
    return EffectiveField(
        axes=tuple(input_axes),
        extent=tuple(total.shape),
        spread=tuple(spread),
        count=count,
        size=count ** (1 / max(1, total.dim())),
        samples=samples,
    )


def _leaves(arguments: Any, fill: Any) -> tuple[list[Tensor], Any]:
    """The arguments with every floating-point tensor replaced by a fresh leaf; and those leaves."""
    leaves: list[Tensor] = []

    def fresh(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not value.is_floating_point():
            return torch.zeros(value.shape, dtype=value.dtype)
        leaves.append(fill(torch.empty(value.shape)).requires_grad_(True))
        return leaves[-1]

    return leaves, pytree.tree_map(fresh, arguments)


def _gradients(
    module: nn.Module, arguments: Any, leaves: list[Tensor], units: Sequence[ProbeUnit]
) -> list[list[Tensor]]:
    caught: dict[str, Any] = {}
    with _caught(module, {unit.path for unit in units if unit.path}, caught):
        args, kwargs = arguments
        try:
            caught[""] = module(*args, **kwargs)
        except Exception as error:
            raise ModelError(
                f"probe: the model fails ({type(error).__name__}: {error})", "try a larger --input"
            ) from error
    rows = []
    for unit in units:
        picked = _picked(unit, caught.get(unit.path))
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if picked.requires_grad:
            found = torch.autograd.grad(picked, leaves, allow_unused=True, retain_graph=True)
        pairs = zip(leaves, found, strict=True)
        rows.append([torch.zeros_like(leaf) if g is None else g for leaf, g in pairs])
    return rows


def _picked(unit: ProbeUnit, value: Any) -> Tensor:
    tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
    if unit.output >= len(tensors):
        raise UsageError(
            f"probe: {unit.path or 'the model'} gives {len(tensors)} tensors, no number {unit.output}",
            "choose a layer that is a module's output",
        )
    target = tensors[unit.output]
    index: list[Any] = [slice(None)] * target.dim()
    for axis, place in zip(unit.axes, unit.position, strict=True):
        index[axis] = place
    return target[tuple(index)].sum()


@contextmanager
def _caught(module: nn.Module, paths: Collection[str], caught: dict[str, Any]) -> Iterator[None]:
    modules = dict(module.named_modules())
    handles = []
    for path in paths:
        found = modules.get(path.replace("/", "."))
        if found is None:
            raise UsageError(f"probe: {path!r} is no module of the model", "choose a layer that is a module's output")

        def keep(_module: nn.Module, _args: Any, output: Any, path: str = path) -> None:
            # A view of its own: what the model later writes in place isn't this layer's output.
            caught[path] = pytree.tree_map(lambda t: t * 1 if isinstance(t, Tensor) else t, output)

        handles.append(found.register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _over(mask: Tensor, kept: Sequence[int]) -> Tensor:
    """Any over all axes but ``kept``."""
    for axis in reversed(range(mask.dim())):
        if axis not in kept:
            mask = mask.any(axis)
    return mask
