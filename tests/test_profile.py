"""The saved Profile: exact round trip, absent sections, and one-line errors for damaged files."""

import json
from pathlib import Path

import pytest
from graphs import Net, chain

import cnnprof
from cnnprof.api import profile_graph
from cnnprof.errors import SchemaError, UnknownOperatorError, UsageError
from cnnprof.profile import SCHEMA, Profile


def test_round_trip_is_exact() -> None:
    profile = profile_graph(chain(), sections=())
    text = profile.to_json()
    again = Profile.from_json(text)
    assert again.to_json() == text
    assert again.macs == 322_560
    assert again.layer("a").macs == 138_240
    assert again.layer("nowhere") is None


def test_the_document_is_sorted_and_holds_what_the_schema_names() -> None:
    document = json.loads(profile_graph(chain(), sections=()).to_json())
    assert document["schema"] == SCHEMA
    assert list(document) == sorted(document)
    assert set(document["totals"]) >= {
        "macs", "flops", "transcendentals", "work", "parameters", "buffers", "parameter_bytes",
        "buffer_bytes", "activation_elements", "activation_bytes", "bytes_read", "bytes_written", "arithmetic_intensity",
    }  # fmt: skip
    assert document["inputs"] == [{"name": "x", "shape": [1, 3, 32, 20], "dtype": "float32"}]
    assert document["coverage"] == {
        "ops": 2, "counted": 2, "zero_by_definition": 0, "unknown": [], "complete": True,
    }  # fmt: skip
    layer = document["layers"][0]
    assert layer["outputs"] == [{"name": "a:0", "shape": [1, 8, 32, 20], "dtype": "float32"}]
    assert layer["attributes"]["padding"] == [[1, 1], [1, 1]]
    assert layer["work"]["mac"] == 138_240
    # sections that weren't asked for are absent, not null
    assert "memory" not in document
    assert "bounds" not in document


def _unknown_profile() -> Profile:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    out = net.op("unknown", (x,), (1, 3, 8, 6), "mystery", op_type="com.acme:Whirl")
    return profile_graph(net.build(out), sections=())


def test_an_unknown_layer_has_no_cost_keys_and_says_why() -> None:
    document = json.loads(_unknown_profile().to_json())
    layer = document["layers"][0]
    assert "macs" not in layer
    assert "work" not in layer
    assert layer["unknown"] == "no cost rule for com.acme:Whirl"
    assert document["bounds"]["macs"] == [0, None]
    assert document["coverage"]["unknown"][0]["layers"] == ["mystery"]
    assert Profile.from_dict(document).layer("mystery").macs is None


def test_strict_raises_and_names_the_operator() -> None:
    net = Net()
    x = net.input("x", (1, 3, 8, 6))
    graph = net.build(net.op("unknown", (x,), (1, 3, 8, 6), "mystery", op_type="com.acme:Whirl"))
    with pytest.raises(UnknownOperatorError, match="com.acme:Whirl at 'mystery'"):
        cnnprof.analyze(graph, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no schema"),
        ("{}", "no schema"),
        ('{"schema": "cnnprof.profile/0"}', "expected schema cnnprof.profile/1, got 'cnnprof.profile/0'"),
        ('{"schema": "cnnprof.profile/1"}', "the profile lacks tool, model"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_damaged_files_are_schema_errors(text: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Profile.from_json(text, origin="p.json")
    assert str(caught.value).startswith("p.json: ")
    assert message in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_damaged_layer_is_a_schema_error() -> None:
    document = profile_graph(chain(), sections=()).to_dict()
    document["layers"][1] = {"name": "b"}
    with pytest.raises(SchemaError, match="a layer lacks kind"):
        Profile.from_dict(document)
    document["layers"] = 7
    with pytest.raises(SchemaError, match="damaged"):
        Profile.from_dict(document)


def test_a_profile_holds_no_nan() -> None:
    profile = profile_graph(chain(), sections=()).with_sections(prediction={"latency_s": float("nan")})
    with pytest.raises(ValueError, match="nan"):
        profile.to_json()


def test_unknown_sections_survive() -> None:
    document = profile_graph(chain(), sections=()).to_dict() | {"x_team": {"owner": "vision"}}
    assert Profile.from_dict(document).to_dict()["x_team"] == {"owner": "vision"}


def test_analyze_says_what_it_takes() -> None:
    with pytest.raises(UsageError, match="expected a path, a reference, a Graph or a Module, got int"):
        cnnprof.analyze(7)


def test_load_says_what_it_takes() -> None:
    with pytest.raises(UsageError, match="load: expected a path or a reference, got object"):
        cnnprof.load(object())


def test_the_documented_example_runs(light_models: Path) -> None:
    """The example of the package's docstring and README."""
    profile = cnnprof.analyze(light_models / "light_resnet50.onnx")
    assert profile.parameters > 25_000_000
    graph = cnnprof.load(light_models / "light_resnet50.onnx")
    assert graph.digraph.number_of_nodes() == len(graph)
