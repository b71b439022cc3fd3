"""Where people already are: the pre-commit hook run by pre-commit, action.yml's steps run by a shell, the CI page.

Both install this checkout into an environment of its own; its dependencies are lent by the test environment, so
nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUDGET = '[budgets.net]\nmodel = "net.onnx"\nmacs = "1050624"\n'


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A copy of what the package is built from."""
    folder = tmp_path_factory.mktemp("source") / "cnnprof"
    folder.mkdir()
    for name in ("cnnprof", "templates"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
        else:
            (folder / name).touch()
    return folder


@pytest.fixture(scope="session")
def borrowed(tmp_path_factory) -> Path:
    """This environment's packages, by links, without cnnprof itself and without installers: what is installed
    elsewhere finds its dependencies there and can't touch the originals."""
    folder = tmp_path_factory.mktemp("borrowed")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.lower()
        if not name.startswith(("cnnprof", "_", "pip", "setuptools")) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def lent(repo, borrowed: Path) -> dict[str, str]:
    """An environment in which pip builds offline (0 is how pip spells "no isolation" in a variable)."""
    return repo.env(
        PIP_NO_DEPS="1",
        PIP_NO_BUILD_ISOLATION="0",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INDEX="1",
        PYTHONPATH=str(borrowed),
    )


def shell(script: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_pre_commit_hook(repo, write_net, source: Path, borrowed: Path, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    for arguments in (
        ("init", "-q", "-b", "main"), ("add", "-A"),
        ("-c", "user.email=a@example.org", "-c", "user.name=A", "commit", "-q", "-m", "release"),
    ):  # fmt: skip
        if not (source / ".git").exists() or arguments[0] != "init":
            subprocess.run(["git", *arguments], cwd=source, env=repo.env(), check=True, capture_output=True)
    rev = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=source, env=repo.env(), check=True, capture_output=True, text=True
    ).stdout.strip()
    repo.write(
        ".pre-commit-config.yaml",
        f"repos:\n  - repo: {source}\n    rev: {rev}\n    hooks:\n      - id: cnnprof-check\n",
    )
    repo.write("cnnprof.toml", BUDGET)
    write_net(repo.root / "net.onnx")
    repo.git("add", "-A")
    env = {**lent(repo, borrowed), "PRE_COMMIT_HOME": str(tmp_path / "hooks")}

    def hook() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--color=never"],
            cwd=repo.root, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    passed = hook()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert re.search(r"cnnprof check\.+Passed", passed.stdout)

    write_net(repo.root / "net.onnx", width=12)
    repo.git("add", "-A")
    failed = hook()
    assert failed.returncode == 1
    assert "exit code: 1" in failed.stdout
    assert "found 1.58M (1,575,936), 50% over" in failed.stdout

    repo.git("commit", "-q", "--no-verify", "-m", "all of it")
    repo.write("unrelated.txt", "no model was touched")
    repo.git("add", "-A")
    skipped = hook()
    assert re.search(r"cnnprof check\.+\(no files to check\)Skipped", skipped.stdout)


# -- the composite action -----------------------------------------------------------------------------


def action() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return loaded


def run_action(given: dict[str, str], repo, env: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """What a runner does with a composite action: defaults, ``if``, expressions of inputs, a shell per step."""
    document = action()
    unknown = set(given) - set(document["inputs"])
    assert not unknown
    inputs = {name: given.get(name, spec.get("default", "")) for name, spec in document["inputs"].items()}

    def filled(text: str) -> str:
        text = re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda m: inputs[m[1]], text)
        assert "${{" not in text
        return text

    output = repo.root.parent / "output.txt"
    output.write_text("")
    log, code = "", 0
    for step in document["runs"]["steps"]:
        assert step["shell"] == "bash"
        condition = step.get("if")
        if condition is not None:
            match = re.fullmatch(r"inputs\.([a-z-]+) != ''", condition)
            assert match is not None
            if not inputs[match[1]]:
                continue
        # Untrusted text must reach the script by the environment, never pasted into it.
        assert "${{" not in step["run"]
        own = {key: filled(value) for key, value in step.get("env", {}).items()}
        folder = repo.root / filled(step.get("working-directory", "."))
        done = shell(step["run"], folder, {**env, **own, "GITHUB_OUTPUT": str(output)})
        log += done.stdout + done.stderr
        code = done.returncode
        if code:
            break
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return code, outputs, log


@pytest.fixture(scope="session")
def runner_python(tmp_path_factory) -> Path:
    """A fresh environment's bin folder: what actions/setup-python puts on the path."""
    folder = tmp_path_factory.mktemp("runner") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    return folder / "bin"


def test_action_steps(repo, write_net, source: Path, borrowed: Path, runner_python: Path, sarif_of, junit_of) -> None:
    upstream = repo.root.parent / "upstream.git"
    write_net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmax_increase = { macs = "2%" }\n')
    repo.commit("on main")
    repo.git("clone", "-q", "--bare", ".", str(upstream))
    repo.git("remote", "add", "origin", str(upstream))
    repo.git("checkout", "-q", "-b", "feature")
    env = {
        **lent(repo, borrowed),
        "PATH": f"{runner_python}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(repo.root.parent / "summary.md"),
    }
    given = {
        "version": str(source), "baseline-ref": "origin/main", "markdown": "comment.md",
        "sarif": "out.sarif", "junit": "junit.xml",
    }  # fmt: skip
    # origin/main isn't there yet, as in a shallow checkout: the action fetches it
    code, outputs, log = run_action(given, repo, env)
    assert code == 0, log
    assert outputs == {"exit-code": "0"}
    assert "pass: the budget holds" in log

    write_net(repo.root / "net.onnx", width=12)
    code, outputs, log = run_action(given, repo, env)
    assert code == 1, log
    assert outputs == {"exit-code": "1"}
    assert "::error file=cnnprof.toml,line=3" in log
    assert "~ conv1 (conv): +442,368 MACs" in log
    assert "1,575,936" in (repo.root / "comment.md").read_text()
    assert "1,575,936" in (repo.root.parent / "summary.md").read_text()
    assert len(sarif_of(repo.root / "out.sarif")["runs"][0]["results"]) == 1
    assert junit_of(repo.root / "junit.xml").get("failures") == "1"

    # arguments of the author's own, without a baseline; a shell's special characters stay text
    code, outputs, log = run_action(
        {"version": str(source), "args": "net.onnx --max-params 2k --forbid-op $(touch${IFS}pwned)"}, repo, env
    )
    # 2,052 parameters; and max_increase has no committed baseline, which doesn't hide that
    assert outputs == {"exit-code": "1"}, log
    assert "expected none of the operators $(touch${IFS}pwned), found none" in log
    assert not (repo.root / "pwned").exists()


def test_hook_and_action_declare_what_their_readers_require() -> None:
    yaml = pytest.importorskip("yaml")
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert {"id", "name", "entry", "language"} <= set(hook)
    document = action()
    assert {"name", "description", "runs"} <= set(document)
    assert document["runs"]["using"] == "composite"
    for name in document["outputs"]:
        assert re.fullmatch(r"\$\{\{ steps\.check\.outputs\.[a-z-]+ \}\}", document["outputs"][name]["value"])


def test_the_ci_page_means_what_it_says(repo, write_net, tmp_path: Path) -> None:
    """Its TOML is a config that loads, its YAML parses, and its GitLab script is a command that runs."""
    yaml = pytest.importorskip("yaml")
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    blocks = dict[str, list[str]]()
    for language, text in re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL):
        blocks.setdefault(language, []).append(text)
    (toml,) = blocks["toml"]
    assert set(tomllib.loads(toml)) == {"budgets", "presets"}
    from cnnprof.gate.config import load_config
    from cnnprof.gate.flatten import known_keys

    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "cnnprof.toml").write_text(toml, encoding="utf-8")
    config = load_config(tmp_path / "page", cwd=tmp_path / "page")
    assert config is not None
    assert len(config.budgets[0].rules) >= 12
    assert all(f"`{key}`" in page for key in known_keys())
    documents = [yaml.safe_load(text) for text in blocks["yaml"]]
    gitlab = next(d["cnnprof"] for d in documents if "cnnprof" in d)
    write_net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", BUDGET)
    base = repo.commit("base")
    (script,) = gitlab["script"]
    script = script.replace("cnnprof check", f'"{sys.executable}" -m cnnprof check', 1)
    done = shell(script, repo.root, repo.env(CI_MERGE_REQUEST_DIFF_BASE_SHA=base))
    assert done.returncode == 0, done.stderr
    assert (repo.root / gitlab["artifacts"]["reports"]["junit"]).exists()
