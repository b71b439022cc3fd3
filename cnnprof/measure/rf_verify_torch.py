"""Check a torch model's predicted receptive fields with the gradient probe, and measure effective ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from cnnprof.analyses.receptive_field.propagate import Propagation
from cnnprof.analyses.receptive_field.result import UnitField
from cnnprof.errors import UsageError
from cnnprof.frontends.torch.arguments import Arguments, make_arguments, plan_arguments
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.ir import Graph, Op
from cnnprof.measure.rf_check import FieldCheck, compare, units_to_check
from cnnprof.measure.rf_probe_torch import EffectiveField, ProbeUnit, effective_field, reached_positions

__all__ = ["effective_of", "tappable", "verify_module"]


def verify_module(
    graph: Graph,
    propagation: Propagation,
    module: nn.Module,
    inputs: Any,
    *,
    layer: str | None = None,
    position: Sequence[int] | None = None,
) -> tuple[FieldCheck, ...]:
    """Probe ``module`` (with real weights; ``graph`` is its trace at ``inputs``) at one layer's units, or at a few
    layers'. Raises :class:`UsageError` if the layer isn't a module's output."""
    paths = tappable(graph)
    units = units_to_check(graph, propagation, [graph.op_by_name[name] for name in paths], layer, position)
    arguments = _arguments(module, inputs)
    names = _floating(graph, arguments)
    reached = reached_positions(
        module,
        (arguments.args, dict(arguments.kwargs)),
        [_probe(unit, paths) for unit in units],
        input_axes=[propagation.axes[name] for name in names],
    )
    checks: list[FieldCheck] = []
    for unit, found in zip(units, reached, strict=True):
        sets = {name: seen.positions for name, seen in zip(names, found, strict=True) if seen.axes}
        checks += compare(unit, sets)
    return tuple(checks)


def effective_of(
    graph: Graph,
    propagation: Propagation,
    module: nn.Module,
    inputs: Any,
    unit: UnitField,
    *,
    samples: int = 16,
    seed: int = 0,
) -> EffectiveField:
    """Luo et al.'s effective field of ``unit`` on the first floating-point input."""
    paths = tappable(graph)
    if unit.layer not in paths:
        near = [op for op in graph.ops if op.name in paths][-1:]
        raise UsageError(
            f"--layer {unit.layer!r}: not the output of a module", f"try {near[0].name!r}" if near else "try another"
        )
    arguments = _arguments(module, inputs)
    names = _floating(graph, arguments)
    if not names or not propagation.axes[names[0]]:
        raise UsageError(f"{graph.source.name}: no input with spatial axes", "nothing to draw")
    return effective_field(
        module,
        (arguments.args, dict(arguments.kwargs)),
        _probe(unit, paths),
        input_axes=propagation.axes[names[0]],
        samples=samples,
        seed=seed,
    )


def tappable(graph: Graph) -> dict[str, tuple[str, int]]:
    """Op name -> (module path, output number) for ops whose result is a module's output: the last op inside
    the module; and the graph's outputs, path ""."""
    last: dict[str, Op] = {}
    for op in graph.ops:
        parts = op.scope.split("/") if op.scope else []
        for depth in range(1, len(parts) + 1):
            last["/".join(parts[:depth])] = op
    found: dict[str, tuple[str, int]] = {}
    for path, op in last.items():
        if len(op.present_outputs) == 1:
            found[op.name] = (path, 0)
    for number, name in enumerate(graph.outputs):
        op = graph.producer.get(name)  # type: ignore[assignment]
        if op is not None and op.outputs[0] == name:
            found[op.name] = ("", number)
    return found


def _probe(unit: UnitField, paths: dict[str, tuple[str, int]]) -> ProbeUnit:
    path, output = paths[unit.layer]
    return ProbeUnit(path, output, unit.axes, unit.position)


def _arguments(module: nn.Module, inputs: Any) -> Arguments:
    floating = (t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    return make_arguments(module, plan_arguments(module, inputs), Cpu(), next(floating, torch.float32))


def _floating(graph: Graph, arguments: Arguments) -> list[str]:
    """Names of the graph inputs that are floating-point tensors, in the order of the arguments."""
    pairs = zip(graph.inputs, arguments.tensors, strict=True)
    return [name for name, (_, tensor) in pairs if tensor.is_floating_point()]
