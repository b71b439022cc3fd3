"""The residual's trees: evaluated as the library that fitted them does, and as many as the samples are worth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor

from cnnprof.errors import SchemaError
from cnnprof.measure.calibrate_trees import forests_of
from cnnprof.predict.residual import evaluate


def test_trees_by_hand() -> None:
    # x0 <= 1 → 10, else (x1 <= 5 → 20, else 30); twice, at rate 0.5 on base 1: 1 + 0.5 · 2 · leaf
    tree = {"feature": [0, -1, 1, -1, -1], "threshold": [1, 0, 5, 0, 0], "left": [1, 0, 3, 0, 0], "right": [2, 0, 4, 0, 0],
            "value": [0, 10, 0, 20, 30]}  # fmt: skip
    forest = {"base": 1.0, "rate": 0.5, "trees": [tree, tree]}
    rows = np.array([[1.0, 9.0], [2.0, 5.0], [2.0, 5.1]])
    assert evaluate([forest], rows).tolist() == [11.0, 21.0, 31.0]
    assert evaluate([], rows).tolist() == [0.0, 0.0, 0.0]
    loop = {"feature": [0], "threshold": [1], "left": [0], "right": [0], "value": [0]}
    with pytest.raises(SchemaError, match="never ends"):
        evaluate([{"base": 0, "rate": 1, "trees": [loop]}], rows)


def test_plain_arrays_equal_the_library() -> None:
    rng = np.random.default_rng(0)
    rows, target = rng.random((200, 5)), rng.random(200)
    boosted, _ = forests_of(rows, target, 3)
    library = GradientBoostingRegressor(
        n_estimators=120, max_depth=4, learning_rate=0.07, subsample=0.7, min_samples_leaf=3, random_state=3
    ).fit(rows, target)
    assert np.abs(evaluate([boosted], rows) - library.predict(rows)).max() < 1e-3


def test_many_samples_are_worth_more_trees() -> None:
    """A wave of many ridges in two features: of 1,000 samples, those it hasn't seen are closer than with 999's trees."""
    rng = np.random.default_rng(1)
    rows, others = rng.random((1000, 3)), rng.random((500, 3))

    def wave(rows: np.ndarray) -> np.ndarray:
        return np.sin(12.0 * rows[:, 0]) * np.cos(12.0 * rows[:, 1])

    few, many = (
        float(np.abs(evaluate(forests_of(rows[:n], wave(rows[:n]), 0)[:1], others) - wave(others)).mean())
        for n in (999, 1000)
    )
    assert many < 0.8 * few
