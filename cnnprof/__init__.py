"""cnnprof: what a convolutional network costs, layer by layer.

    import cnnprof
    profile = cnnprof.analyze("model.onnx")            # a Profile: totals, layers, coverage
    profile.macs, profile.parameters
    graph = cnnprof.load("model.onnx")                 # the IR; graph.digraph is a networkx MultiDiGraph

Names below are loaded on first use, so that importing cnnprof costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnprof.api import analyze, load
    from cnnprof.errors import CnnprofError
    from cnnprof.ir import Graph
    from cnnprof.profile import Layer, Profile

__version__ = "0.1.0"

__all__ = ["CnnprofError", "Graph", "Layer", "Profile", "__version__", "analyze", "load"]

_HOMES = {
    "analyze": "cnnprof.api",
    "load": "cnnprof.api",
    "CnnprofError": "cnnprof.errors",
    "Graph": "cnnprof.ir",
    "Layer": "cnnprof.profile",
    "Profile": "cnnprof.profile",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'cnnprof' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
