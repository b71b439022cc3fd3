"""What ONNX layout and resize operators read, against onnxruntime: every input position perturbed in turn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from pullback import pull, unravel

from cnnprof.ir import DType, Role, Tensor
from cnnprof.ops import table
from cnnprof.ops.spec import Call
from cnnprof.ops.window import DataDependent

OPSET = 19


def session(op: str, shape: tuple[int, ...], others: list[Any], outputs: int, attributes: dict[str, Any]) -> Any:
    inits, names = [], ["x"]
    for index, value in enumerate(others):
        if value is None:
            names.append("")
            continue
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        kind = TensorProto.FLOAT if array.dtype == np.float32 else TensorProto.INT64
        inits.append(helper.make_tensor(f"c{index}", kind, array.shape, array.ravel().tolist()))
        names.append(f"c{index}")
    outs = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, outs, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outs],
        inits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def constant(name: str, value: Any) -> Tensor | None:
    if value is None:
        return None
    array = np.asarray(value)
    flat = array.ravel().tolist()
    if array.dtype.kind == "f":
        numbers = tuple(float(np.float32(v)) for v in flat)
        return Tensor(name, array.shape, DType.FLOAT32, Role.CONSTANT, numbers=numbers)
    return Tensor(name, array.shape, DType.INT64, Role.CONSTANT, value=tuple(flat))


def check(op: str, shape: tuple[int, ...], *others: Any, outputs: int = 1, **attributes: Any) -> None:
    run = session(op, shape, list(others), outputs, attributes)
    base = run.run(None, {"x": np.full(shape, 0.5, np.float32)})
    reached: list[list[set[tuple[int, ...]]]] = [[set() for _ in range(b.size)] for b in base]
    for flat in range(math.prod(shape)):
        x = np.full(shape, 0.5, np.float32)
        x.ravel()[flat] += 1
        for k, (y, b) in enumerate(zip(run.run(None, {"x": x}), base, strict=True)):
            for o in np.nonzero(np.abs(y - b).ravel() > 3e-5)[0]:
                reached[k][o].add(unravel(flat, shape))
    call = Call(
        f"onnx:{op}",
        (Tensor("x", shape), *(constant(f"c{i}", v) for i, v in enumerate(others))),
        tuple(Tensor(f"y{i}", None) for i in range(outputs)),
        attributes,
        OPSET,
    )
    meaning = table.resolve(call.op_type, call)
    assert meaning is not None
    spec, canonical = meaning
    assert spec.shapes is not None
    assert spec.window is not None
    assert list(spec.shapes(canonical)) == [b.shape for b in base]
    full = Call(
        call.op_type,
        call.inputs,
        tuple(Tensor(f"y{i}", b.shape) for i, b in enumerate(base)),
        canonical.attributes,
    )
    for k, b in enumerate(base):
        relation = spec.window(full, k)[0]
        for o in range(b.size):
            assert pull(relation, {unravel(o, b.shape)}, shape) == reached[k][o], (k, o)


LAYOUT: dict[str, Any] = {
    "transpose": ("Transpose", (2, 3, 4), [], {"perm": [1, 2, 0]}),
    "reshape": ("Reshape", (2, 3, 4), [[0, -1, 2]], {}),
    "flatten": ("Flatten", (2, 3, 4), [], {"axis": 2}),
    "squeeze": ("Squeeze", (2, 1, 4), [[1]], {}),
    "unsqueeze": ("Unsqueeze", (2, 4), [[0, -1]], {}),
    "expand": ("Expand", (3, 1), [[2, 1, 4]], {}),
    "tile": ("Tile", (2, 3), [[2, 3]], {}),
    "slice": ("Slice", (2, 9), [[1], [8], [1], [3]], {}),
    "slice_back": ("Slice", (2, 9), [[-2], [-100], [1], [-2]], {}),
    "pad_constant": ("Pad", (2, 3), [[1, 0, 0, 2]], {}),
    "pad_negative": ("Pad", (4, 5), [[-1, 1, 0, -2]], {}),
    "pad_reflect": ("Pad", (2, 5), [[0, 3, 0, 2]], {"mode": "reflect"}),
    "pad_edge": ("Pad", (2, 3), [[1, 2, 2, 0]], {"mode": "edge"}),
    "pad_wrap": ("Pad", (2, 4), [[0, 3, 1, 2]], {"mode": "wrap"}),
    "pad_axes": ("Pad", (2, 3, 4), [[1, 2], 0.0, [-1]], {}),
    "gather": ("Gather", (2, 5), [[3, -1, 0]], {"axis": 1}),
    "gather_scalar": ("Gather", (2, 5, 3), [2], {"axis": 1}),
    "gather_matrix": ("Gather", (2, 5), [[[0, 4], [1, 1]]], {"axis": 1}),
    "depth_to_space": ("DepthToSpace", (1, 8, 2, 3), [], {"blocksize": 2}),
    "depth_to_space_crd": ("DepthToSpace", (1, 8, 2, 3), [], {"blocksize": 2, "mode": "CRD"}),
    "space_to_depth": ("SpaceToDepth", (1, 2, 4, 6), [], {"blocksize": 2}),
    "cumsum": ("CumSum", (2, 4), [1], {"exclusive": 1, "reverse": 1}),
    "cumsum_forward": ("CumSum", (3, 2), [0], {}),
    "center_crop_pad": ("CenterCropPad", (6, 3, 5), [[3, 6, 4]], {}),
    "col2im": ("Col2Im", (1, 4, 9), [[5, 5], [2, 2]], {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "reduce_keep": ("ReduceSum", (2, 3, 4), [[0, 2]], {}),
    "reduce_drop": ("ReduceMean", (2, 3, 4), [[1]], {"keepdims": 0}),
    "softmax": ("Softmax", (2, 3, 4), [], {"axis": 1}),
}


@pytest.mark.parametrize("name", LAYOUT)
def test_layout_reads_what_onnxruntime_reads(name: str) -> None:
    op, shape, others, attributes = LAYOUT[name]
    check(op, shape, *others, **attributes)


def test_split() -> None:
    check("Split", (2, 7), [1, 4, 2], outputs=3, axis=1)
    check("Split", (2, 7), outputs=3, axis=1, num_outputs=3)  # 3, 3, 1


COORDINATES = ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"]
SIZES = [(1, 3), (5, 7), (7, 5), (8, 16), (14, 20), (33, 10)]


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_resize_nearest(coordinate: str, nearest: str) -> None:
    common = {"mode": "nearest", "coordinate_transformation_mode": coordinate, "nearest_mode": nearest}
    for size, out in SIZES:
        check("Resize", (1, 1, 1, size), None, None, [1, 1, 1, out], **common)
        check("Resize", (1, 1, 1, size), None, [1.0, 1.0, 1.0, out / size], **common)


@pytest.mark.parametrize("coordinate", COORDINATES)
@pytest.mark.parametrize(("mode", "exclude"), [("linear", 0), ("cubic", 0), ("cubic", 1)])
def test_resize_interpolated(coordinate: str, mode: str, exclude: int) -> None:
    common = {"mode": mode, "coordinate_transformation_mode": coordinate, "exclude_outside": exclude}
    for size, out in SIZES:
        check("Resize", (1, 1, 1, size), None, None, [1, 1, 1, out], **common)
    for scale in (0.35, 0.6, 0.7, 1.3, 2.5):
        check("Resize", (1, 1, 1, 10), None, [1.0, 1.0, 1.0, scale], **common)


@pytest.mark.parametrize("coordinate", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize(("mode", "exclude"), [("linear", 0), ("cubic", 0), ("cubic", 1)])
def test_resize_antialiased(coordinate: str, mode: str, exclude: int) -> None:
    common = {"mode": mode, "coordinate_transformation_mode": coordinate, "exclude_outside": exclude, "antialias": 1}
    for size, out in (*SIZES, (20, 14)):
        check("Resize", (1, 1, 1, size), None, None, [1, 1, 1, out], **common)


def test_resize_to_one_position_is_the_references() -> None:
    """3 → 1: (0 + ½)·3 − ½ = 1. onnxruntime reads 0, onnx's reference evaluator 1."""
    from onnx.reference import ReferenceEvaluator

    attributes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "half_pixel_symmetric"}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    x = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 1, 1))],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    assert ReferenceEvaluator(model).run(None, {"x": x})[0].ravel().tolist() == [1.0]
    inputs = (Tensor("x", (1, 1, 1, 3)), None, None, constant("sizes", [1, 1, 1, 1]))
    call = Call("onnx:Resize", inputs, (Tensor("y", (1, 1, 1, 1)),), attributes, OPSET)
    spec, canonical = table.resolve("onnx:Resize", call)  # type: ignore[misc]
    assert spec.window is not None
    assert pull(spec.window(canonical, 0)[0], {(0, 0, 0, 0)}, (1, 1, 1, 3)) == {(0, 0, 0, 1)}


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("start", "end"), [(0.2, 0.8), (-0.3, 1.4)])
def test_resize_crops_a_region(mode: str, start: float, end: float) -> None:
    for out in (1, 4, 9):
        roi = [0.0, 0.0, 0.0, start, 1.0, 1.0, 1.0, end]
        common = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
        check("Resize", (1, 1, 1, 8), roi, None, [1, 1, 1, out], **common)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_resize_keeps_the_aspect_ratio(policy: str) -> None:
    attributes = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": policy}
    check("Resize", (1, 1, 4, 6), None, None, [7, 8], **attributes)


def test_resize_without_known_scales_depends_on_data() -> None:
    call = Call(
        "onnx:Resize",
        (Tensor("x", (1, 1, 2, 2)), None, Tensor("scales", (4,))),
        (Tensor("y", None),),
        {"mode": "linear"},
        OPSET,
    )
    spec, canonical = table.resolve("onnx:Resize", call)  # type: ignore[misc]
    assert spec.window is not None
    assert spec.window(canonical, 0)[0] == DataDependent()
