"""Learned residuals as plain arrays: regression trees evaluated without the library that fitted them.

A forest is a list of trees; a tree five lists of equal length (feature, threshold, left, right, value), node 0 its
root, feature −1 a leaf. Its value is base + rate · Σ trees (boosting) or the trees' mean; several forests are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.errors import SchemaError

__all__ = ["evaluate"]

Floats = npt.NDArray[np.float64]


def evaluate(forests: Sequence[Mapping[str, Any]], rows: Floats) -> Floats:
    """The mean of ``forests`` for each row of features. Raises :class:`SchemaError` for damaged trees."""
    if not forests:
        return np.zeros(len(rows))
    mean: Floats = np.mean([_forest(forest, rows) for forest in forests], axis=0)
    return mean


def _forest(forest: Mapping[str, Any], rows: Floats) -> Floats:
    total = np.zeros(len(rows))
    for tree in forest["trees"]:
        total += _tree(tree, rows)
    return np.asarray(float(forest["base"]) + float(forest["rate"]) * total)


def _tree(tree: Mapping[str, Any], rows: Floats) -> Floats:
    feature, threshold = np.asarray(tree["feature"]), np.asarray(tree["threshold"], dtype=np.float64)
    left, right, value = np.asarray(tree["left"]), np.asarray(tree["right"]), np.asarray(tree["value"])
    at = np.zeros(len(rows), dtype=np.int64)
    everyone = np.arange(len(rows))
    for _ in range(len(feature)):
        inner = feature[at] >= 0
        if not inner.any():
            return np.asarray(value[at], dtype=np.float64)
        goes_left = rows[everyone, np.maximum(feature[at], 0)] <= threshold[at]
        at = np.where(inner, np.where(goes_left, left[at], right[at]), at)
    raise SchemaError("device profile: a tree that never ends", "calibrate again: cnnprof calibrate")
