"""The trees that learn what a roofline leaves: fitted by a library, kept as plain arrays. Needs scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.predict.residual import evaluate

__all__ = ["TREES_FROM", "forests_of", "held_out"]

Floats = npt.NDArray[np.float64]
TREES_FROM = 40  # below this many samples a class has its roofline alone
_BAGGED = 24
_MANY = 1000  # samples, from which on more and deeper boosted trees find more than noise


def held_out(rows: Floats, residual: Floats, fold: npt.NDArray[np.int64], seed: int, *, quick: bool = False) -> Floats:
    """Predictions of each residual from a fit that hadn't seen its fold; ``quick`` with fewer trees. None (0, the
    roofline alone) where too few are left to learn from."""
    guess = np.zeros(len(residual))
    for part in np.unique(fold) if len(residual) >= TREES_FROM else ():
        held = fold == part
        if (~held).sum() >= TREES_FROM // 2:
            guess[held] = evaluate(forests_of(rows[~held], residual[~held], seed, quick=quick), rows[held])
    return guess


def forests_of(rows: Floats, residual: Floats, seed: int, *, quick: bool = False) -> list[dict[str, Any]]:
    """Boosted trees and a random forest, as plain arrays; ``quick``: the boosted ones alone, and few."""
    from sklearn import config_context

    # Checks of what comes from here, tree by tree, would take a fifth of the time.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return _fitted(rows, residual, seed, quick=quick)


def _fitted(rows: Floats, residual: Floats, seed: int, *, quick: bool) -> list[dict[str, Any]]:
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

    many = len(residual) >= _MANY and not quick
    boosted = GradientBoostingRegressor(
        n_estimators=40 if quick else 300 if many else 120,
        max_depth=5 if many else 4,
        learning_rate=0.07,
        subsample=0.7,
        min_samples_leaf=3,
        random_state=seed,
    ).fit(rows, residual)
    found = [
        {
            "base": float(boosted.init_.constant_.ravel()[0]),
            "rate": 0.07,
            "trees": [_plain(tree[0].tree_) for tree in boosted.estimators_],
        }
    ]
    if quick:
        return found
    bagged = RandomForestRegressor(
        n_estimators=_BAGGED, min_samples_leaf=3, max_leaf_nodes=128, max_features=0.6, random_state=seed, n_jobs=1
    ).fit(rows, residual)
    return [*found, {"base": 0.0, "rate": 1.0 / _BAGGED, "trees": [_plain(tree.tree_) for tree in bagged.estimators_]}]


def _plain(tree: Any) -> dict[str, list[Any]]:
    inner = tree.children_left >= 0
    return {
        "feature": np.where(inner, tree.feature, -1).tolist(),
        # Thresholds lie halfway between values seen, so rounding moves none of those across.
        "threshold": [round(float(value), 5) for value in np.where(inner, tree.threshold, 0.0)],
        "left": np.where(inner, tree.children_left, 0).tolist(),
        "right": np.where(inner, tree.children_right, 0).tolist(),
        "value": [round(float(value), 5) for value in tree.value.ravel()],
    }
