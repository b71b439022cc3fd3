"""``--help`` and listing commands import nothing heavy; tested by reading sys.modules, not by a clock."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "numpy", "networkx", "jinja2", "rich", "onnxruntime", "vl_convert")

_SCRIPT = """
import json, sys
sys.argv = ["cnnprof", *{args!r}]
from cnnprof.cli.main import entry
try:
    entry()
except SystemExit as end:
    code = end.code
print("\\n" + json.dumps([code, sorted(m for m in {heavy!r} if m in sys.modules)]))
"""


def loaded(*args: str) -> tuple[int, list[str]]:
    """(exit code, heavy modules imported) of one command line in a fresh interpreter."""
    script = _SCRIPT.format(args=list(args), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, modules


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("analyze", "--help"), ("nonsense",)])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    code, modules = loaded(*args)
    assert modules == []
    assert code == (2 if args == ("nonsense",) else 0)


def test_importing_the_library_imports_nothing_heavy() -> None:
    script = f"import sys, cnnprof; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_analysing_onnx_never_imports_torch(light_resnet50: str) -> None:
    code, modules = loaded("analyze", light_resnet50, "--format", "csv")
    assert code == 0
    assert "torch" not in modules
    assert "onnxruntime" not in modules


def test_every_listed_command_loads_and_has_examples() -> None:
    import click

    from cnnprof.cli.main import COMMANDS, cli

    for name, (_, text) in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
        assert text.endswith("."), name
        help_text = command.get_help(click.Context(command, info_name=f"cnnprof {name}"))
        assert f"cnnprof {name}" in help_text
