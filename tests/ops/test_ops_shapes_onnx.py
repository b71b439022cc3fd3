"""Shape rules against the data of onnx's own operator tests: every case that is one node.

The rule sees the input shapes and the values of small constants, as the front end hands them over, and no output.
"""

from __future__ import annotations

import warnings
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

from cnnprof.ir import DType, Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import Call, UncountableError

# Kinds whose output shape no rule knows: it depends on data, or the value is no tensor.
DATA_DEPENDENT = {"nonzero", "compress", "unique", "non_max_suppression", "image_decoder", "string_split"}


@cache
def cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return collect_testcases(None)


def tensor(name: str, value: Any) -> Tensor | None:
    if not isinstance(value, np.ndarray):
        return Tensor(name, None, DType.OPAQUE)
    small = value.size <= 64
    integer = value.dtype.kind in "iub" and small
    floating = small and not integer and value.dtype.kind not in "OSUc"
    return Tensor(
        name,
        value.shape,
        DType.INT64 if value.dtype.kind in "iu" else DType.FLOAT32,
        value=tuple(int(v) for v in value.ravel()) if integer else None,
        numbers=tuple(map(float, value.astype(np.float64).ravel())) if floating else None,
    )


def attribute(proto: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value


def calls() -> list[tuple[str, Call, list[Any]]]:
    found = []
    for case in cases():
        graph = case.model.graph
        if len(graph.node) != 1 or graph.initializer or not case.data_sets:
            continue
        node = graph.node[0]
        ins, outs = case.data_sets[0]
        ins = [np.asarray(i) if isinstance(i, np.generic) else i for i in ins]
        given = dict(zip((i.name for i in graph.input), ins, strict=False))
        outs = [np.asarray(o) if isinstance(o, np.generic) else o for o in outs]
        made = dict(zip((o.name for o in graph.output), outs, strict=False))
        if not all(name in given for name in node.input if name):
            continue
        opset = next(o.version for o in case.model.opset_import if o.domain == node.domain)
        call = Call(
            f"{node.domain or 'onnx'}:{node.op_type}",
            tuple(tensor(name, given[name]) if name else None for name in node.input),
            tuple(Tensor(name, None) if name else None for name in node.output),
            {a.name: attribute(a) for a in node.attribute},
            opset,
        )
        found.append((case.name, call, [made.get(name) for name in node.output]))
    return found


def test_shape_rules_agree_with_onnx() -> None:
    checked: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    wrong = []
    for name, call, outs in calls():
        meaning = table.resolve(call.op_type, call)
        if meaning is None or meaning[0].shapes is None:
            continue
        if any(t is not None and t.shape is None for t in call.inputs):
            continue  # sequences, and types that NumPy doesn't have
        spec, canonical = meaning
        assert spec.shapes is not None
        try:
            shapes = spec.shapes(canonical)
        except UncountableError:
            silent[spec.kind] += 1
            continue
        for expected, shape in zip(outs, shapes, strict=False):
            if shape is None:
                silent[spec.kind] += 1
            elif isinstance(expected, np.ndarray):
                checked[spec.kind] += 1
                if tuple(expected.shape) != tuple(shape):
                    wrong.append((name, expected.shape, shape))
    assert not wrong
    assert sum(checked.values()) > 700
    for kind in (
        "reshape",
        "slice",
        "resize",
        "pad",
        "tile",
        "expand",
        "concat",
        "split",
        "gather",
        "one_hot",
        "range",
        "reduce_sum",
        "topk",
        "depth_to_space",
        "col2im",
        "fill",
    ):
        assert checked[kind] > 0, kind
    assert set(silent) <= DATA_DEPENDENT | {"random_normal", "random_uniform"}, silent


def test_every_single_node_case_resolves() -> None:
    """No normaliser stumbles over a real node, and no work rule over its canonical form."""
    failures = []
    for name, call, outs in calls():
        made = tuple(
            Tensor(t.name, value.shape if isinstance(value, np.ndarray) else None)
            for t, value in zip(call.outputs, outs, strict=True)
            if t is not None
        )
        if any(t.shape is None for t in made):
            continue  # sequences, and types that NumPy doesn't have
        first = call.inputs[0] if call.inputs else None
        if call.op_type == "onnx:DequantizeLinear" and first is not None and first.shape is None:
            continue  # float8 and 4-bit data, which NumPy doesn't have
        call = Call(call.op_type, call.inputs, made, call.attributes, call.opset)
        try:
            meaning = table.resolve(call.op_type, call)
            if meaning is None:
                continue
            spec, canonical = meaning
            if spec.work is not None:
                work = spec.work(canonical)
                assert all(value >= 0 for value in work.to_dict().values()), (name, work)
            if spec.formula is not None:
                spec.formula(canonical)
            if spec.window is not None:
                for output in range(len(made)):
                    if made[output].shape is not None:
                        relations = spec.window(canonical, output)
                        assert len(relations) == len(canonical.inputs), name
        except UncountableError as error:
            failures.append((name, call.op_type, str(error)))
    # An adaptive sampling ratio depends on the boxes: nothing else may stay uncounted.
    assert {op for _, op, _ in failures} <= {"onnx:RoiAlign"}, failures


@pytest.mark.parametrize("kind", sorted(DATA_DEPENDENT))
def test_data_dependent_kinds_exist(kind: str) -> None:
    assert table.spec(kind) is not None
