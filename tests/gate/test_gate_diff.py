"""Alignment by structure: what changed is named, exactly, and names alone change nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from cnnprof.gate.align import align
from cnnprof.gate.diff import Change, Diff, diff, diff_nodes
from cnnprof.gate.nodes import LayerNode
from cnnprof.render.gate_diff import diff_markdown, diff_text


def node(name: str, kind: str, sources: Sequence[int] = (), size: int = 8, macs: int = 0) -> LayerNode:
    """A layer whose label is (kind, size, macs)."""
    return LayerNode(
        name=name,
        kind=kind,
        attributes=json.dumps({"size": size}),
        shapes=((1, size),),
        dtypes=("float32",),
        sources=tuple(sources),
        costs={"macs": macs, "flops": 2 * macs, "parameters": 0, "activation_bytes": 4 * size},
    )


def chain(*kinds: str, prefix: str = "n") -> tuple[LayerNode, ...]:
    return tuple(node(f"{prefix}{i}", kind, [i - 1] if i else []) for i, kind in enumerate(kinds))


def compare(old: Sequence[LayerNode], new: Sequence[LayerNode]) -> Diff:
    totals = {key: tuple(sum(n.costs[key] for n in nodes) for nodes in (old, new)) for key in ("macs", "parameters")}
    return diff_nodes(old, new, totals=totals, names=("old", "new"))


def changes(result: Diff) -> dict[str, str]:
    return {row.name: row.change.value for row in result.layers if row.change is not Change.SAME}


def test_same_and_renamed() -> None:
    old = chain("conv", "relu", "conv", "relu", "pool")
    assert compare(old, old).verdict == "same"
    renamed = compare(old, chain("conv", "relu", "conv", "relu", "pool", prefix="m"))
    assert renamed.verdict == "renamed only"
    assert [(row.old.name, row.name) for row in renamed.layers] == [(f"n{i}", f"m{i}") for i in range(5)]


def test_inserted_among_equal_layers_shifts_no_name() -> None:
    """Exporters number their nodes: after an insertion every name belongs to another layer."""
    old = chain("conv", "relu", "conv", "relu", "conv", "relu", "pool", "linear")
    new = chain("conv", "relu", "norm", "conv", "relu", "conv", "relu", "pool", "linear")
    result = compare(old, new)
    assert [row.name for row in result.of(Change.INSERTED)] == ["n2"]
    assert not result.of(Change.REMOVED, Change.CHANGED)
    assert [(r.old.name, r.name) for r in result.of(Change.RENAMED)] == [(f"n{i}", f"n{i + 1}") for i in range(2, 8)]


def test_removed_stands_where_it_stood() -> None:
    result = compare(chain("conv", "relu", "drop", "linear"), chain("conv", "relu", "linear"))
    assert [(row.name, row.change) for row in result.layers][2] == ("n2", Change.REMOVED)
    assert len(result.layers) == 4


def test_every_size_changed_is_changed_not_replaced() -> None:
    kinds = ["conv", "norm", "relu"] * 12
    old = chain(*kinds)
    new = tuple(node(f"w{i}", k, [i - 1] if i else [], size=12, macs=i) for i, k in enumerate(kinds))
    result = compare(old, new)
    assert len(result.of(Change.CHANGED)) == 36
    assert [(row.old.name, row.name) for row in result.layers] == [(f"n{i}", f"w{i}") for i in range(36)]


def test_parallel_branches_in_another_order_are_the_same() -> None:
    """Two branches of unlike layers, exported one before the other or the other way round."""
    old = [
        node("stem", "conv", [], 4), node("a1", "conv", [0], 5), node("a2", "relu", [1], 5),
        node("b1", "pool", [0], 6), node("b2", "linear", [3], 7), node("cat", "concat", [2, 4], 9),
    ]  # fmt: skip
    new = [
        node("stem", "conv", [], 4), node("b1", "pool", [0], 6), node("b2", "linear", [1], 7),
        node("a1", "conv", [0], 5), node("a2", "relu", [3], 5), node("cat", "concat", [4, 2], 9),
    ]  # fmt: skip
    assert compare(old, new).verdict == "same"


def test_a_removed_and_another_kind_inserted_are_two_things() -> None:
    result = compare(chain("conv", "relu", "pool"), chain("conv", "silu", "pool"))
    assert sorted((row.name, row.change.value) for row in result.layers if row.change is not Change.SAME) == [
        ("n1", "inserted"),
        ("n1", "removed"),
    ]


def test_empty_graphs() -> None:
    assert align((), ()) == {}
    assert [row.change for row in compare((), chain("conv")).layers] == [Change.INSERTED]
    assert [row.change for row in compare(chain("conv"), ()).layers] == [Change.REMOVED]


@pytest.mark.parametrize("seed", range(20))
def test_alignment_is_one_to_one_and_deltas_close_the_gap(seed: int) -> None:
    """Whatever two graphs are given: no layer twice, kinds agree, and the rows add up to the totals."""
    rng = random.Random(seed)

    def graph() -> list[LayerNode]:
        return [
            node(f"n{rng.randrange(99)}", rng.choice(["conv", "relu", "add"]),
                 sorted(rng.sample(range(i), min(i, rng.choice([1, 1, 2])))), rng.choice([4, 8]), rng.randrange(3))
            for i in range(rng.randrange(60))
        ]  # fmt: skip

    old, new = graph(), graph()
    matched = align(old, new)
    assert len(set(matched.values())) == len(matched)
    assert all(old[i].kind == new[j].kind for i, j in matched.items())
    result = compare(old, new)
    assert sum(row.old is not None for row in result.layers) == len(old)
    assert sum(row.new is not None for row in result.layers) == len(new)
    assert result.unexplained("macs") == 0
    assert compare(old, old).verdict == "same"


def test_verdict_words() -> None:
    def with_macs(*macs: int) -> list[LayerNode]:
        return [node(f"n{i}", "conv", [i - 1] if i else [], macs=m) for i, m in enumerate(macs)]

    assert compare(with_macs(1000), with_macs(1123)).verdict == "costlier: +12.3% MACs"
    assert compare(with_macs(1000), with_macs(900)).verdict == "cheaper: -10.0% MACs"
    assert compare(with_macs(100_000), with_macs(100_001)).verdict == "costlier: +0.0010% MACs"
    result = compare([node("a", "conv", size=4)], [node("a", "conv", size=5)])
    assert result.verdict == "changed, at the same cost"
    assert result.moved[0].what == ("shape 1×4 → 1×5", "size 4 → 5")


def test_text_and_markdown_name_what_moved_and_escape_names() -> None:
    old = [node("a|<b>\n", "conv", size=4, macs=10)]
    new = [node("a|<b>\n", "conv", size=5, macs=15)]
    result = compare(old, new)
    text = diff_text(result)
    assert text.startswith("costlier: +50.0% MACs\n")
    assert r"~ a|<b>\n (conv): +5 MACs, 100% of the change" in text
    markdown = diff_markdown(result)
    assert "| a\\|&lt;b&gt;" in markdown
    assert "<b>" not in markdown


# -- ResNet-50: one block widened, and a renamed export ------------------------------------------------


@pytest.fixture(scope="module")
def resnet50():
    """Its Profile, and a function that traces it with one block's inner width changed."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    import cnnprof

    def profile(change=lambda model: None):
        model = torchvision.models.resnet50(weights=None).eval()
        change(model)
        return cnnprof.analyze(model, (torch.zeros(1, 3, 224, 224),))

    return torch, profile


