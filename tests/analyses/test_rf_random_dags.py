"""Predicted sets of input positions against the gradient of the torch module: equal, for random DAGs."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rf_dags import DagNet, dags

from cnnprof.analyses.receptive_field import unit_field
from cnnprof.analyses.receptive_field.propagate import propagate
from cnnprof.frontends.torch.trace import trace
from cnnprof.measure.rf_probe_torch import ProbeUnit, reached_positions


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(net=dags(), data=st.data())
def test_a_units_set_is_what_the_gradient_reaches(net: DagNet, data: st.DataObject) -> None:
    x = torch.zeros(net.shape)
    graph = trace(net, (x,))
    axes = tuple(range(2, net.rank + 2))
    spread = propagate(graph, {graph.inputs[0]: axes})
    shape = graph.tensors[graph.outputs[0]].shape
    assert shape is not None
    places = [tuple(0 for _ in axes), tuple(n // 2 for n in shape[2:]), tuple(n - 1 for n in shape[2:])]
    places.append(tuple(data.draw(st.integers(0, n - 1)) for n in shape[2:]))
    units = [unit_field(graph, None, _kept(graph, spread, p), propagation=spread) for p in places]
    probes = [ProbeUnit("", 0, unit.axes, unit.position) for unit in units]
    reached = reached_positions(net, ((x,), {}), probes, input_axes=[axes])
    for unit, (found,) in zip(units, reached, strict=True):
        assert unit.exact
        predicted = unit.inputs[0].members() if unit.inputs else frozenset()
        assert predicted == found.positions, (unit.position, net)


def _kept(graph: object, spread: object, place: tuple[int, ...]) -> tuple[int, ...]:
    """The indices of the axes that the output's units move along; an axis of one element may not be one."""
    from cnnprof.analyses.receptive_field.unit import unit_axes

    moving = unit_axes(graph, spread, graph.outputs[0])  # type: ignore[attr-defined,arg-type]
    return tuple(place[axis - 2] for axis in moving)
