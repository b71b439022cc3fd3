"""From an ``nn.Module`` and inputs to a Graph, by running it once without its weights.

The module runs on meta tensors; where that can't be (shapes that depend on data), on fake tensors; and where
that can't be either, really on the CPU. A note says which and why. The module is given back as it was found.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from cnnprof.errors import CnnprofError, ModelError, UsageError, one_line
from cnnprof.frontends.torch.arguments import Inputs, make_arguments, plan_arguments
from cnnprof.frontends.torch.borrow import borrowed, has_lazy, named_parts, weights_of
from cnnprof.frontends.torch.composites import Composites
from cnnprof.frontends.torch.recorder import Recorder
from cnnprof.frontends.torch.scopes import Scopes
from cnnprof.frontends.torch.substrate import Cpu, Fake, Meta, Substrate
from cnnprof.frontends.torch.training import (
    backward,
    check_optimizer,
    make_optimizer,
    optimizer_state_bytes,
    tensors_in,
)
from cnnprof.ir import DType, Graph, GraphBuilder, ModelSource, Role
from cnnprof.ir.collection import collection_paused

__all__ = ["floating_dtype", "trace"]

# What torch says where a model needs values that the substrate doesn't have.
_NEEDS_VALUES = re.compile(
    r"meta|fake|data.?dependent|unbacked|\.item\(|nonzero|_local_scalar_dense|numpy|backend|tolist", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Request:
    inputs: Inputs
    training: bool
    optimizer: str | None
    source: ModelSource


@collection_paused()
def trace(
    module: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    optimizer: str | None = None,
    reference: str = "",
    name: str = "",
    format: str = "torch",
    rebuild: Callable[[], nn.Module] | None = None,
) -> Graph:
    """Trace one call of ``module`` (with ``training``, one training step; with ``optimizer``, its update too).

    ``inputs``: see :mod:`cnnprof.frontends.torch.arguments`. ``rebuild`` makes the module anew with real weights,
    for models that were built on the meta device and turn out to need values. Raises :class:`ModelError` if the
    model fails on these inputs or doesn't take them, :class:`UsageError` if the options don't go together.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{reference or 'model'}: expected a torch.nn.Module, got {type(module).__name__}",
            "give a module, or a callable that returns one",
        )
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper
    check_optimizer(optimizer)
    if optimizer is not None and not training:
        raise UsageError(f"--optimizer {optimizer}: only a training step has an update", "add --training")
    title = name or type(module).__name__
    request = _Request(
        inputs, training, optimizer, ModelSource(reference=reference or title, name=title, format=format)
    )
    return _first_that_works(module, request, rebuild)


def _first_that_works(module: nn.Module, request: _Request, rebuild: Callable[[], nn.Module] | None) -> Graph:
    planned = plan_arguments(module, request.inputs)
    reasons: list[str] = []
    attempts: tuple[type[Substrate], ...] = (Meta, Fake, Cpu)
    for attempt in attempts:
        if attempt is not Meta and rebuild is not None:
            module, rebuild = rebuild(), None
        substrate = attempt()
        try:
            return _run(module, planned, request, substrate, reasons)
        except CnnprofError:
            raise
        except Exception as error:
            if attempt is Cpu or (attempt is Meta and not _needs_values(error)):
                raise _explain(error, request, module) from error
            reasons.append(f"{substrate.name}: {one_line(error)}")
    raise AssertionError("the last attempt returns or raises")


