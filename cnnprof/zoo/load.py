"""Builds a network of the zoo and traces it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from cnnprof.errors import DependencyError
from cnnprof.frontends.inputs import InputSpec, parse_inputs
from cnnprof.ir import Graph
from cnnprof.zoo.catalogue import entry
from cnnprof.zoo.entry import Entry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "factory", "load_zoo", "model_inputs"]


def factory(row: Entry) -> Callable[[], nn.Module]:
    """A callable that makes the network, weights at their initialisation; torch is imported here."""
    module, _, name = row.build.partition(":")
    try:
        make = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cnnprof"):
            raise
        raise DependencyError(
            f"zoo:{row.name}: needs {error.name}", "pip install 'cnnprof[zoo]' (torch and torchvision)"
        ) from None
    return lambda: make(**row.arguments)


def build(name: str) -> nn.Module:
    """The network in evaluation mode."""
    return factory(entry(name))().eval()


def model_inputs(row: Entry) -> tuple[InputSpec, ...]:
    return parse_inputs(row.inputs)


def load_zoo(
    reference: str,
    *,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    training: bool = False,
    optimizer: str | None = None,
) -> Graph:
    """The graph of ``zoo:NAME`` at its own input size, or at ``inputs``."""
    row = entry(reference.removeprefix("zoo:"))
    specs = tuple(inputs) or model_inputs(row)
    if batch is not None:
        specs = tuple(replace(spec, shape=(batch, *spec.shape[1:])) for spec in specs)
    make = factory(row)
    from cnnprof.frontends.torch.build import build as build_module
    from cnnprof.frontends.torch.trace import trace

    made = build_module(make, reference)
    return trace(
        made.module,
        specs,
        training=training,
        optimizer=optimizer,
        reference=reference,
        name=row.name,
        rebuild=made.rebuild,
    )
