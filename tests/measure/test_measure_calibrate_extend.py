"""A finished calibration goes on: further networks, one fit of all; and what can't be extended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_machine import Machine, WorkingClock, run

from cnnprof.devices.store import data_folder, load_profile, samples_path
from cnnprof.errors import SchemaError, UsageError
from cnnprof.measure.calibrate import calibrate
from cnnprof.measure.calibrate_fit import fit_profile
from cnnprof.measure.samples import from_csv


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def quick(samples: object, *, seed: int, mapped_s_per_byte: float) -> dict[str, object]:
    """Stands in for the fit where that isn't what is looked at: it takes seconds."""
    return {"classes": {}, "total": {"alpha": 1.04, "delta_s": 3e-6}, "range": {}, "roof": {}}


class Slower(WorkingClock):
    """The anchor takes a fifth longer."""

    def cpu_s(self) -> float:
        self.cpu += 0.0012
        return self.cpu


def test_further_networks_and_one_fit_of_all() -> None:
    clock = WorkingClock()
    first = run(clock, Machine(clock), seed=3)
    machine = Machine(clock)
    second = run(clock, machine, extend=True)  # the seed is the profile's own
    assert machine.seen == list(range(12, 24))  # 60 s more at 5 s a network
    assert [sample.network for sample in second.samples] == list(range(24))
    data = second.profile.data
    assert (data["seed"], data["networks"], data["suite"], data["budget_s"]) == (3, 24, 24, 120.0)
    assert first.profile.data["sessions"] == [0] and data["sessions"] == [0, 12]
    assert len(data["noise"]["anchor_s"]) == 2 * len(first.profile.data["noise"]["anchor_s"])
    assert not second.profile.degraded
    table = from_csv(samples_path("box").read_text("utf-8"), origin="test")
    assert table[:12] == from_csv_of(first.samples) and len(table) == 24
    assert load_profile("box").data["classes"] == json.loads(json.dumps(fit_profile(second.samples, seed=3)["classes"]))


def test_a_calibration_may_be_extended_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 15 networks a run, of which twelve fit: those before don't count. One that measures none leaves all."""
    monkeypatch.setattr("cnnprof.measure.calibrate_run._MOST_NETWORKS", 15)
    clock = WorkingClock()
    run(clock, Machine(clock), fit=quick)
    for hour in (2, 3):
        again = run(clock, Machine(clock), fit=quick, extend=True)
        assert [sample.network for sample in again.samples] == list(range(12 * hour))
        assert again.profile.data["sessions"] == [12 * before for before in range(hour)]
    none = calibrate(
        runner="torch", clock=clock, measure_network=Machine(clock), name="box", budget_s=0.0, fit=quick, extend=True
    )
    assert len(none.samples) == 36


def from_csv_of(samples: tuple[object, ...]) -> tuple[object, ...]:
    from cnnprof.measure.samples import to_csv

    return from_csv(to_csv(samples), origin="test")  # type: ignore[arg-type]


def test_another_clock_rate_fails_the_drift_gate() -> None:
    clock = WorkingClock()
    run(clock, Machine(clock), fit=quick)
    slower = Slower()
    again = run(slower, Machine(slower), fit=quick, extend=True)
    gate = next(gate for gate in again.profile.data["gates"] if gate["name"] == "drift")
    assert gate["value"] == pytest.approx(0.2, abs=0.001) and not gate["passed"]
    # A third hour at the first one's rate: those of the second are still among them.
    third = run(clock, Machine(clock), fit=quick, extend=True)
    assert next(gate for gate in third.profile.data["gates"] if gate["name"] == "drift") == gate


