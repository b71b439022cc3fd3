"""Run another tool's counter on a PyTorch model: fvcore's FlopCountAnalysis, torch's own FlopCounterMode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cnnprof.analyses.crosscheck import Crosscheck, ForeignCount, crosscheck
from cnnprof.errors import DependencyError, ModelError, UsageError, one_line
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import Inputs, make_arguments, plan_arguments
from cnnprof.frontends.torch.borrow import borrowed
from cnnprof.frontends.torch.composites import Composites
from cnnprof.frontends.torch.references import Loaded, load_module, with_batch
from cnnprof.frontends.torch.substrate import Cpu, Meta, Substrate
from cnnprof.frontends.torch.trace import floating_dtype, trace
from cnnprof.frontends.torch.training import backward, tensors_in

__all__ = ["TOOLS", "crosscheck_module", "crosscheck_reference"]

TOOLS = ("fvcore", "torch")


def crosscheck_reference(
    reference: str,
    tool: str,
    *,
    inputs: Sequence[InputSpec] = (),
    kwargs: Mapping[str, Any] | None = None,
    batch: int | None = None,
    training: bool = False,
) -> Crosscheck:
    """Cross-check the model that ``reference`` names (see :mod:`cnnprof.frontends.torch.references`)."""
    loaded = load_module(reference, kwargs)
    chosen: Inputs = tuple(inputs) or loaded.inputs
    if chosen is None:
        raise ModelError(
            f"{reference}: the size of its input isn't known",
            f"cnnprof crosscheck {reference} --input 1x3x224x224 (or what it takes)",
        )
    if batch is not None:
        chosen = with_batch(chosen, batch)
    return _check(loaded, chosen, tool, reference, training=training)


def crosscheck_module(module: nn.Module, inputs: Inputs, tool: str, *, training: bool = False) -> Crosscheck:
    """Cross-check a module; it is given back as it was found."""
    return _check(Loaded(module, inputs), inputs, tool, type(module).__name__, training=training)


def _check(loaded: Loaded, inputs: Inputs, tool: str, reference: str, *, training: bool) -> Crosscheck:
    if tool not in TOOLS:
        raise UsageError(f"--against {tool}: unknown tool", f"one of {', '.join(TOOLS)}")
    if training and tool != "torch":
        raise UsageError(f"--against {tool}: counts forward passes only", "leave --training out, or take torch")
    if tool == "fvcore":
        _need_fvcore()
    graph = trace(loaded.module, inputs, training=training, reference=reference, rebuild=loaded.rebuild)
    run = _fvcore if tool == "fvcore" else _torch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            foreign = list(run(loaded, inputs, training))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{reference}: {tool} can't count it: {one_line(error)}",
            "cnnprof analyze counts it all the same",
        ) from error
    return crosscheck(graph, tool, foreign, by_module=not training)


def _need_fvcore() -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import fvcore.nn  # noqa: F401
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"--against fvcore: {error.name} is not installed", "pip install 'cnnprof[fvcore]'"
        ) from error


@dataclass(frozen=True, slots=True)
class _Call:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def _call(module: nn.Module, inputs: Inputs, substrate: Substrate) -> _Call:
    made = make_arguments(module, plan_arguments(module, inputs), substrate, floating_dtype(module))
    return _Call(made.args, made.kwargs)


def _fvcore(loaded: Loaded, inputs: Inputs, _training: bool) -> Iterable[ForeignCount]:
    """fvcore traces with torch.jit, which runs the model for real."""
    from fvcore.nn import FlopCountAnalysis

    # What it doesn't count it says through logging; the cross-check says it better.
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    module = loaded.rebuild() if loaded.rebuild is not None else loaded.module
    substrate = Cpu()
    with borrowed(module, substrate, training=False), torch.enable_grad():
        call = _call(module, inputs, substrate)
        if call.kwargs:
            raise UsageError("--against fvcore: takes positional inputs only", "give --input without names")
        analysis = FlopCountAnalysis(module, call.args)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counts = analysis.by_module_and_operator()
    return _own_counts({name: dict(found) for name, found in counts.items()})


def _torch(loaded: Loaded, inputs: Inputs, training: bool) -> Iterable[ForeignCount]:
    """torch's counter works on meta tensors, so nothing is computed; on the CPU where the model can't run there."""
    try:
        return _torch_on(Meta(), loaded.module, inputs, training)
    except Exception:  # whatever stops it on meta, the CPU run reports the real cause
        module = loaded.rebuild() if loaded.rebuild is not None else loaded.module
        return _torch_on(Cpu(), module, inputs, training)


def _torch_on(substrate: Substrate, module: nn.Module, inputs: Inputs, training: bool) -> list[ForeignCount]:
    from torch.utils.flop_counter import FlopCounterMode

    with borrowed(module, substrate, training=training):
        call = _call(module, inputs, substrate)
        counter = FlopCounterMode(display=False)
        if not training:
            with torch.no_grad(), counter:
                module(*call.args, **call.kwargs)
        else:
            # The same fused attention as in our trace, so that both count the same operators.
            with torch.enable_grad(), counter, Composites(None):
                backward(tensors_in(module(*call.args, **call.kwargs)))
        counts = counter.get_flop_counts()
    root = type(module).__name__
    named = {
        "" if name == "Global" else name.removeprefix(f"{root}."): {str(k): v for k, v in found.items()}
        for name, found in counts.items()
        if name == "Global" or name.startswith(f"{root}.")
    }
    return _own_counts(named)


def _own_counts(inclusive: Mapping[str, Mapping[str, int]]) -> list[ForeignCount]:
    """From sums over modules with all their children to each module's own part."""
    found: list[ForeignCount] = []
    for name, counts in inclusive.items():
        own = dict(counts)
        for child, below in inclusive.items():
            if child != name and _parent(child, inclusive) == name:
                for operator, value in below.items():
                    own[operator] = own.get(operator, 0) - value
        scope = name.replace(".", "/")
        found += [
            ForeignCount(scope=scope, operator=operator.replace("aten.", ""), value=int(value))
            for operator, value in own.items()
            if value
        ]
    return found


def _parent(name: str, names: Mapping[str, object]) -> str | None:
    """The nearest enclosing module that was counted; "" is the root's."""
    while name:
        name = name.rpartition(".")[0]
        if name in names:
            return name
    return None
