"""Fixtures that every room uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def light_models() -> Path:
    """The folder of the nine light networks that ship inside the onnx package."""
    import onnx

    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture(scope="session")
def light_resnet50(light_models: Path) -> str:
    return str(light_models / "light_resnet50.onnx")


@pytest.fixture
def cnnprof(tmp_path: Path) -> Run:
    """Runs the command line as a user would, in a folder of its own, without colour, 80 columns wide."""

    def run(*args: str, stdin: bytes | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        full = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", **env}
        done = subprocess.run(
            [sys.executable, "-m", "cnnprof", *args], cwd=tmp_path, env=full, input=stdin, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
