"""cnnprof strip: a skeleton that analyses to the same Profile, and a model that is never touched."""

from __future__ import annotations

import cnnprof


def test_skeleton_has_the_same_profile(repo, write_net) -> None:
    path = write_net(repo.root / "net.onnx", width=200)  # 200·171·4 = 136,800 bytes of weights
    before = path.read_bytes()
    run = repo.run("strip", "net.onnx", "-o", "skeleton.onnx")
    assert run.code == 0, run
    assert path.read_bytes() == before
    skeleton = repo.root / "skeleton.onnx"
    assert len(before) > 136_800
    assert skeleton.stat().st_size < 2_000
    old, new = cnnprof.analyze(path).to_dict(), cnnprof.analyze(skeleton).to_dict()
    for document in (old, new):
        for key in ("reference", "name"):
            del document["model"][key]
    assert new == old
    assert repo.run("diff", "net.onnx", "skeleton.onnx").out.startswith("same\n")


def test_a_real_network_shrinks_to_kilobytes(repo, light_resnet50) -> None:
    run = repo.run("strip", light_resnet50, "-o", "r50.onnx")
    assert run.code == 0, run
    assert (repo.root / "r50.onnx").stat().st_size < 100_000
    check = repo.run("check", "r50.onnx", "--max-params", "25557032", "--max-macs", "4089184256")
    assert check.code == 0, check  # torchvision's published figures for ResNet-50


def test_refusals_leave_everything_as_it_was(repo, write_net) -> None:
    path = write_net(repo.root / "net.onnx")
    before = path.read_bytes()
    repo.write("there.onnx", "kept")
    repo.write("junk.onnx", "not a model")
    for arguments, message in (
        (("net.onnx", "-o", "net.onnx", "--force"), "is the model itself"),
        (("net.onnx", "-o", "there.onnx"), "exists already"),
        (("gone.onnx", "-o", "new.onnx"), "no such file"),
        (("junk.onnx", "-o", "new.onnx"), "junk.onnx"),
    ):
        run = repo.run("strip", *arguments)
        assert run.code in (2, 3)
        assert message in run.err, run
    assert path.read_bytes() == before
    assert (repo.root / "there.onnx").read_text() == "kept"
    assert not (repo.root / "new.onnx").exists()
