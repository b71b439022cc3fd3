"""``cnnprof analyze`` as a user runs it: output, pipes, files, exit codes, hostile names."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    channels: int = 3,
    side: tuple[int, int] = (8, 6),
    **weights: tuple[int, ...],
) -> str:
    """An ONNX file with input x (1, channels, *side), output y of unknown shape and float weights by name."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, *side))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * math.prod(dims)), raw=True) for name, dims in weights.items()],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]), path
    )
    return str(path)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """x -> Conv 3x3, 4 maps, no padding -> Relu: 4·6·4·27 = 2,592 MACs, 108 parameters."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["y"], name="act"),
    ]
    return save(tmp_path / "tiny.onnx", nodes, w=(4, 3, 3, 3))


def test_table_fits_80_columns_and_has_no_colour_when_piped(cnnprof, light_resnet50: str) -> None:
    done = cnnprof("analyze", light_resnet50)
    assert done.returncode == 0
    assert "4,089,184,256 MACs" in done.stdout
    assert "25,557,032" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_is_exact_and_notes_go_to_standard_error(cnnprof, tiny: str) -> None:
    done = cnnprof("analyze", tiny, "--format", "json")
    document = json.loads(done.stdout)
    assert document["totals"]["macs"] == 2_592
    assert document["totals"]["parameters"] == 108
    assert document["layers"][1]["work"]["cmp"] == 4 * 24


def test_csv_is_exact(cnnprof, tiny: str) -> None:
    rows = list(csv.DictReader(io.StringIO(cnnprof("analyze", tiny, "--format", "csv").stdout)))
    assert [row["name"] for row in rows] == ["conv", "act"]
    assert rows[0]["macs"] == "2592"
    assert rows[0]["output_shape"] == "1x4x6x4"
    assert rows[0]["time_formula"] == "O(M_1·M_2·K²·C_in·C_out)"


def test_markdown_has_the_layers_and_the_totals(cnnprof, tiny: str) -> None:
    text = cnnprof("analyze", tiny, "--format", "markdown").stdout
    assert "| conv | conv | 1×4×6×4 | 108 | 2.59 k | 100.0 % |" in text


def test_output_file_is_written_whole(cnnprof, tiny: str, tmp_path: Path) -> None:
    done = cnnprof("analyze", tiny, "--format", "json", "-o", "out.json")
    assert done.stdout == ""
    assert json.loads((tmp_path / "out.json").read_text())["totals"]["macs"] == 2_592
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.onnx", "out.json"] or len(list(tmp_path.iterdir())) == 2


def test_an_unwritable_output_is_one_line_and_leaves_nothing(cnnprof, tiny: str, tmp_path: Path) -> None:
    done = cnnprof("analyze", tiny, "-o", "missing/out.txt")
    assert done.returncode == 2
    assert done.stderr == "error: missing/out.txt: can't write (No such file or directory); choose another -o FILE\n"
    assert not (tmp_path / "missing").exists()


def test_a_saved_profile_shows_the_same_table(cnnprof, tiny: str) -> None:
    cnnprof("analyze", tiny, "--format", "json", "-o", "p.json")
    assert cnnprof("analyze", "p.json").stdout == cnnprof("analyze", tiny).stdout


def test_standard_input(cnnprof, tiny: str) -> None:
    done = cnnprof("analyze", "-", "--format", "json", stdin=Path(tiny).read_bytes())
    assert json.loads(done.stdout)["totals"]["macs"] == 2_592


def test_another_size(cnnprof, tiny: str) -> None:
    done = cnnprof("analyze", tiny, "--input", "1x3x18x10", "--format", "json")
    assert json.loads(done.stdout)["totals"]["macs"] == 4 * 16 * 8 * 27
    done = cnnprof("analyze", tiny, "--batch", "5", "--format", "json")
    assert json.loads(done.stdout)["totals"]["macs"] == 5 * 2_592


def test_sort_top_and_depth(cnnprof, light_resnet50: str) -> None:
    lines = cnnprof("analyze", light_resnet50, "--sort", "params", "--top", "1").stdout.splitlines()
    assert any("2.36 M" in line for line in lines)  # a 3x3 of 512 maps: 9·512·512
    assert any("more ops" in line for line in lines)
    whole = cnnprof("analyze", light_resnet50, "--depth", "0").stdout
    assert "light_resnet50" in whole
    assert "more ops" not in whole


def test_a_closed_pipe_is_quiet(light_resnet50: str) -> None:
    command = f"{sys.executable} -m cnnprof analyze {light_resnet50} --all -q | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.returncode == 0


def test_an_unknown_operator_is_named_and_strict_fails(cnnprof, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Whirl", ["c"], ["y"], name="mystery", domain="com.acme"),
    ]
    path = save(tmp_path / "m.onnx", nodes, w=(4, 3, 3, 3))
    done = cnnprof("analyze", path)
    assert done.returncode == 0
    assert "≥ 2.59 kMACs" in done.stdout
    assert "50.0 % of 2 ops; NOT counted: 1× com.acme:Whirl" in " ".join(done.stdout.split())
    strict = cnnprof("analyze", path, "--strict")
    assert strict.returncode == 3
    assert strict.stdout == ""
    assert "com.acme:Whirl at 'mystery'" in strict.stderr


def test_hostile_names_are_text(cnnprof, tmp_path: Path) -> None:
    name = "\x1b[2J\x1b]0;owned\x07<script>[red]"
    path = save(tmp_path / "evil.onnx", [helper.make_node("Relu", ["x"], ["y"], name=name)])
    for form in ("table", "markdown"):
        done = cnnprof("analyze", path, "--format", form)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr
    assert "<script>" not in done.stdout  # Markdown may become HTML
    assert "[red]" in cnnprof("analyze", path).stdout
    formula = save(tmp_path / "f.onnx", [helper.make_node("Relu", ["x"], ["y"], name="=cmd()")])
    assert "'=cmd()," in cnnprof("analyze", formula, "--format", "csv").stdout


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("analyze", "nowhere.onnx"), 3, "nowhere.onnx: no such file"),
        (("analyze", "."), 3, ".: is a directory"),
        (("analyze", "empty.onnx"), 3, "empty.onnx"),
        (("analyze", "text.onnx"), 3, "text.onnx"),
        (("analyze", "empty.json"), 5, "empty.json: not JSON"),
        (("analyze", "tiny.onnx", "--input", "banana"), 2, "--input 'banana': not an input description"),
        (("analyze", "tiny.onnx", "--input", "nope=1x3x8x8"), 2, "nope"),
        (("analyze", "tiny.onnx", "--training"), 2, "an ONNX file holds inference only"),
        (("analyze", "tiny.onnx", "--all", "--top", "3"), 2, "--all: doesn't go with"),
        (("analyse", "tiny.onnx"), 2, "did you mean 'analyze'?"),
        (("analyze", "tiny.onnx", "--sort", "weight"), 2, "--sort"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    cnnprof, tiny: str, tmp_path: Path, args, code: int, message: str
) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "empty.json").touch()
    (tmp_path / "text.onnx").write_text("this is no model\n" * 50)
    before = sorted(p.name for p in tmp_path.iterdir())
    done = cnnprof(*args)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if not done.stderr.startswith("Usage"):  # click prints its usage line above a usage error
        assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_debug_shows_the_traceback(cnnprof, tmp_path: Path) -> None:
    done = cnnprof("analyze", "nowhere.onnx", "--debug")
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_completion_prints_a_script(cnnprof) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = cnnprof("completion", shell)
        assert done.returncode == 0
        assert "_CNNPROF_COMPLETE" in done.stdout
