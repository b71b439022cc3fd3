"""Shape rules of com.microsoft operators against the shapes that onnxruntime really computes."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cnnprof.ir.tensor import Role, Tensor
from cnnprof.ops.spec import Call
from cnnprof.ops.table import resolve

F32, U8, I8, I32 = np.float32, np.uint8, np.int8, np.int32


def f(*shape):
    return np.full(shape, 0.5, F32)


def u(*shape):
    return np.full(shape, 3, U8)


def i(*shape):
    return np.full(shape, 2, I8)


SCALE, ZERO = np.array(0.1, F32), np.array(1, U8)
Q = (SCALE, ZERO)

# (operator, inputs (None: absent), number of outputs, attributes)
CASES = [
    ("FusedConv", [f(1, 3, 9, 8), f(4, 3, 3, 3)], 1, {"activation": "Relu", "strides": [2, 1]}),
    ("FusedConv", [f(1, 4, 5), f(4, 1, 3)], 1, {"activation": "Relu", "group": 4, "pads": [1, 1]}),
    (
        "QLinearConv",
        [u(1, 9, 8, 3), *Q, u(4, 3, 3, 3), *Q, *Q],
        1,
        {"channels_last": 1, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    ("QLinearConv", [u(1, 3, 9, 8), *Q, u(4, 3, 3, 3), *Q, *Q], 1, {}),
    ("FusedGemm", [f(4, 3), f(5, 4), f(5)], 1, {"transA": 1, "transB": 1, "activation": "Relu"}),
    ("FusedMatMul", [f(2, 6, 4), f(2, 5, 6)], 1, {"transA": 1, "transB": 1}),
    ("FusedMatMul", [f(4, 2, 6), f(2, 6, 5)], 1, {"transBatchA": 1}),
    ("QGemm", [u(4, 8), *Q, u(5, 8), *Q, None, *Q], 1, {"transB": 1}),
    ("MatMulIntegerToFloat", [u(2, 4, 8), u(8, 5), SCALE, SCALE, ZERO, ZERO], 1, {}),
    ("DynamicQuantizeMatMul", [f(2, 4, 8), u(8, 5), SCALE, ZERO], 1, {}),
    (
        "MatMulNBits",
        [f(2, 3, 64), u(5, 2, 16), f(5, 2)],
        1,
        {"K": 64, "N": 5, "bits": 4, "block_size": 32},
    ),
    ("NhwcMaxPool", [u(1, 7, 6, 3)], 1, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("QLinearAveragePool", [u(1, 3, 7, 6), *Q, *Q], 1, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    (
        "QLinearAveragePool",
        [u(1, 7, 6, 3), *Q, *Q],
        1,
        {"kernel_shape": [3, 3], "strides": [2, 2], "channels_last": 1, "ceil_mode": 1},
    ),
    ("QLinearGlobalAveragePool", [u(1, 7, 6, 3), *Q, *Q], 1, {"channels_last": 1}),
    ("MaxpoolWithMask", [f(1, 1, 4, 4), np.ones((1, 1, 4, 4), I32)], 1, {"kernel_shape": [2, 2]}),
    ("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8)], 1, {}),
    ("SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], 1, {}),
    (
        "EmbedLayerNormalization",
        [np.ones((2, 3), I32), np.ones((2, 3), I32), f(10, 8), f(10, 8), f(2, 8), f(8), f(8)],
        2,
        {},
    ),
    ("Attention", [f(2, 5, 16), f(16, 48), f(48)], 1, {"num_heads": 4}),
    (
        "Attention",
        [f(2, 5, 16), f(16, 48), f(48), None, f(2, 2, 4, 3, 4)],
        2,
        {"num_heads": 4, "unidirectional": 1},
    ),
    (
        "QAttention",
        [u(2, 5, 16), i(16, 48), f(48), SCALE, SCALE, None, ZERO, np.array(0, I8)],
        1,
        {"num_heads": 4},
    ),
    ("MultiHeadAttention", [f(2, 4, 24), f(2, 5, 24), f(2, 5, 18)], 1, {"num_heads": 3}),
    ("MultiHeadAttention", [f(2, 4, 24), f(2, 3, 5, 8), f(2, 3, 5, 8)], 1, {"num_heads": 3}),
    (
        "GroupQueryAttention",
        [
            f(1, 1, 32),
            f(1, 1, 16),
            f(1, 1, 16),
            f(1, 2, 6, 8),
            f(1, 2, 6, 8),
            np.array([6], I32),
            np.array(7, I32),
        ],
        3,
        {"num_heads": 4, "kv_num_heads": 2},
    ),
    (
        "RotaryEmbedding",
        [f(2, 4, 24), np.tile(np.arange(4), (2, 1)), f(10, 4), f(10, 4)],
        1,
        {},
    ),
    (
        "DynamicQuantizeLSTM",
        [f(7, 3, 4), u(1, 4, 20), u(1, 5, 20), f(1, 40), None, None, None, None]
        + [np.full(1, 0.1, F32), np.ones(1, U8)] * 2,
        3,
        {"hidden_size": 5},
    ),
    ("QLinearAdd", [u(2, 1, 4), *Q, u(3, 1), *Q, *Q], 1, {}),
    ("QLinearMul", [u(2, 3, 4), *Q, u(4), *Q, *Q], 1, {}),
    ("QLinearSigmoid", [u(2, 3), *Q, *Q], 1, {}),
    ("QLinearLeakyRelu", [u(2, 3), *Q, *Q], 1, {"alpha": 0.1}),
    ("QLinearSoftmax", [u(2, 3), *Q, *Q], 1, {"axis": -1, "opset": 13}),
    ("QLinearConcat", [*Q, u(2, 3, 4), *Q, u(2, 5, 4), *Q], 1, {"axis": 1}),
    ("QLinearWhere", [np.ones((3, 1), bool), u(2, 1, 4), *Q, u(4), *Q, *Q], 1, {}),
]
TYPES = {
    np.dtype(F32): TensorProto.FLOAT,
    np.dtype(U8): TensorProto.UINT8,
    np.dtype(I8): TensorProto.INT8,
    np.dtype(I32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(bool): TensorProto.BOOL,
}


def real_shapes(operator, inputs, outputs, attributes):
    names = ["" if array is None else f"x{n}" for n, array in enumerate(inputs)]
    # Everything but the first is a constant: some kernels want their weights packed before they run.
    constants = [
        helper.make_tensor(n, TYPES[a.dtype], a.shape, a.tobytes(), raw=True)
        for n, a in zip(names, inputs, strict=True)
        if a is not None
    ]
    node = helper.make_node(operator, names, [f"y{n}" for n in range(outputs)], domain="com.microsoft", **attributes)
    found = [helper.make_empty_tensor_value_info(f"y{n}") for n in range(outputs)]
    graph = helper.make_graph([node], "g", [], found, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [array.shape for array in session.run(None, {})]


@pytest.mark.parametrize(("operator", "inputs", "outputs", "attributes"), CASES)
def test_shapes_are_onnxruntimes(operator, inputs, outputs, attributes):
    tensors = tuple(
        None
        if a is None
        else Tensor(
            f"x{n}",
            a.shape,
            role=Role.ACTIVATION,
            value=tuple(int(v) for v in a.flatten()) if a.dtype == I32 and a.size < 2 else None,
        )
        for n, a in enumerate(inputs)
    )
    call = Call(f"com.microsoft:{operator}", tensors, (None,) * outputs, attributes)
    spec, canonical = resolve(call.op_type, call)
    expected = [tuple(shape) for shape in real_shapes(operator, inputs, outputs, attributes)]
    assert list(spec.shapes(canonical)) == expected
