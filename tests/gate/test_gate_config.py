"""Bad config is exit 2 with file, line and key; good config means what it says."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnprof.errors import UsageError
from cnnprof.gate.budget import CoverageLimit, FieldLimit, IncreaseLimit, LayerLimit, Level, Limit, Origin
from cnnprof.gate.config import find_config, load_config
from cnnprof.gate.flatten import flatten, known_keys
from cnnprof.gate.plan import Flags, choose, select, targets_of, with_flags
from cnnprof.gate.rules import budget_from
from cnnprof.gate.toml_lines import line_of, toml_lines


def _load(folder: Path, text: str, name: str = "cnnprof.toml"):
    (folder / name).write_text(text, encoding="utf-8")
    return load_config(folder, cwd=folder)


BAD = {
    "unknown key, the nearest named": (
        '[budgets.net]\nmodel = "a.onnx"\nmacz = "5G"\n',
        "cnnprof.toml:3: budgets.net.macz: unknown key; did you mean 'macs'?",
    ),
    "unknown top key": ("[budget.net]\n", "cnnprof.toml:1: budget: unknown key; did you mean 'budgets'?"),
    "unknown metric in a table": (
        '[budgets.net]\nmodel = "a.onnx"\n[budgets.net.max_increase]\nparams = 0\n',
        "cnnprof.toml:4: budgets.net.max_increase.params: unknown key; did you mean 'parameters'?",
    ),
    "unknown key in an inline table": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = { max = "1G", levl = "warn" }\n',
        "cnnprof.toml:3: budgets.net.macs.levl: unknown key; did you mean 'level'?",
    ),
    "wrong type": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = ["5G"]\n',
        "cnnprof.toml:3: budgets.net.macs: expected a quantity, got list",
    ),
    "true is no number": (
        '[budgets.net]\nmodel = "a.onnx"\nparameters = true\n',
        "cnnprof.toml:3: budgets.net.parameters: expected a quantity, got bool",
    ),
    "wrong type of a table": (
        '[budgets.net]\nmodel = "a.onnx"\nmax_increase = "2%"\n',
        "cnnprof.toml:3: budgets.net.max_increase: expected a table, got str; e.g. max_increase = { macs",
    ),
    "model is a number": (
        "[budgets.net]\nmodel = 3\nmacs = 1\n",
        "cnnprof.toml:2: budgets.net.model: expected a string or a list of strings, got 3",
    ),
    "wrong unit": (
        '[budgets.net]\nmodel = "a.onnx"\npeak_bytes = "64 GMACs"\n',
        "cnnprof.toml:3: budgets.net.peak_bytes: '64 GMACs': the unit 'GMACs' is not one of bytes; write "
        '"64 MiB", "64 MB" or 67108864 (units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)',
    ),
    "FLOPs for MACs": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = "8 GFLOPs"\n',
        "one MAC is two FLOPs: to limit FLOPs use the key flops",
    ),
    "no unit": (
        '[budgets.net]\nmodel = "a.onnx"\ndevice = "d"\nlatency = 5\n',
        'cnnprof.toml:4: budgets.net.latency: 5: the unit is missing; write "5 ms"',
    ),
    "latency without device": (
        '[budgets.net]\nmodel = "a.onnx"\nlatency = "5 ms"\n',
        "cnnprof.toml:3: budgets.net.latency: no device to predict it for",
    ),
    "bad level": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = "1G"\nlevel = "fatal"\n',
        'cnnprof.toml:4: budgets.net.level: level \'fatal\' is not one; write "off", "warn" or "error"',
    ),
    "bad input": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = "1G"\ninputs = "1,3,224,224"\n',
        "cnnprof.toml:4: budgets.net.inputs: '1,3,224,224': not an input description",
    ),
    "unknown dtype": (
        '[budgets.net]\nmodel = "a.onnx"\nforbid_dtypes = ["flaot64"]\n',
        "cnnprof.toml:3: budgets.net.forbid_dtypes: unknown dtype 'flaot64'; did you mean 'float64'?",
    ),
    "unknown preset": (
        '[budgets.net]\nmodel = "a.onnx"\nextends = "mobil"\n',
        "cnnprof.toml:3: budgets.net.extends: no preset or budget 'mobil'; did you mean 'mobile'?",
    ),
    "extends a number": (
        '[budgets.net]\nmodel = "a.onnx"\nextends = 3\n',
        "cnnprof.toml:3: budgets.net.extends: expected a name or a list of names",
    ),
    "presets in a circle": (
        '[presets.a]\nextends = "b"\n[presets.b]\nextends = "a"\n[budgets.net]\nmodel = "a.onnx"\nextends = "a"\n',
        "extends itself (budgets.net -> presets.a -> presets.b -> presets.a)",
    ),
    "no model": ('[budgets.net]\nmacs = "1G"\n', "cnnprof.toml:1: budgets.net: names no model"),
    "no limit": ('[budgets.net]\nmodel = "a.onnx"\n', "cnnprof.toml:1: budgets.net: holds no limit"),
    "limit outside a budget": (
        '[budgets]\nmacs = "1G"\n',
        "cnnprof.toml:2: budgets.macs: expected a table; macs belongs in a named table: [budgets.NAME]",
    ),
    "field upside down": (
        '[budgets.net]\nmodel = "a.onnx"\nreceptive_field = { min = 9, max = 3 }\n',
        "cnnprof.toml:3: budgets.net.receptive_field.min: the minimum is larger than the maximum",
    ),
    "share over everything": (
        '[budgets.net]\nmodel = "a.onnx"\nmax_share = { macs = "120%" }\n',
        "cnnprof.toml:3: budgets.net.max_share.macs: '120%' is more than 100%",
    ),
    "increase as a bare fraction": (
        '[budgets.net]\nmodel = "a.onnx"\nmax_increase = { macs = 0.02 }\n',
        'cnnprof.toml:3: budgets.net.max_increase.macs: 0.02 is neither a percentage nor a whole number; write "2%"',
    ),
    "duplicate budget": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = "1G"\n[budgets.net]\nmodel = "b.onnx"\n',
        "cnnprof.toml:4: [budgets.net]: given twice",
    ),
    "duplicate key": (
        '[budgets.net]\nmodel = "a.onnx"\nmacs = "1G"\nmacs = "2G"\n',
        "cnnprof.toml:4: macs: given twice",
    ),
    "not TOML": ("[budgets.net\nmodel = 1\n", "cnnprof.toml:1:"),
    "layers without a limit": (
        '[budgets.net]\nmodel = "a.onnx"\n[budgets.net.layers."stem*"]\nlevel = "warn"\n',
        'cnnprof.toml:3: budgets.net.layers."stem*": holds no limit',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_config_names_line_and_key(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_pyproject_names_the_whole_files_line(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\n\n[tool.cnnprof.budgets."my net"]\nmodel = "a.onnx"\nmacs = "5 GB"\n'
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, text, "pyproject.toml")
    assert str(caught.value).startswith('pyproject.toml:6: budgets."my net".macs: ')


def test_one_name_in_both_files(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.cnnprof.budgets.net]\nmodel = "a.onnx"\nmacs = 1\n')
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, '\n[budgets.net]\nmodel = "a.onnx"\nmacs = 1\n')
    assert "cnnprof.toml:2: budgets.net: this name is given twice (also at pyproject.toml:1)" in str(caught.value)


@pytest.mark.parametrize("flag", ["--max-macs", "--input"])
def test_a_limit_in_file_and_flag(repo, write_net, flag: str) -> None:
    write_net(repo.root / "net.onnx")
    repo.write("cnnprof.toml", '[budgets.net]\nmodel = "net.onnx"\nmacs = "1G"\ninputs = "1x3x32x24"\n')
    value = "5G" if flag == "--max-macs" else "1x3x16x16"
    run = repo.run("check", "net.onnx", flag, value)
    assert run.code == 2
    place = "cnnprof.toml:3: budgets.net.macs" if flag == "--max-macs" else "budgets.net.inputs"
    assert place in run.err
    assert f"also given by {flag}" in run.err
    assert run.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check",), "check: no budget found"),
        (("check", "net.onnx"), "net.onnx: no budget covers this model"),
        (("check", "net.onnx", "--max-macs", "5 MiB"), "--max-macs: '5 MiB': the unit 'MiB'"),
        (("check", "net.onnx", "--max-increase", "macs"), "--max-increase 'macs': not KEY=AMOUNT"),
        (("check", "--budget", "nte"), "--budget nte: no such budget"),
        (("check", "--config", "gone.toml"), "gone.toml: no such config file"),
        (("check", "--max-mac", "5G"), "No such option"),
        (("baseline", "update"), "baseline update: no budget found"),
        (("baseline", "show"), "no such file"),
    ],
)
def test_wrong_usage_is_exit_2_without_output(repo, write_net, arguments, message: str) -> None:
    write_net(repo.root / "net.onnx")
    run = repo.run(*arguments)
    assert run.code == 2
    assert message in run.err
    assert run.out == ""


def test_glob_without_match_is_exit_2(repo) -> None:
    repo.write("cnnprof.toml", '# budgets\n[budgets.net]\nmodel = ["models/**/*.onnx"]\nmacs = "1G"\n')
    run = repo.run("check")
    assert run.code == 2
    assert "cnnprof.toml:3: budgets.net.model: 'models/**/*.onnx' matches no file" in run.err


def test_a_whole_budget(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        """
baseline = "costs/base.json"
[presets.small]
parameters = "5M"
macs = "1G"
[budgets.net]
model = ["a.onnx", "b/*.onnx"]
inputs = ["x=1x3x224x224"]
extends = ["mobile", "small"]
macs = "600 MMACs"
flops = { max = 2e9, level = "warn" }
peak_bytes = "64 MiB"
device = "box"
latency = "5 ms"
min_coverage = "99.5%"
receptive_field = { min = [224, 96] }
max_increase = { macs = "2%", parameters = 0, peak_bytes = "1 MiB" }
ratchet = true
max_share = { macs = "30%" }
forbid_ops = ["LSTM"]
levels = { max_increase = "warn", "max_increase.parameters" = "error", forbid_ops = "off" }
[budgets.net.layers."stem*"]
macs = "100M"
level = "warn"
each.parameters = "1k"
""",
    )
    (budget,) = config.budgets
    assert config.baseline == tmp_path / "costs/base.json"
    assert budget.models == ("a.onnx", "b/*.onnx")
    rules = {rule.id: rule for rule in budget.rules}
    limits = {key: rule.maximum for key, rule in rules.items() if isinstance(rule, Limit)}
    assert limits == {
        "parameters": 5_000_000,
        "macs": 600_000_000,
        "flops": 2_000_000_000,
        "peak_bytes": 67_108_864,
        "latency": Fraction(5, 1000),
    }
    assert rules["flops"].level is Level.WARN
    assert rules["parameters"].origin.place == "cnnprof.toml:4"
    assert rules["macs"].origin.place == "cnnprof.toml:10"
    assert isinstance(rules["max_increase.macs"], IncreaseLimit)
    assert rules["max_increase.macs"].level is Level.WARN
    assert rules["max_increase.parameters"].level is Level.ERROR
    assert rules["max_increase.macs"].increase.limit(1000) == 1020
    assert rules["max_increase.peak_bytes"].increase.limit(1000) == 1000 + 1_048_576
    assert rules["ratchet.parameters"].increase.limit(7) == 7
    assert "forbid_ops" not in rules
    stem = rules["layers.stem*.macs"]
    assert isinstance(stem, LayerLimit)
    assert (stem.maximum, stem.level, stem.each) == (100_000_000, Level.WARN, False)
    assert rules["layers.stem*.each.parameters"].each
    field = rules["receptive_field"]
    assert isinstance(field, FieldLimit)
    assert field.minimum == (224, 96)
    coverage = rules["min_coverage"]
    assert isinstance(coverage, CoverageLimit)
    assert coverage.minimum == Fraction(995, 1000)


def test_config_is_found_upwards_to_the_repository_and_no_further(tmp_path: Path) -> None:
    inner = tmp_path / "repo" / "src" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "cnnprof.toml").write_text("")
    assert find_config(inner) == tmp_path
    (tmp_path / "repo" / ".git").mkdir()
    assert find_config(inner) is None
    (tmp_path / "repo" / "pyproject.toml").write_text("[tool.cnnprof.budgets]\n")
    assert find_config(inner) == tmp_path / "repo"
    (tmp_path / "repo" / "src" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert find_config(inner) == tmp_path / "repo"


def test_no_config_is_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert load_config(None, cwd=tmp_path) is None


def test_globs_models_and_selection(tmp_path: Path) -> None:
    for name in ("a.onnx", "m/b.onnx", "m/n/c.onnx", "m/readme.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    config = _load(
        tmp_path,
        '[budgets.one]\nmodel = ["a.onnx", "**/*.onnx", "torchvision:resnet18"]\nmacs = 1\n'
        '[budgets.two]\nmodel = "m/*.onnx"\nmacs = 1\n',
    )
    one, two = config.budgets
    assert [t.model for t in targets_of(one)] == ["a.onnx", "m/b.onnx", "m/n/c.onnx", "torchvision:resnet18"]
    assert [t.model for t in targets_of(two)] == ["m/b.onnx"]
    assert [b.name for b in select(config.budgets, ["two"])] == ["two"]
    chosen = choose(config.budgets, ["b.onnx"], Flags(), cwd=tmp_path / "m")
    assert [(t.budget.name, t.model) for t in chosen] == [("one", "m/b.onnx"), ("two", "m/b.onnx")]
    joined = with_flags(two, Flags(table={"parameters": "5M"}))
    assert {rule.id for rule in joined.rules} == {"macs", "parameters", "min_coverage"}


def test_lines_of_keys() -> None:
    text = (
        '# c\n[a."b.c"]\nx = "]#=" # = y\ny = """\n[not]\nz = 1\n"""\n'
        "s = 'a\\'\nz.w = [\n  1, # [\n  { k = 2 },\n]\n[[t]]\nq = 1\n[[t]]\nq = 2\n[t.u]\nv = 3\n"
    )
    lines = toml_lines(text)
    assert lines[("a", "b.c")] == 2
    assert lines[("a", "b.c", "x")] == 3
    assert lines[("a", "b.c", "y")] == 4
    assert ("not",) not in lines
    assert lines[("a", "b.c", "s")] == 8
    assert lines[("a", "b.c", "z", "w")] == 9
    assert lines[("a", "b.c", "z", "w", 1, "k")] == 11
    assert lines[("t", 0, "q")] == 14
    assert lines[("t", 1, "q")] == 16
    assert lines[("t", 1, "u", "v")] == 18
    assert line_of(lines, ("a", "b.c", "unwritten")) == 2


# -- whatever stands in the file, the answer is a budget or one line ---------------------------------------

_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["5G", "2%", "64 MiB", "5 ms", "warn", "", "*", "x" * 300, "1x3x8x8", "float64", "mobile", "\x00"]),
    st.text(max_size=5),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["macs", "min", "max", "level", "layer", "each", "max_share", "s*"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(table=st.dictionaries(st.sampled_from(known_keys()), _VALUES, max_size=6))
def test_any_table_is_a_budget_or_a_usage_error(table) -> None:
    flat_origin = Origin("budgets.net", "cnnprof.toml", 1)
    try:
        flat = flatten(
            {"model": "a.onnx", **table},
            lambda path: Origin(f"budgets.net.{'.'.join(map(str, path))}", "cnnprof.toml", 1),
        )
        budget = budget_from("net", flat, origin=flat_origin, root=".")
    except UsageError as error:
        assert str(error).startswith("cnnprof.toml:1: budgets.net")
        assert "\n" not in error.message.replace("\\n", "")
    else:
        assert budget.rules or table


def _paths(tree, path=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from _paths(value, (*path, key))


@pytest.mark.parametrize(
    "text",
    [
        'a = 1\n[b]\nc = [1, [2, { d = "]" }]]\n[b."x.y".\'z\']\nw.v = {}\n',
        '[[t]]\na = """x"""""\nb = \'\'\'\'\'\'\n[[t]]\n[[t.u]]\nk = 2020-01-01T00:00:00Z # [c]\n',
        '"\\u0041\\tb" = "\\"#"\r\n[q]\r\nr = 1\r\n',
        "[a]\n[a.b.c]\n[a.b]\nx = inf\ny = 0x1F\n",
    ],
)
def test_every_key_that_tomllib_sees_has_a_line(text: str) -> None:
    lines = toml_lines(text)
    for path in _paths(tomllib.loads(text)):
        assert path in lines, path
        assert 1 <= lines[path] <= text.count("\n")
