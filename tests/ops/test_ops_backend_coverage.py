"""Every operator of onnx's own node tests is counted, but for those whose work is in the data."""

from __future__ import annotations

import warnings
from collections import defaultdict

import pytest

from cnnprof.analyses.complexity import complexity
from cnnprof.frontends.onnx.load import load_onnx

# Operator -> why no count is possible. All take what steers them as a run-time input in these models.
BY_DATA = {
    "ai.onnx.ml:TreeEnsemble": "how deep a tree is walked",
    "onnx:ImageDecoder": "the compressed stream",
    "onnx:NonMaxSuppression": "which boxes overlap",
    "onnx:RegexFullMatch": "the strings",
    "onnx:StringNormalizer": "the strings",
    "onnx:StringSplit": "the strings",
    "onnx:TfIdfVectorizer": "the tokens",
    "onnx:CumSum": "the axis: (2, 3) has 3 additions along one, 4 along the other",
    "onnx:CumProd": "the axis",
}
# Expanded function bodies behind a size or axes that are run-time inputs, and elements of sequences: no shape.
WITHOUT_SHAPE = {"Add", "Sub", "Mul", "Cos", "Log", "Sqrt", "MatMul", "ReduceSum"}


@pytest.mark.slow
def test_what_cannot_be_counted_is_only_what_data_decides() -> None:
    from onnx.backend.test.loader import load_node_model_tests

    unknown: dict[str, set[str]] = defaultdict(set)
    cases = incomplete = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = load_node_model_tests()
    for case in models:
        result = complexity(load_onnx(case.model.SerializeToString()))
        cases += 1
        incomplete += any(row.unknown for row in result.rows)
        for row, op_type in zip(result.rows, result.op_types, strict=True):
            if row.unknown:
                unknown[op_type].add(row.reason or "")
    assert cases > 1800
    assert incomplete / cases < 0.05
    shapeless = {f"onnx:{name}" for name in WITHOUT_SHAPE}
    assert set(unknown) - set(BY_DATA) - shapeless == set()
    for name in shapeless & set(unknown):
        assert all(reason.startswith("shape of ") for reason in unknown[name]), name