def _run(
    module: nn.Module,
    planned: tuple[tuple[Any, ...], dict[str, Any]],
    request: _Request,
    substrate: Substrate,
    reasons: list[str],
) -> Graph:
    training = request.training
    builder = GraphBuilder(request.source, "training" if training else "inference")
    if reasons:
        message = f"traced on {substrate.name}, because it can't run on {'; nor on '.join(reasons)}"
        if isinstance(substrate, Cpu):
            message += "; what depends on data (detections, say) is what random values gave"
        builder.note("fallback", message)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if "torch._dynamo" in sys.modules:  # else nothing in the model can be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        dtype = floating_dtype(module)
        loan = stack.enter_context(borrowed(module, substrate, training=training, at_need=True))
        parts = loan.parts
        scopes = Scopes(parts)
        recorder = Recorder(builder, scopes, substrate, lambda: weights_of(named_parts(module)))
        stack.callback(recorder.close)
        arguments = make_arguments(module, planned, substrate, dtype)
        if not loan.at_need and has_lazy(parts):
            with substrate.mode(), torch.no_grad():  # lazy modules make their weights in a first call
                module(*arguments.args, **arguments.kwargs)
        for name, tensor, is_parameter in list(weights_of(parts)):
            recorder.declare(tensor, name, Role.PARAMETER if is_parameter else Role.BUFFER)
        loan.tell(recorder.ledger.lend)
        inputs = [recorder.declare(tensor, name, Role.INPUT) for name, tensor in arguments.tensors]
        optimizer = None
        saved: dict[str, None] = {}
        stack.enter_context(substrate.mode())
        stack.enter_context(torch.enable_grad() if training else torch.no_grad())
        if training:
            stack.enter_context(_saved_hooks(recorder, saved))
        composites = Composites(None if training else recorder)
        scopes.leaf = composites.leaf
        with scopes, recorder, composites:
            result = module(*arguments.args, **arguments.kwargs)
        found = tensors_in(result)
        if not found:
            raise ModelError(
                f"output of {request.source.name}: expected a tensor, or a structure of them, "
                f"got {type(result).__name__}",
                "wrap the model so that its forward returns what it computes",
            )
        outputs = list(dict.fromkeys(recorder.name_of(tensor) for tensor in found))
        if training:
            del result
            with scopes, recorder:
                recorder.phase = "backward"
                backward(found)
                if request.optimizer is not None:
                    optimizer = make_optimizer(request.optimizer, module)
                    recorder.phase = "optimizer"
                    optimizer.step()
        graph = builder.build(
            list(dict.fromkeys(inputs)),
            outputs,
            saved_for_backward=saved,
            optimizer_state_bytes=0 if optimizer is None else optimizer_state_bytes(optimizer),
            module_calls=scopes.calls,
        )
        del found, arguments, optimizer
    return replace(graph, source=replace(graph.source, digest=_digest(graph)))


def _needs_values(error: Exception) -> bool:
    return isinstance(error, NotImplementedError) or _NEEDS_VALUES.search(str(error)) is not None


def _saved_hooks(recorder: Recorder, saved: dict[str, None]) -> Any:
    def pack(tensor: torch.Tensor) -> torch.Tensor:
        record = recorder.ledger.storage(tensor)
        if record is not None:
            saved[record.name] = None
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


def floating_dtype(module: nn.Module) -> torch.dtype:
    """What an input is where nobody says: as the model's weights are."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def _explain(error: Exception, request: _Request, module: nn.Module) -> ModelError:
    text = str(error)
    hint = "check the inputs; --debug shows the traceback"
    if re.search(r"argument.*'indices'.*scalar types|indices.*(Long|Int|int)", text):
        hint = "it takes integer ids: give them as --input int64:1x128"
    elif re.search(r"size mismatch|shapes? .*(cannot be multiplied|invalid)|channel|must match|[Ii]nvalid.*size", text):
        hint = "the input's shape doesn't fit the model: give another --input"
    elif re.search(r"dtype|scalar type|[Ii]nput type", text):
        hint = "the input's dtype doesn't fit the model: give it as --input DTYPE:SHAPE"
    where = _where(error, module)
    return ModelError(f"{request.source.reference}: its forward failed{where}: {one_line(error)}", hint)


def _where(error: Exception, root: nn.Module) -> str:
    """The innermost module of the model that the exception came through, with its settings."""
    paths = {id(module): name for name, module in root.named_modules()}
    found = ""
    trace_back = error.__traceback__
    while trace_back is not None:
        owner = trace_back.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and paths.get(id(owner)):
            settings = owner.extra_repr() if not any(True for _ in owner.children()) else ""
            found = f" in {paths[id(owner)]}: {type(owner).__name__}({settings})"
        trace_back = trace_back.tb_next
    return found


def _digest(graph: Graph) -> str:
    """Identifies structure and shapes; equal for equal models wherever they were traced."""
    # An Enum's value is looked up by Python code: once a member, not once a tensor.
    names = {member: member.value for kind in (DType, Role) for member in kind}
    shapes = _Texts()
    lines = [f"{t.name}|{shapes[t.shape]}|{names[t.dtype]}|{names[t.role]}\n" for t in graph.tensors.values()]
    shared = {id(op.attributes): op.attributes for op in graph.ops}
    texts = {key: str(dict(attributes)) for key, attributes in shared.items()}
    lines += [f"{op.name}|{op.op_type}|{op.inputs}|{op.outputs}|{texts[id(op.attributes)]}\n" for op in graph.ops]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


class _Texts(dict[Any, str]):
    """Values as text; most shapes are those of many tensors."""

    def __missing__(self, value: Any) -> str:
        found = self[value] = str(value)
        return found