def test_resnet50_with_one_block_widened_names_exactly_the_changed_layers(resnet50) -> None:
    torch, profile = resnet50

    def widen(model) -> None:
        # layer2.1: 1x1 512->128, 3x3 128->128, 1x1 128->512; its inner width becomes 160
        block = model.layer2[1]
        block.conv1 = torch.nn.Conv2d(512, 160, 1, bias=False)
        block.bn1 = torch.nn.BatchNorm2d(160)
        block.conv2 = torch.nn.Conv2d(160, 160, 3, padding=1, bias=False)
        block.bn2 = torch.nn.BatchNorm2d(160)
        block.conv3 = torch.nn.Conv2d(160, 512, 1, bias=False)

    result = diff(profile(), profile(widen))
    moved = result.moved
    assert {row.change for row in moved} == {Change.CHANGED}
    assert all(row.node.name.startswith("layer2/1") or "layer2.1" in row.node.name for row in moved), changes(result)
    # conv1, bn1, relu, conv2, bn2, relu, conv3 and nothing else
    kinds = sorted(row.node.kind for row in moved)
    assert kinds == ["batch_norm", "batch_norm", "conv", "conv", "conv", "relu", "relu"]
    # 28x28 positions: conv1 and conv3 each 784·512·32 = 12,845,056; conv2 784·9·(160² - 128²) = 65,028,096
    assert result.change_of("macs") == 90_718_208
    # conv1 and conv3 512·32 = 16,384 each, conv2 9·9,216 = 82,944, two norms 2·32 each
    assert result.change_of("parameters") == 115_840
    assert result.unexplained("macs") == result.unexplained("parameters") == 0
    assert result.verdict == "costlier: +2.2% MACs, +0.5% parameters"


