"""Predicted latency for a budget: where the gate asks the predictor."""

from __future__ import annotations

from cnnprof.ir import Graph
from cnnprof.predict.front import predict
from cnnprof.profile import Profile
from cnnprof.timing import with_prediction as joined

__all__ = ["with_prediction"]


def with_prediction(graph: Graph, profile: Profile, device: str) -> Profile:
    """The profile with its ``prediction`` section for ``device``. Raises :class:`~cnnprof.errors.DeviceError`."""
    return joined(profile, predict(graph, device))
