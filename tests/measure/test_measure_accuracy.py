"""The accuracy report: figures by hand, noise left out, and the list of networks it is made over."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from cnnprof.measure.accuracy import Compared, report, shares, spearman
from cnnprof.measure.accuracy_models import MODELS


def row(model: str, measured: float, predicted: float, **changes: object) -> Compared:
    values = {"low_s": predicted * 0.9, "high_s": predicted * 1.1, "half_width": 0.01, "quiet": True, "again_s": measured * 1.02,
              "baselines": {"flops": measured * 0.5}}  # fmt: skip
    return Compared(model=model, measured_s=measured, predicted_s=predicted, **{**values, **changes})


def test_figures_by_hand() -> None:
    rows = [
        row("a", 1.0, 1.04),
        row("b", 2.0, 1.6),
        row("c", 4.0, 4.24),
        row("n", 1.0, 9.0, quiet=False, reasons=("steal",)),
    ]
    made = report(rows, {"device": "d"})
    errors = made["errors"]
    # |errors| 4 %, 20 %, 6 %; the noisy one counts for nothing
    assert errors["models"] == 3 and errors["mean"] == pytest.approx(0.1) and errors["median"] == pytest.approx(0.06)
    assert errors["worst"] == pytest.approx(0.2) and errors["bias"] == pytest.approx((0.04 - 0.2 + 0.06) / 3)
    assert (errors["within_5"], errors["within_10"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert made["too_noisy"] == ["n"]
    # b: 1.6 ± 10 % doesn't reach 2.0
    assert made["intervals"]["coverage_90"] == pytest.approx(2 / 3)
    assert made["intervals"]["median_half_width"] == pytest.approx(0.1)
    assert made["baselines"]["flops"]["mean"] == pytest.approx(0.5)
    assert made["noise_floor"]["median"] == pytest.approx(0.02)
    assert made["error_over_noise"] == pytest.approx(3.0)
    json.dumps(made, allow_nan=False)


def test_nothing_quiet_gives_no_figures() -> None:
    made = report([row("n", 1.0, 1.0, quiet=False)], {})
    assert "errors" not in made and made["too_noisy"] == ["n"]


def test_layers_by_hand() -> None:
    layers = {"measured_layers": {"x": 6.0, "y": 3.95, "z": 0.05}, "predicted_layers": {"x": 5.0, "y": 5.0, "z": 0.0},
              "classes": {"x": "conv_dense", "y": "gemm"}}  # fmt: skip
    made = report([row("a", 10.0, 10.0, **layers)], {})["layers"]
    # shares 60 %, 39.5 % (z is below 1 %); predicted 50 % each: −16.7 %, +26.6 %
    assert made["count"] == 2
    assert made["median_error"] == pytest.approx((1 / 6 + (0.5 / 0.395 - 1)) / 2)
    assert made["by_class"]["gemm"]["bias"] == pytest.approx(0.5 / 0.395 - 1)
    assert made["worst"][0]["layer"] == "y"  # 0.395 · 26.6 % = 10.5 points, x: 0.6 · 16.7 % = 10.0
    assert made["top_5_recall"] == 1.0


def test_top_five_recall() -> None:
    measured = {f"l{i}": 10.0 - i for i in range(10)}
    predicted = {**measured, "l4": 0.1, "l5": 6.0}  # the fifth slowest is missed
    made = report([row("a", 1.0, 1.0, measured_layers=measured, predicted_layers=predicted)], {})["layers"]
    assert made["top_5_recall"] == pytest.approx(0.8)


def test_spearman_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 8, 30).tolist(), rng.integers(0, 8, 30).tolist()
        assert spearman(a, b) == pytest.approx(float(stats.spearmanr(a, b).statistic))
    assert spearman([1.0], [2.0]) == 1.0


def test_shares() -> None:
    assert shares({"a": 3.0, "b": 1.0}) == {"a": 0.75, "b": 0.25}
    assert shares({}) == {}


def test_the_list_is_long_and_of_both_libraries() -> None:
    assert len(MODELS) == len(set(MODELS)) >= 40
    assert sum(name.startswith("timm:") for name in MODELS) >= 15
    import timm
    import torchvision

    assert {name.removeprefix("timm:") for name in MODELS if name.startswith("timm:")} <= set(timm.list_models())
    assert {n.removeprefix("torchvision:") for n in MODELS if n.startswith("torchvision:")} <= set(
        torchvision.models.list_models()
    )


def test_command_refuses_a_datasheet() -> None:
    from cnnprof.cli.verify import command
    from cnnprof.errors import UsageError

    result = CliRunner().invoke(command, ["--device", "rtx4090"])
    assert isinstance(result.exception, UsageError) and "a datasheet" in str(result.exception)
