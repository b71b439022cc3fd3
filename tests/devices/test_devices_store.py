"""Calibrated profiles on disk: written whole, read back equal, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cnnprof.devices.calibrated import DEVICE_SCHEMA, CalibratedDevice
from cnnprof.devices.find import find_device
from cnnprof.devices.store import data_folder, import_profile, load_profile, samples_path, save_profile, stored_names
from cnnprof.errors import DeviceError, SchemaError, UsageError


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "box-torch-1t", "kind": "cpu", "hardware": {"processor": "Some CPU"}, "versions": {"torch": "2.0.0"},
        "runner": "torch", "threads": 1, "dtype": "float32", "classes": {}, "total": {}, "gates": [], "range": {}, **changes,
    }  # fmt: skip


def test_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data_folder() == tmp_path / "data" / "cnnprof" / "devices"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/path")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".local" / "share" / "cnnprof" / "devices"


def test_saved_is_loaded_equal_with_its_samples_beside_it() -> None:
    path = save_profile(CalibratedDevice(document()), "kernel,seconds\na,1\n")
    assert json.loads(path.read_text())["schema"] == DEVICE_SCHEMA
    assert load_profile("box-torch-1t").data == document()
    assert samples_path("box-torch-1t").read_text() == "kernel,seconds\na,1\n"
    assert stored_names() == ("box-torch-1t",)
    assert find_device("box-torch-1t").data == document()
    assert sorted(p.name for p in path.parent.iterdir()) == ["box-torch-1t.json", "box-torch-1t.samples.csv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not JSON"),
        ("[]", "no schema"),
        (json.dumps({"schema": "cnnprof.device/2"}), "expected schema cnnprof.device/1, got 'cnnprof.device/2'"),
        (json.dumps({"schema": DEVICE_SCHEMA, "name": "x"}), "lacks kind, hardware"),
        (json.dumps({"schema": DEVICE_SCHEMA, **document(gates=[{"name": "a"}])}), "gates: expected a list"),
        (json.dumps({"schema": DEVICE_SCHEMA, **document(name="../../etc/x")}), "name: expected letters"),
        (json.dumps({"schema": DEVICE_SCHEMA, **document(threads=0)}), "threads: expected a positive integer"),
        (json.dumps({"schema": DEVICE_SCHEMA, **document(range=[])}), "range: expected an object"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_stored(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(SchemaError) as caught:
        import_profile(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert caught.value.exit_code == 5
    assert stored_names() == ()


def test_another_library_version_is_said() -> None:
    profile = CalibratedDevice(document(versions={"torch": "2.0.0", "onnxruntime": "1.0"}))
    assert profile.stale({"torch": "2.1.0"}) == ("box-torch-1t was calibrated with torch 2.0.0, installed is 2.1.0",)
    assert profile.stale({"torch": "2.0.0", "onnxruntime": "1.0"}) == ()


def test_failed_gates_make_it_degraded() -> None:
    profile = CalibratedDevice(
        document(gates=[{"name": "drift", "passed": False}, {"name": "samples", "passed": True}])
    )
    assert profile.degraded and [gate["name"] for gate in profile.failed_gates] == ["drift"]
    assert not CalibratedDevice(document()).degraded


def test_no_such_profile() -> None:
    with pytest.raises(DeviceError, match="no calibrated device 'nothing'"):
        load_profile("nothing")


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="can't make the folder"):
        save_profile(CalibratedDevice(document()))


def test_commands(tmp_path: Path) -> None:
    from cnnprof.cli.devices import command

    run = CliRunner()
    source = tmp_path / "in.json"
    source.write_text(json.dumps({"schema": DEVICE_SCHEMA, **document()}))
    assert "box-torch-1t: imported (torch, 1 thread, float32)" in run.invoke(command, ["import", str(source)]).output
    listed = json.loads(run.invoke(command, ["list", "--format", "json"]).output)
    assert {
        "name": "box-torch-1t",
        "from": "calibrated",
        "runner": "torch, 1 thread, float32",
        "device": "Some CPU",
    } in listed
    assert any(row["name"] == "rtx4090" and row["from"] == "datasheet" for row in listed)
    out = tmp_path / "out.json"
    assert run.invoke(command, ["export", "box-torch-1t", "-o", str(out)]).exit_code == 0
    assert json.loads(out.read_text()) == json.loads(source.read_text())
    shown = json.loads(run.invoke(command, ["show", "rtx4090"]).output)
    assert shown["bandwidth_bytes_per_s"] == 1.008e12 and "whitepaper" in shown["sources"]["vector"]
    (data_folder() / "broken.json").write_text("{")
    assert "unreadable" in run.invoke(command, ["list"]).output
