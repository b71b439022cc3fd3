"""What a model cost before: baselines, ratchets, git history; and since when a budget is broken."""

from __future__ import annotations

import json
import re

import pytest

# Costs worked in conftest.py: width 8 has 1,050,624 MACs and 1,368 parameters, width 12 1,575,936 and 2,052.
ABSOLUTE = '[budgets.net]\nmodel = "net.onnx"\nmacs = "{macs}"\n'
RELATIVE = '[budgets.net]\nmodel = "net.onnx"\nmax_increase = { macs = "2%", parameters = 0 }\n'


def _ratchets(repo, net) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nratchet = ["parameters"]\n')
    assert repo.run("baseline", "update").code == 0
    net(repo.root / "net.onnx", width=12)


def _with_baseline(repo, net) -> None:
    net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", RELATIVE)
    assert repo.run("baseline", "update").code == 0


def test_ratchet_locks_in_only_downwards(repo, write_net) -> None:
    _ratchets(repo, write_net)
    before = (repo.root / "cnnprof-baseline.json").read_text()
    refused = repo.run("baseline", "update")
    assert refused.code == 1
    assert "ratchet.parameters would go up from 1,368 to 2,052" in refused.err
    assert (repo.root / "cnnprof-baseline.json").read_text() == before
    assert repo.run("baseline", "update", "--allow-increase").code == 0
    assert repo.run("check").code == 0
    write_net(repo.root / "net.onnx", width=4)  # 4·171 = 684 parameters
    better = repo.run("check")
    assert better.code == 0
    assert "lock it in with cnnprof baseline update" in better.out
    assert repo.run("baseline", "update").code == 0
    write_net(repo.root / "net.onnx", width=8)
    assert repo.run("check").code == 1


def test_baseline_is_stable_sorted_and_one_line_a_layer(repo, write_net) -> None:
    _with_baseline(repo, write_net)
    path = repo.root / "cnnprof-baseline.json"
    write_net(repo.root / "net.onnx")
    text = path.read_text()
    again = repo.run("baseline", "update", "--no-cache")
    assert "unchanged" in again.out
    assert path.read_text() == text
    assert sum('"name": "conv' in line for line in text.splitlines()) == 2
    entry = json.loads(text)["budgets"]["net"]["net.onnx"]
    assert entry["metrics"]["macs"] == 1_050_624
    assert list(entry["metrics"]) == sorted(entry["metrics"])
    shown = repo.run("baseline", "show")
    assert shown.code == 0
    assert "net · net.onnx" in shown.out
    assert "1,050,624" in shown.out


def test_baseline_writes_nothing_when_a_model_fails(repo, write_net) -> None:
    (repo.root / "net.onnx").write_bytes(b"\x08\xff not a model \x00\xff\xff")
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="5M"))
    run = repo.run("baseline", "update")
    assert run.code == 3
    assert not (repo.root / "cnnprof-baseline.json").exists()


def test_new_model_passes_against_a_revision_and_unknown_revision_is_usage(repo, write_net) -> None:
    repo.write("cnnprof.toml", RELATIVE)
    repo.commit("no model yet")
    write_net(repo.root / "net.onnx")
    run = repo.run("check", "--baseline-ref", "HEAD", "--all")
    assert run.code == 0, run
    assert "(new model)" in run.out
    unknown = repo.run("check", "--baseline-ref", "origin/main")
    assert unknown.code == 2
    assert "'origin/main': not in this repository" in unknown.err
    assert unknown.out == ""


def test_since_when_it_is_broken(repo, write_net) -> None:
    """Commits: width 8 (holds), 12 (breaks), 16 (breaks): broken since the second, which has a name."""
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1.1M"))
    ids = []
    for width, message in ((8, "first"), (12, "widen the stem"), (16, "wider still")):
        write_net(repo.root / "net.onnx", width=width)
        ids.append(repo.commit(message))
    run = repo.run("check", "--why")
    assert run.code == 1
    assert re.search(rf"broken since {ids[1][:10]} \d\d\d\d-\d\d-\d\d widen the stem\n", run.out)
    document = json.loads(repo.run("check", "--why", "-f", "json").out)
    assert document["checks"][0]["since"]["commit"] == ids[1]
    # never held: the oldest commit is only as far as history goes
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="1k"))
    assert f"broken since {ids[0][:10]}" in (text := repo.run("check", "--why").out)
    assert "(or earlier)" in text
    # broken only in the work tree: no commit is to blame
    repo.write("cnnprof.toml", ABSOLUTE.format(macs="3M"))
    write_net(repo.root / "net.onnx", width=40)
    run = repo.run("check", "--why")
    assert run.code == 1
    assert "broken since" not in run.out


def test_old_versions_need_no_weights_and_a_pointer_is_said(repo, write_net) -> None:
    """External weights aren't fetched from history; a Git LFS pointer can't be analysed and says what to do."""
    import onnx

    path = write_net(repo.root / "net.onnx")
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="net.weights", size_threshold=0)
    repo.write("cnnprof.toml", RELATIVE)
    repo.write(".gitignore", "net.weights\n")
    repo.commit("weights apart and not committed")
    run = repo.run("check", "--baseline-ref", "HEAD")
    assert run.code == 0, run

    repo.write("net.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5784\n")
    pointer = repo.commit("as an LFS pointer")
    write_net(repo.root / "net.onnx")
    run = repo.run("check", "--baseline-ref", pointer)
    assert run.code == 2, run
    assert "a Git LFS pointer, its content isn't here" in run.out
    assert "cnnprof strip" in run.out


CODE = """
import torch

def make(width={width}):
    print("a model may print")
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.ReLU())
"""


def test_code_is_compared_with_its_own_past(repo) -> None:
    """A factory in the repository: at HEAD 8 channels, now 12; 3·9·32·24 = 20,736 MACs a channel."""
    pytest.importorskip("torch")
    repo.write("nets.py", CODE.format(width=8))
    repo.write(
        "cnnprof.toml",
        '[budgets.net]\nmodel = "nets.py:make"\ninputs = "1x3x32x24"\nmax_increase = { macs = 0 }\n',
    )
    repo.commit("eight channels")
    repo.write("nets.py", CODE.format(width=12))
    run = repo.run("check", "--baseline-ref", "HEAD", "-f", "json", "--why")
    assert run.code == 1, run
    (verdict,) = json.loads(run.out)["checks"]
    (finding,) = [f for f in verdict["findings"] if f["rule"] == "max_increase.macs"]
    assert (finding["baseline"], finding["value"]) == (165_888, 248_832)
    assert [row["change"] for row in verdict["diff"]["layers"]] == ["changed", "changed"][
        : len(verdict["diff"]["layers"])
    ]
