"""Predicted latency for a budget: where the gate asks the predictor."""

from __future__ import annotations

from cnnprof.ir import Graph
from cnnprof.profile import Profile

__all__ = ["with_prediction"]


def with_prediction(graph: Graph, profile: Profile, device: str) -> Profile:
    """The profile with its ``prediction`` section for ``device`` (a catalogue's or calibrated one's name, or a
    file). Raises :class:`~cnnprof.errors.CnnprofError` if there is no such device."""
    from cnnprof.predict.front import predict

    return profile.with_sections(prediction=predict(graph, device).to_dict())