def test_resnet50_renamed_is_nothing_but_names(resnet50) -> None:
    _, profile = resnet50

    def rename(model) -> None:
        for name in ("layer1", "layer2", "layer3", "layer4"):
            stage = getattr(model, name)
            for index, block in enumerate(list(stage)):
                del stage[index]
                stage.insert(index, _Renamed(block))

    import torch

    class _Renamed(torch.nn.Module):
        def __init__(self, block) -> None:
            super().__init__()
            self.body = block

        def forward(self, x):
            return self.body(x)

    result = diff(profile(), profile(rename))
    assert result.verdict == "renamed only"
    assert not result.moved
    renamed = result.of(Change.RENAMED)
    assert len(renamed) > 100
    assert all(row.old.name != row.new.name for row in renamed)


def test_resnet50_from_torch_and_from_onnx_differ_only_where_they_really_do(resnet50, light_resnet50) -> None:
    """The ONNX file of the onnx package ends in a softmax and pools globally by name; all else is the same network:
    53 convolutions, 53 norms, 49 ReLUs, 16 additions, one linear layer."""
    import cnnprof

    _, profile = resnet50
    result = diff(profile(), cnnprof.analyze(light_resnet50))
    assert result.change_of("macs") == result.change_of("parameters") == 0
    aligned = [row.node.kind for row in result.of(Change.SAME, Change.RENAMED)]
    expected = {"conv": 53, "batch_norm": 53, "relu": 49, "add": 16}
    assert {kind: aligned.count(kind) for kind in expected} == expected
    assert "softmax" in {row.node.kind for row in result.of(Change.INSERTED)}
    assert len(result.moved) <= 6
    assert result.verdict.startswith("changed, same MACs and parameters")


def test_cli_diff_of_git_revisions(repo, write_net) -> None:
    write_net(repo.root / "sub/net.onnx")
    repo.commit("first")
    write_net(repo.root / "sub/net.onnx", width=12)
    second = repo.commit("wider")
    write_net(repo.root / "sub/net.onnx", width=12, names="renamed")
    run = repo.run("diff", "HEAD~1:sub/net.onnx", f"{second}:sub/net.onnx")
    assert run.code == 0, run
    assert run.out.startswith("costlier: +50.0% MACs, +50.0% parameters\n")
    work_tree = repo.run("diff", "HEAD:sub/net.onnx", "sub/net.onnx", "-f", "json", "--exit-code")
    assert work_tree.code == 0
    document = json.loads(work_tree.out)
    assert document["verdict"] == "renamed only"
    assert document["counts"] == {"same": 0, "renamed": 4, "changed": 0, "inserted": 0, "removed": 0}
    assert repo.run("diff", "HEAD~1:sub/net.onnx", "sub/net.onnx", "--exit-code").code == 1
    gone = repo.run("diff", "HEAD:sub/gone.onnx", "sub/net.onnx")
    assert gone.code == 3
    assert "HEAD:sub/gone.onnx: no such file at that revision" in gone.err


def test_cli_diff_of_saved_profiles(repo, write_net) -> None:
    write_net(repo.root / "a.onnx")
    write_net(repo.root / "b.onnx", width=4)
    for name in "ab":
        assert repo.run("analyze", f"{name}.onnx", "-f", "json", "-o", f"{name}.json").code == 0
    run = repo.run("diff", "a.json", "b.json", "-f", "markdown", "-o", "out.md")
    assert run.code == 0
    text = (repo.root / "out.md").read_text()
    assert text.startswith("**cheaper: -50.0% MACs, -50.0% parameters**")
    # width 8 -> 4: 1,050,624 -> 525,312
    assert "| MACs | 1,050,624 | 525,312 | -525,312, -50% |" in text