def test_a_neighbour_beside_the_anchors_is_no_other_clock_rate() -> None:
    class Beside(WorkingClock):
        """In the first 55 s everything takes twice as long, and is seen to be disturbed: two of three anchors."""

        def cpu_s(self) -> float:
            beside = self.wall < 155.0
            self.switched += beside
            self.cpu += 0.002 if beside else 0.001
            return self.cpu

    clock = WorkingClock()
    run(clock, Machine(clock), fit=quick)
    beside = Beside()
    again = run(beside, Machine(beside), fit=quick, extend=True)
    assert sorted(round(s, 6) for s in again.profile.data["noise"]["anchor_s"])[-3:] == [0.001, 0.002, 0.002]
    gate = next(gate for gate in again.profile.data["gates"] if gate["name"] == "drift")
    assert gate["value"] == pytest.approx(0.0, abs=0.001) and gate["passed"]


def test_interrupted_extensions_lose_nothing() -> None:
    clock = WorkingClock()
    run(clock, Machine(clock), fit=quick)
    result = run(clock, Machine(clock, interrupt_at=17), fit=quick, extend=True)
    assert result.interrupted and result.profile.data["networks"] == 17
    machine = Machine(clock)
    run(clock, machine, fit=quick, extend=True)
    assert machine.seen[0] == 17


def test_what_cannot_be_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkingClock()
    with pytest.raises(UsageError, match="no calibration 'box' with its samples"):
        run(clock, Machine(clock), fit=quick, extend=True)
    assert not data_folder().exists()
    run(clock, Machine(clock), fit=quick)
    kept = (data_folder() / "box.json").read_bytes()
    for options, said in (
        ({"threads": 2}, "made with torch at 1 thread, not torch at 2"),
        ({"resume": True}, "--resume goes on by itself"),
        ({"device": "cuda"}, "for CPUs"),
    ):
        with pytest.raises(UsageError, match=said):
            run(clock, Machine(clock), fit=quick, extend=True, **options)
    with pytest.raises(UsageError, match="not onnxruntime at 1"):
        calibrate(runner="onnxruntime", budget_s=60.0, name="box", extend=True)
    with monkeypatch.context() as patch:
        patch.setattr("cnnprof.measure.calibrate_extend.hardware", lambda: {"processor": "Another"})
        with pytest.raises(UsageError, match="here is Another"):
            run(clock, Machine(clock), fit=quick, extend=True)
    with monkeypatch.context() as patch:
        patch.setattr("cnnprof.measure.calibrate_extend.installed", lambda *_: {"torch": "1.0"})
        with pytest.raises(UsageError, match=r"calibrated with torch .*, installed is 1\.0"):
            run(clock, Machine(clock), fit=quick, extend=True)
    samples_path("box").write_text("network\n")
    with pytest.raises(SchemaError, match="not a table of samples"):
        run(clock, Machine(clock), fit=quick, extend=True)
    assert (data_folder() / "box.json").read_bytes() == kept


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import cnnprof.measure.calibrate as module
    from cnnprof.cli.calibrate import command

    clock = WorkingClock()
    real = module.calibrate
    monkeypatch.setattr(
        module, "calibrate", lambda **options: real(**options, clock=clock, measure_network=Machine(clock))
    )
    for options, networks in (((), 12), (("--extend",), 24)):
        result = CliRunner().invoke(command, ["--name", "box", *options])
        assert result.exit_code == 0, result.output
        assert f"box: {networks} networks" in result.output


def test_anchors_of_another_kind_are_not_held_against_these() -> None:
    """Earlier calibrations timed a loop, which says nothing of hashing; what they found of their own drift stays."""
    clock = WorkingClock()
    first = run(clock, Machine(clock), fit=quick)
    path = data_folder() / "box.json"
    data = json.loads(path.read_text("utf-8"))
    assert data["noise"].pop("anchor") == "hashing" and data["noise"]["usual_anchor_s"] > 0.0
    path.write_text(json.dumps(data), "utf-8")
    slower = Slower()
    again = run(slower, Machine(slower), fit=quick, extend=True)
    assert not again.profile.degraded
    assert again.profile.data["noise"]["usual_anchor_s"] > 1.1 * first.profile.data["noise"]["usual_anchor_s"]
    assert len(again.profile.data["noise"]["anchor_s"]) == len(first.profile.data["noise"]["anchor_s"])
