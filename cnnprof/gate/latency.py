"""Predicted latency for a budget: where the gate asks the predictor."""

from __future__ import annotations

from cnnprof.errors import DeviceError
from cnnprof.ir import Graph
from cnnprof.profile import Profile

__all__ = ["with_prediction"]


def with_prediction(graph: Graph, profile: Profile, device: str) -> Profile:
    """The profile with its ``prediction`` section for ``device``. Raises :class:`DeviceError`."""
    raise DeviceError(
        f"{graph.source.name}: can't predict its latency on {device!r} from here",
        f"predict it first and budget the saved profile: cnnprof predict {profile.model['reference']} "
        f'--device {device} --format json -o FILE.json, then model = "FILE.json"',
    )
