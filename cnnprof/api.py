"""The library's front door: :func:`load` a model, :func:`analyze` it.

>>> import cnnprof
>>> profile = cnnprof.analyze("model.onnx")          # doctest: +SKIP
>>> profile.macs, profile.parameters                 # doctest: +SKIP
(4089184256, 25557032)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnprof.errors import UnknownOperatorError, UsageError
from cnnprof.frontends.inputs import InputSpec, parse_inputs
from cnnprof.ir import Graph, Shape
from cnnprof.ir.collection import collection_paused

if TYPE_CHECKING:
    from cnnprof.profile import Profile

__all__ = ["ALL_SECTIONS", "analyze", "load"]

ALL_SECTIONS = ("receptive_field", "memory")
Inputs = Sequence[str | Shape | InputSpec]


def load(
    reference: str | Path,
    *,
    inputs: Inputs = (),
    batch: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    optimizer: str | None = None,
) -> Graph:
    """Read a model into a :class:`~cnnprof.ir.Graph`; ``graph.digraph`` is its networkx ``MultiDiGraph``.

    ``reference`` is a path to an ONNX file, ``"-"``, ``"torchvision:NAME"``, ``"timm:NAME"``,
    ``"zoo:NAME"``, ``"module:callable"`` or a ``.pt2`` archive. ``inputs`` are shapes or descriptions such as
    ``"image=1x3x480x640"``. Raises :class:`~cnnprof.errors.CnnprofError`.
    """
    if not isinstance(reference, (str, Path)):
        raise UsageError(
            f"load: expected a path or a reference, got {type(reference).__name__}",
            "cnnprof.analyze(module, inputs) takes a torch.nn.Module",
        )
    specs = parse_inputs(inputs)
    text = str(reference)
    if text.startswith("zoo:"):
        from cnnprof.zoo.load import load_zoo

        return load_zoo(text, inputs=specs, batch=batch, training=training, optimizer=optimizer)
    from cnnprof.frontends.sources import load_graph

    return load_graph(text, inputs=specs, batch=batch, kwargs=kwargs, training=training, optimizer=optimizer)


@collection_paused()
def analyze(
    model: Any,
    inputs: Any = (),
    *,
    batch: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    optimizer: str | None = None,
    sections: Sequence[str] = ALL_SECTIONS,
    strict: bool = False,
) -> Profile:
    """Cost a model: a reference (see :func:`load`), a Graph, or a ``torch.nn.Module`` with its inputs.

    ``sections`` chooses the analyses beside complexity. ``strict`` raises
    :class:`~cnnprof.errors.UnknownOperatorError` if any operator's cost is unknown.
    """
    graph = _graph(model, inputs, batch=batch, kwargs=kwargs, training=training, optimizer=optimizer)
    return profile_graph(graph, sections=sections, strict=strict)


@collection_paused()
def profile_graph(graph: Graph, *, sections: Sequence[str] = ALL_SECTIONS, strict: bool = False) -> Profile:
    """Run the analyses on a graph and put the Profile together."""
    from cnnprof.analyses.complexity import complexity
    from cnnprof.assemble import profile_of

    costs = complexity(graph)
    if strict and not costs.complete:
        group = costs.unknown[0]
        raise UnknownOperatorError(
            f"{graph.source.name}: {sum(g.count for g in costs.unknown)} layers can't be counted, "
            f"first {group.op_type} at {group.layers[0]!r} ({group.reason})",
            "run without --strict to see the rest; totals are then lower bounds",
        )
    top: dict[str, Mapping[str, Any]] = {}
    by_layer: dict[str, Mapping[str, Any]] = {}
    totals: dict[str, Any] = {}
    for name in sections:
        if name not in _SECTIONS:
            raise UsageError(f"analyze: no section {name!r}", f"one of {', '.join(_SECTIONS)}")
        found = _SECTIONS[name](graph)
        top[name] = found.section
        totals |= found.totals
        if found.layers:
            by_layer[name] = found.layers
    return profile_of(graph, costs, layer_sections=by_layer, sections=top, totals=totals)


@dataclass(frozen=True, slots=True)
class _Section:
    """What one analysis adds to a Profile: its section, its object by layer name, its totals."""

    section: Mapping[str, Any]
    layers: Mapping[str, Any]
    totals: Mapping[str, Any]


def _receptive_field(graph: Graph) -> _Section:
    from cnnprof.analyses.receptive_field import receptive_field

    fields = receptive_field(graph)
    return _Section(fields.to_dict(), fields.layer_sections(), {})


def _memory(graph: Graph) -> _Section:
    from cnnprof.analyses.memory import memory

    # Advice weighs several schedules; over this many ops `cnnprof memory` gives it, not every analysis.
    result = memory(graph, advise=len(graph) <= 20_000)
    totals = {"peak_bytes": result.peak_bytes, "peak_activation_bytes": result.peak_activation_bytes}
    return _Section(result.to_dict(), {}, totals)


# One row an analysis: a Profile carries whatever stands here.
_SECTIONS: dict[str, Callable[[Graph], _Section]] = {"receptive_field": _receptive_field, "memory": _memory}


def _graph(
    model: Any,
    inputs: Any,
    *,
    batch: int | None,
    kwargs: Mapping[str, Any] | None,
    training: bool,
    optimizer: str | None,
) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(model, (str, Path)):
        return load(model, inputs=inputs, batch=batch, kwargs=kwargs, training=training, optimizer=optimizer)
    if not callable(model):
        raise UsageError(
            f"analyze: expected a path, a reference, a Graph or a Module, got {type(model).__name__}",
            "see help(cnnprof.load) for what a reference may be",
        )
    from cnnprof.frontends.torch.trace import trace

    return trace(model, inputs, training=training, optimizer=optimizer)
