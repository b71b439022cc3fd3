"""From a model reference to its Graph.

torchvision:NAME, timm:NAME      a library's model, without pretrained weights, at the input it was trained for
package.module:callable          a factory (or a module) by import path
path/to/file.py:callable         a factory (or a module) in a file
model.pt2                        a torch.export archive
model.pt, model.pth              a TorchScript archive (anything else in there holds no network, or needs code run)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from cnnprof.errors import ModelError, UsageError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import Inputs
from cnnprof.frontends.torch.build import build
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph

__all__ = ["Loaded", "load_module", "load_reference", "with_batch"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module ready to trace. ``inputs`` are its own default ones (None where it has none);
    ``rebuild`` makes it anew with real weights."""

    module: nn.Module
    inputs: Inputs
    format: str = "torch"
    rebuild: Callable[[], nn.Module] | None = None


def load_module(reference: str, kwargs: Mapping[str, Any] | None = None) -> Loaded:
    """The module that ``reference`` names. Raises :class:`~cnnprof.errors.ModelError` if it can't be had,
    :class:`~cnnprof.errors.DependencyError` if a library isn't installed."""
    arguments = dict(kwargs or {})
    suffix = Path(reference).suffix.lower()
    if suffix in (".pt2", ".pt", ".pth", ".ckpt", ".bin", ".safetensors"):
        from cnnprof.frontends.torch.archives import load_archive

        if arguments:
            raise UsageError(f"{reference}: --kwargs are for factories", "a saved file is what it is")
        return Loaded(*load_archive(Path(reference)))
    from cnnprof.frontends.torch import libraries
    from cnnprof.frontends.torch.factories import factory_of

    library, _, name = reference.partition(":")
    if library == "torchvision":
        factory, inputs = libraries.torchvision_model(name, arguments)
    elif library == "timm":
        factory, inputs = libraries.timm_model(name, arguments)
    else:
        factory, inputs = factory_of(reference, arguments), None
    built = build(factory, reference)
    if inputs is None:
        inputs = libraries.own_input
    return Loaded(built.module, inputs(built.module), "torch", built.rebuild)


def load_reference(
    reference: str,
    *,
    inputs: Sequence[InputSpec] = (),
    kwargs: Mapping[str, Any] | None = None,
    batch: int | None = None,
    training: bool = False,
    optimizer: str | None = None,
) -> Graph:
    """Trace the model that ``reference`` names at ``inputs`` (default: its own), with the first dimension of each
    set to ``batch`` if that is given."""
    loaded = load_module(reference, kwargs)
    chosen: Inputs = tuple(inputs) or loaded.inputs
    if chosen is None:
        raise ModelError(
            f"{reference}: the size of its input isn't known",
            f"cnnprof analyze {reference} --input 1x3x224x224 (or what it takes)",
        )
    if batch is not None:
        chosen = with_batch(chosen, batch)
    return trace(
        loaded.module,
        chosen,
        training=training,
        optimizer=optimizer,
        reference=reference,
        name=_title(reference),
        format=loaded.format,
        rebuild=loaded.rebuild,
    )


def _title(reference: str) -> str:
    library, _, name = reference.partition(":")
    return name if library in ("torchvision", "timm") else Path(reference).name


def with_batch(inputs: Inputs, batch: int) -> Inputs:
    """Every input with its first dimension set; a list of images gets that many of its first."""
    if isinstance(inputs, InputSpec):
        return replace(inputs, shape=(batch, *inputs.shape[1:])) if inputs.shape else inputs
    if isinstance(inputs, list) and inputs and all(isinstance(i, InputSpec) for i in inputs):
        return [inputs[0]] * batch
    if isinstance(inputs, (list, tuple)):
        return type(inputs)(with_batch(item, batch) for item in inputs)
    if isinstance(inputs, Mapping):
        return {key: with_batch(value, batch) for key, value in inputs.items()}
    if hasattr(inputs, "shape"):
        return InputSpec((batch, *tuple(inputs.shape)[1:]), None, _dtype_of(inputs))
    return inputs


def _dtype_of(tensor: Any) -> Any:
    from cnnprof.frontends.torch.dtypes import ir_dtype

    return ir_dtype(tensor.dtype)
