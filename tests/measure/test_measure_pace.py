"""The pace of a machine by hand-made anchors: what counts as slower, what was measured then, how far it moved."""

from __future__ import annotations

import pytest
from fake_clock import FakeClock

from cnnprof.measure.pace import Pace
from cnnprof.measure.session import Anchor, take_anchor


def paced(*seconds: float, beside: tuple[int, ...] = ()) -> Pace:
    """Anchors with a network of each one's number before it; those at ``beside`` stood beside a neighbour."""
    pace = Pace(Anchor(seconds[0], 0 not in beside))
    for place, value in enumerate(seconds[1:], 1):
        pace.add(Anchor(value, place not in beside), [place])
    return pace


def test_an_anchor_is_the_least_of_calm_runs() -> None:
    clock = FakeClock()
    assert take_anchor(clock, lambda: clock.spend(0.003)) == Anchor(pytest.approx(0.003), True)  # type: ignore[arg-type]

    def beside() -> None:
        clock.spend(0.005)
        clock.switched += 1

    assert take_anchor(clock, beside) == Anchor(pytest.approx(0.005), False)  # type: ignore[arg-type]


def test_slower_is_slower_than_usual_not_than_the_least() -> None:
    pace = paced(1.0, 0.97, 1.01, 1.0, 1.02)  # usual: 1.0
    assert not pace.has_slowed(Anchor(1.03, True)) and pace.has_slowed(Anchor(1.05, True))
    assert not pace.has_slowed(Anchor(2.0, False))  # a neighbour, not the pace
    assert not paced(5.0, beside=(0,)).has_slowed(Anchor(9.0, True))  # nothing to compare with


def test_slow_from_the_start_is_slower_than_ever_before() -> None:
    assert paced(1.5).was_slow_from_the_start(Anchor(1.0, True))
    assert not paced(1.5, 1.1).was_slow_from_the_start(Anchor(1.0, True))
    assert not paced(1.5).was_slow_from_the_start(Anchor(1.0, False))


def test_networks_between_slow_anchors_are_slow() -> None:
    """Usual 1.0, so slow is above 1.04 on average: 3 is between 1.00 and 1.12 (1.06), 4 between 1.12 and 1.06, 5 between
    1.06 and 1.0 (1.03: not), 7 between a neighbour's anchor and 1.02."""
    pace = paced(1.0, 0.99, 1.0, 1.12, 1.06, 1.0, 3.0, 1.02, 1.0, beside=(6,))
    assert pace.slow() == {3, 4}
    assert paced(1.0, 1.0).slow() == frozenset()


def test_drift_is_of_what_was_kept() -> None:
    seconds = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1)
    pace = paced(*seconds)
    assert pace.drift(range(1, 12)) == pytest.approx(0.1)
    assert pace.drift(range(1, 6)) == 0.0
    assert pace.drift([]) == pytest.approx(0.1)  # a resumed calibration without anchors of its own: all of them
    # A single slow anchor among five doesn't move a median.
    assert paced(1.0, 1.0, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0).drift(range(1, 10)) == 0.0
    assert paced(1.0, 9.0, 1.0, beside=(1,)).drift([1, 2]) == 0.0


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ([1.0, 1.0], 0.0),
        ([1.0, 1.1], 0.1),  # before and after
        ([1.0, 1.0, 1.0, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.0),  # one look beside a neighbour
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.1, 1.1], 0.1),  # another pace from the middle on
    ],
)
def test_drift_is_of_the_pace_and_not_of_one_look(anchors: list[float], expected: float) -> None:
    assert paced(*anchors).drift(range(1, len(anchors))) == pytest.approx(expected)
