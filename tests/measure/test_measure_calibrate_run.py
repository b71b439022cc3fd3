"""What a calibration measures, in which order, how long, and what it measures again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_clock import FakeClock
from fake_machine import Machine, WorkingClock, run

from cnnprof.devices.store import load_profile, samples_path
from cnnprof.errors import CnnprofError
from cnnprof.measure import calibrate_run
from cnnprof.measure.calibrate import calibrate
from cnnprof.measure.neighbours import QuietLevels, WatchedClock
from cnnprof.measure.samples import from_csv


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_the_budget_is_kept_and_the_profile_saved() -> None:
    clock = WorkingClock()
    machine = Machine(clock)
    result = run(clock, machine)
    assert machine.seen == list(range(12))  # 60 s at 5 s a network
    saved = load_profile("box")
    assert saved.data["networks"] == 12 and not result.interrupted
    assert len(from_csv(samples_path("box").read_text(), origin="test")) == 12
    assert not samples_path("box.partial").exists()


def test_interrupted_is_fitted_on_what_there_is_and_too_little_is_resumed() -> None:
    clock = WorkingClock()
    result = run(clock, Machine(clock, interrupt_at=11))
    assert result.interrupted and result.profile.data["networks"] == 11
    with pytest.raises(CnnprofError, match="4 networks measured, at least 10"):
        run(clock, Machine(clock, interrupt_at=4))
    assert samples_path("box.partial").exists()
    machine = Machine(clock)
    resumed = run(clock, machine, resume=True)
    assert machine.seen[0] == 4 and resumed.profile.data["networks"] == 16


def test_networks_that_the_machine_slowed_down_under_are_measured_again() -> None:
    class Slowing(WorkingClock):
        """Between 40 s and 80 s of wall time the anchor takes a tenth longer."""

        def cpu_s(self) -> float:
            self.cpu += 0.0011 if 140.0 <= self.wall < 180.0 else 0.001
            return self.cpu

    clock = Slowing()
    machine = Machine(clock)
    result = calibrate(runner="torch", clock=clock, measure_network=machine, name="box", budget_s=180.0)
    assert machine.seen == [*range(10), *range(26)]  # the first ten end at 50 s, in the slow stretch
    assert [sample.network for sample in result.samples] == list(range(26))
    noise = result.profile.data["noise"]
    assert noise["again"] == 10 and max(noise["anchor_s"]) < 1.01 * min(noise["anchor_s"])


def test_a_budget_is_spent_by_measuring_not_by_waiting() -> None:
    fake = FakeClock()
    clock = WatchedClock(inner=fake, quiet=QuietLevels(probe_s=1.0, stream_s=1.0), cores=(0,), probe=lambda: 1.0)
    began = calibrate_run._measuring_s(clock)
    fake.spend(1003.0)
    clock.waited_s += 1000.0  # for neighbours to leave
    assert calibrate_run._measuring_s(clock) - began == pytest.approx(3.0)
    assert calibrate_run._spent_s(clock, began, []) == pytest.approx(3.0)
    assert calibrate_run._measuring_s(fake) == pytest.approx(fake.wall_s())


def test_a_neighbour_beside_the_anchor_is_no_other_pace() -> None:
    class Beside(WorkingClock):
        """Between 40 s and 140 s of wall time everything takes twice as long, and is seen to be disturbed."""

        def cpu_s(self) -> float:
            beside = 140.0 <= self.wall < 240.0
            self.switched += beside
            self.cpu += 0.002 if beside else 0.001
            return self.cpu

    clock = Beside()
    machine = Machine(clock)
    result = calibrate(runner="torch", clock=clock, measure_network=machine, name="box", budget_s=200.0)
    assert machine.seen == list(range(40))  # nothing again: each network says itself how disturbed it was
    noise, gates = result.profile.data["noise"], {gate["name"]: gate for gate in result.profile.data["gates"]}
    # Anchors at 0, 50, 100, 150, 200 s, and at the end.
    assert [round(seconds, 6) for seconds in noise["anchor_s"]] == [0.001, 0.002, 0.002, 0.001, 0.001, 0.001]
    assert noise["anchors_disturbed"] == 2 and gates["drift"]["value"] == pytest.approx(0.0, abs=1e-6)


def test_a_machine_that_was_slow_from_the_start_begins_again() -> None:
    class Waking(WorkingClock):
        """In the first 40 s the anchor takes half as long again."""

        def cpu_s(self) -> float:
            self.cpu += 0.0015 if self.wall < 140.0 else 0.001
            return self.cpu

    clock = Waking()
    machine = Machine(clock)
    result = calibrate(runner="torch", clock=clock, measure_network=machine, name="box", budget_s=120.0)
    assert machine.seen == [*range(10), *range(14)]  # the first ten end at 50 s, when it was quicker
    noise = result.profile.data["noise"]
    assert max(noise["anchor_s"]) < 1.01 * min(noise["anchor_s"])
