"""check() on rules that the end-to-end tests don't reach: shares, layers, receptive field, what isn't held."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import cnnprof
from cnnprof.errors import UsageError
from cnnprof.gate.baseline import entry_of, parse_baseline
from cnnprof.gate.check import check
from cnnprof.gate.verdict import Report, Status, Verdict
from cnnprof.gate.within import budget_of
from cnnprof.profile import Profile


@pytest.fixture(scope="module")
def net(write_net, tmp_path_factory) -> Profile:
    """conv0 165,888 MACs and 216 parameters, conv1 884,736 and 1,152; total 1,050,624 and 1,368; two 3x3
    convolutions see 5 pixels."""
    path = write_net(tmp_path_factory.mktemp("net") / "net.onnx")
    return cnnprof.analyze(path)


def judge(profile: Profile, baseline: Any = None, **limits: Any) -> Verdict:
    return check(profile, budget_of("b", limits), baseline)


def statuses(verdict: Verdict) -> dict[str, str]:
    return {finding.rule: finding.status.value for finding in verdict.findings if finding.rule != "min_coverage"}


def test_limits_are_inclusive(net: Profile) -> None:
    assert statuses(judge(net, macs=1_050_624, parameters=1368)) == {"macs": "pass", "parameters": "pass"}
    assert statuses(judge(net, macs=1_050_623)) == {"macs": "fail"}


def test_shares_and_layers(net: Profile) -> None:
    # conv1's share of the MACs: 884,736 / 1,050,624 = 144/171 = 84.2105...%
    assert statuses(judge(net, max_share={"macs": "84.22%"})) == {"max_share.macs": "pass"}
    verdict = judge(net, max_share={"macs": "84.21%"})
    assert statuses(verdict) == {"max_share.macs": "fail"}
    assert verdict.findings[0].layers == ("conv1",)
    sums = {"layers": {"conv?": {"macs": 1_050_624, "each": {"macs": 884_736}, "max_share": {"parameters": "100%"}}}}
    assert set(statuses(judge(net, **sums)).values()) == {"pass"}
    sums["layers"]["conv?"] |= {"macs": 1_050_623, "each": {"macs": 884_735}}
    assert statuses(judge(net, **sums)) == {
        "layers.conv?.macs": "fail",
        "layers.conv?.each.macs": "fail",
        "layers.conv?.max_share.parameters": "pass",
    }


def test_a_layer_glob_that_matches_nothing_is_no_pass(net: Profile) -> None:
    verdict = judge(net, layers={"stem*": {"macs": "1G"}})
    assert statuses(verdict) == {"layers.stem*.macs": "undecided"}
    assert Report(verdicts=(verdict,)).exit_code == 2
    assert "layers are named like: conv0" in (verdict.findings[0].hint or "")


def test_forbidden_operators_and_dtypes(net: Profile) -> None:
    assert statuses(judge(net, forbid_ops=["Sigmoid", "lstm"])) == {"forbid_ops": "pass"}
    for pattern in ("relu", "Relu", "onnx:Relu", "re*"):
        verdict = judge(net, forbid_ops=pattern)
        assert statuses(verdict) == {"forbid_ops": "fail"}
        assert verdict.findings[0].layers == ("conv0_relu", "conv1_relu")
        assert verdict.findings[0].found == "onnx:Relu ×2, first at conv0_relu"
    assert statuses(judge(net, forbid_dtypes=["float64"])) == {"forbid_dtypes": "pass"}
    verdict = judge(net, forbid_dtypes=["float*"])
    assert "float32 ×5" in verdict.findings[0].found  # four layers and the input


def test_receptive_field(net: Profile) -> None:
    assert statuses(judge(net, receptive_field={"min": 5, "max": 5})) == {"receptive_field": "pass"}
    assert statuses(judge(net, receptive_field={"min": 6})) == {"receptive_field": "fail"}
    assert statuses(judge(net, receptive_field={"max": [5, 4]})) == {"receptive_field": "fail"}
    assert statuses(judge(net, receptive_field={"max": 3, "layer": "conv0"})) == {"receptive_field": "pass"}
    verdict = judge(net, receptive_field={"min": 3, "layer": "gone"})
    assert Report(verdicts=(verdict,)).exit_code == 2


def test_a_global_field_meets_every_minimum_and_breaks_every_maximum(net: Profile) -> None:
    row = {"input": "x", "size": [None, None], "global": [True, True]}
    whole = net.with_sections(receptive_field={"outputs": {"y": [row]}})
    assert statuses(judge(whole, receptive_field={"min": 10_000})) == {"receptive_field": "pass"}
    assert statuses(judge(whole, receptive_field={"max": 10_000})) == {"receptive_field": "fail"}
    unknown = net.with_sections(receptive_field={"outputs": {"y": [row | {"unknown": True}]}})
    assert statuses(judge(unknown, receptive_field={"min": 1})) == {"receptive_field": "undecided"}


@pytest.mark.parametrize(
    ("limits", "hint"),
    [
        ({"peak_bytes": "1 GiB"}, "cnnprof analyze MODEL --format json"),
        ({"receptive_field": {"min": 3}}, "cnnprof analyze MODEL --format json"),
        ({"latency": "5 ms", "device": "box"}, "cnnprof predict MODEL --device NAME --format json"),
        ({"macs": "5G"}, "analyse the model again"),
    ],
)
def test_what_the_profile_does_not_hold_is_an_error_that_says_what_to_run(net: Profile, limits, hint) -> None:
    totals = {k: v for k, v in net.totals.items() if k not in ("peak_bytes", "macs")}
    bare = dataclasses.replace(net, totals=totals).with_sections(receptive_field=None, memory=None)
    verdict = judge(bare, **limits)
    assert set(statuses(verdict).values()) == {"undecided"}
    assert hint in (verdict.findings[0].hint or "")
    assert Report(verdicts=(verdict,)).exit_code == 3


def test_predicted_latency(net: Profile) -> None:
    fast = net.with_sections(prediction={"device": "box", "latency_s": 0.004, "low_s": 0.003, "high_s": 0.005})
    assert statuses(judge(fast, latency="4 ms", device="box")) == {"latency": "pass"}
    verdict = judge(fast, latency="3.9 ms", device="box")
    assert statuses(verdict) == {"latency": "fail"}
    assert verdict.findings[0].found == "4 ms, 2.56% over"  # 0.1 / 3.9


def test_relative_limits_are_exact(net: Profile) -> None:
    base = entry_of(net)
    # 1,050,624 is exactly 2% over 1,030,023.53: 1,030,024 · 1.02 = 1,050,624.48 holds, 1,030,023 · 1.02 doesn't
    for before, status in ((1_030_024, "pass"), (1_030_023, "fail")):
        old = dataclasses.replace(base, metrics={**base.metrics, "macs": before})
        assert statuses(judge(net, old, max_increase={"macs": "2%"})) == {"max_increase.macs": status}
    old = dataclasses.replace(base, metrics={"macs": 1})
    assert statuses(judge(net, old, max_increase={"parameters": 0})) == {"max_increase.parameters": "undecided"}


def test_an_empty_baseline_value_is_not_divided_by(net: Profile) -> None:
    base = entry_of(net)
    old = dataclasses.replace(base, metrics={**base.metrics, "macs": 0})
    verdict = judge(net, old, max_increase={"macs": "2%"})
    assert verdict.findings[0].found == "1.05M (1,050,624), +1,050,624"


def test_parameters_alone_ask_for_no_coverage(write_net, tmp_path) -> None:
    odd = cnnprof.analyze(write_net(tmp_path / "odd.onnx", odd=True))
    assert Report(verdicts=(judge(odd, parameters="5k"),)).exit_code == 0
    assert Report(verdicts=(judge(odd, macs="5G"),)).exit_code == 1


def test_one_broken_rule_wins_over_everything_else(net: Profile) -> None:
    verdict = judge(net, macs=1, latency="1 s", device="box")
    assert verdict.status is Status.FAIL
    assert Report(verdicts=(verdict,)).exit_code == 1


def test_a_loop_of_unknown_length_is_no_pass(net: Profile) -> None:
    looped = dataclasses.replace(net, bounds={"macs": [1_050_624, None]})
    verdict = judge(looped, macs="5G", parameters="2k", max_increase={"macs": 0})
    assert statuses(verdict) == {"macs": "undecided", "parameters": "pass", "max_increase.macs": "undecided"}
    assert "at least 1.05M (1,050,624), and a loop of unknown length may add to it" in verdict.findings[0].message
    assert statuses(judge(looped, macs="1M")) == {"macs": "fail"}
    branches = dataclasses.replace(net, bounds={"macs": [500_000, 1_050_624]})  # an If: the dearer branch counts
    assert statuses(judge(branches, macs=1_050_624)) == {"macs": "pass"}


def test_wrong_keywords_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="macz: unknown key; did you mean 'macs'"):
        budget_of("b", {"macz": 1})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"schema": "cnnprof.baseline/1"}', '{"schema": "cnnprof.baseline/1", "budgets": []}',
        '{"schema": "cnnprof.baseline/1", "budgets": {"a": {"m": {}}}}',
        '{"schema": "cnnprof.baseline/1", "budgets": {"a": {"m": {"inputs": [], "metrics": {"macs": "x"}, "layers": []}}}}',
        '{"schema": "cnnprof.baseline/1", "budgets": {"a": {"m": {"inputs": [], "metrics": {}, "layers": [{}]}}}}',
        "\xff", "[" * 100_000,
    ],
)  # fmt: skip
def test_damaged_baselines_are_schema_errors(text: str) -> None:
    from cnnprof.errors import SchemaError

    with pytest.raises(SchemaError, match="cnnprof baseline update"):
        parse_baseline(text, origin="b.json")
