"""The gate's own process loads no framework: workers do, and only what their models need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_SCRIPT = """
import json, sys
sys.argv = ["cnnprof", *{args!r}]
from cnnprof.cli.main import entry
try:
    entry()
except SystemExit as end:
    code = end.code
heavy = ("torch", "onnx", "numpy", "networkx", "jinja2", "rich", "onnxruntime", "vl_convert")
print("\\n" + json.dumps([code, sorted(m for m in heavy if m in sys.modules)]))
"""


@pytest.mark.parametrize(
    "args",
    [
        ("check", "net.onnx", "--max-macs", "5G"),
        ("check", "--help"),
        ("baseline", "--help"),
        ("baseline", "update", "--help"),
        ("diff", "net.onnx", "net.onnx"),
        ("diff", "--help"),
        ("strip", "--help"),
    ],
)
def test_the_command_itself_stays_light(repo, write_net, args) -> None:
    write_net(repo.root / "net.onnx")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(args=args)],
        cwd=repo.root, env=repo.env(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stdout + done.stderr
    assert heavy == []
    if "--help" in args:
        assert "Examples:" in done.stdout
