"""ai.onnx.ml: classical machine learning.

Counted where a formula holds whatever the data: linear models rows · coefficients; support vector machines
rows · vectors · features for the kernel (with radial basis functions a subtraction beside each MAC) and a
transcendental for each kernel value that needs one, then (classes − 1) · vectors for the votes. How deep a
tree is walked depends on data: tree ensembles are known by name only. Lookups of labels and categories
cost nothing.
"""

from __future__ import annotations

import math

from cnnprof.ops.naming import moving, onnx, pointwise
from cnnprof.ops.relations import unpredictable
from cnnprof.ops.rules import linear_formula, same_shape
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling, UncountableError, WorkRule
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["SPECS"]

_DOMAIN = "ai.onnx.ml"


def _ml(names: str) -> tuple[Spelling, ...]:
    return onnx(names, domain=_DOMAIN)


def _matrix(call: Call) -> tuple[int, int]:
    """(rows, features); one row where the input is a vector."""
    shape = call.shape(0)
    return (1, shape[0]) if len(shape) == 1 else (shape[0], math.prod(shape[1:]))


def _length(call: Call, name: str) -> int:
    values = call.get(name)
    if values is None:
        raise UncountableError(f"{call.op_type} has no attribute {name!r}")
    return len(values)


def _post(call: Call, values: int) -> Work:
    """LOGISTIC and PROBIT are one transcendental a score, SOFTMAX as softmax."""
    how = call.get("post_transform", "NONE")
    if how in ("LOGISTIC", "PROBIT"):
        return Work(transcendental=values)
    return Work(cmp=1, add=2, div=1, transcendental=1) * values if how.startswith("SOFTMAX") else NO_WORK


def _linear_work(call: Call) -> Work:
    rows, features = _matrix(call)
    coefficients = _length(call, "coefficients")
    scores = rows * (coefficients // features)
    bias = scores if call.get("intercepts") else 0
    return Work(mac=rows * coefficients, add=bias) + _post(call, scores)


_KERNELS = {
    "LINEAR": Work(),
    "POLY": Work(mul=1, add=1, transcendental=1),
    "RBF": Work(mul=1, transcendental=1),
    "SIGMOID": Work(mul=1, add=1, transcendental=1),
}


def _svm_work(call: Call) -> Work:
    rows, features = _matrix(call)
    if not call.get("support_vectors"):
        return _linear_work(call)
    vectors = _length(call, "support_vectors") // features
    kind = call.get("kernel_type", "LINEAR")
    if kind not in _KERNELS:
        raise UncountableError(f"{call.op_type}: unknown kernel {kind!r}")
    values = rows * vectors
    kernel = Work(mac=features, add=features if kind == "RBF" else 0) + _KERNELS[kind]
    classes = len(call.get("vectors_per_class") or (1, 1))
    votes = Work(mac=max(1, classes - 1) * values, add=rows * len(call.get("rho") or ()))
    return kernel * values + votes


def _normalizer_work(call: Call) -> Work:
    rows, features = _matrix(call)
    n = rows * features
    unit = {
        "MAX": Work(cmp=2 * n - rows),
        "L1": Work(cmp=n, add=n - rows),
        "L2": Work(mul=n, add=n - rows, transcendental=rows),
    }[call.get("norm", "MAX")]
    return unit + Work(div=n)


def _formula(call: Call) -> Formula:
    rows, features = _matrix(call)
    return Formula("O(N·F·C)", f"{rows}·{features}·{max(1, _svm_work(call).mac // max(1, rows * features))}")


def _counted(kind: str, names: str, work: WorkRule, mac: bool = False) -> OpSpec:
    return OpSpec(
        kind=kind,
        work=work,
        formula=_formula if mac else linear_formula,
        window=unpredictable,
        mac_operator=mac,
        spellings=_ml(names),
    )


SPECS: tuple[OpSpec, ...] = (
    pointwise("binarizer", Work(cmp=1), _ml("Binarizer"), shapes=same_shape),
    pointwise("imputer", Work(cmp=1), _ml("Imputer"), shapes=same_shape),
    pointwise("scaler", Work(add=1, mul=1), _ml("Scaler"), shapes=same_shape),
    _counted("normalizer", "Normalizer", _normalizer_work),
    _counted("linear_model", "LinearClassifier LinearRegressor", _linear_work, mac=True),
    _counted("support_vector_machine", "SVMClassifier SVMRegressor", _svm_work, mac=True),
    moving(
        "feature_lookup",
        unpredictable,
        _ml("ArrayFeatureExtractor CastMap CategoryMapper DictVectorizer FeatureVectorizer LabelEncoder"),
        _ml("OneHotEncoder ZipMap"),
    ),
    OpSpec(
        kind="tree_ensemble",
        work=None,
        window=unpredictable,
        spellings=_ml("TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor"),
    ),
)
