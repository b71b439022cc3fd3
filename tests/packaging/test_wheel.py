"""The wheel holds what the checkout holds: templates, facts, types; and runs without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run_outside(unpacked: Path, code: str, tmp_path: Path) -> str:
    """Run Python with the unpacked wheel first on its path, from a folder that isn't the checkout."""
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_holds_templates_facts_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in sorted(ROOT.joinpath("templates").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            assert f"cnnprof/templates/{path.relative_to(ROOT / 'templates').as_posix()}" in names
    assert "cnnprof/py.typed" in names
    assert "cnnprof/zoo/facts/digits.toml" in names
    assert not any(name.startswith(("tests/", "reports/")) for name in names)


def test_the_wheel_runs_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    where = run_outside(unpacked, "import cnnprof; print(cnnprof.__file__)", tmp_path)
    assert Path(where).is_relative_to(unpacked)
    code = "import sys; sys.argv = ['cnnprof', '--version']\nfrom cnnprof.cli.main import entry\nentry()"
    assert run_outside(unpacked, code, tmp_path) == "cnnprof 0.1.0"


def test_templates_are_found_in_the_wheel_and_in_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = "from cnnprof.render.assets import templates_folder; print(templates_folder())"
    found = Path(run_outside(unpacked, code, tmp_path))
    assert found.is_relative_to(unpacked)
    assert any(found.iterdir())
    from cnnprof.render.assets import templates_folder

    assert templates_folder() == ROOT / "templates"


def test_the_version_stands_once() -> None:
    import tomllib

    import cnnprof

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cnnprof.__version__
