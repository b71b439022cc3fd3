"""A synthetic network as an ONNX model, written the way torch's exporter writes one (opset 20).

SiLU is Sigmoid and Mul; a linear layer over tokens MatMul and Add, over vectors Gemm; GELU, HardSwish and
LayerNormalization are operators of their own; a channel shuffle is Reshape, Transpose, Reshape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cnnprof.ir import Graph, Op

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["OPSET", "random_weights", "synthetic_model"]

OPSET = 20
_IR_VERSION = 10
_EPSILON = 1e-5  # torch's, of batch norm and layer norm
Weights = Mapping[str, npt.NDArray[np.float32]]


def random_weights(graph: Graph, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Weights by tensor name: matrices scaled by their fan-in so that nothing overflows or dies out; a batch norm's
    variance is positive. The same for the same ``seed``."""
    generator = np.random.default_rng(seed)
    found = {}
    for tensor in graph.tensors.values():
        if not tensor.is_weight:
            continue
        shape = tensor.shape or ()
        if len(shape) > 1:
            reach = (6.0 / max(1, int(np.prod(shape[1:])))) ** 0.5
            values = generator.uniform(-reach, reach, shape)
        else:
            values = generator.uniform(0.5, 1.5, shape)
        found[tensor.name] = values.astype(np.float32)
    return found


def synthetic_model(graph: Graph, weights: Weights) -> bytes:
    """The serialised ONNX model of a graph of :mod:`cnnprof.measure.synthetic` with ``weights`` by tensor name."""
    from onnx import TensorProto, helper, numpy_helper

    writer = _Writer(graph, dict(weights))
    for op in graph.ops:
        writer.add(op)

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, graph.tensors[name].shape)

    made = helper.make_graph(
        writer.nodes,
        graph.source.name,
        [value(name) for name in graph.inputs],
        [value(name) for name in graph.outputs],
        [numpy_helper.from_array(array, name) for name, array in writer.weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString())


class _Writer:
    """Collects nodes, and the constants that they read."""

    def __init__(self, graph: Graph, weights: dict[str, npt.NDArray[Any]]) -> None:
        self.graph, self.weights = graph, weights
        self.nodes: list[NodeProto] = []

    def add(self, op: Op) -> None:
        writer = _WRITERS.get(op.kind)
        if writer is not None:
            writer(self, op)
        else:
            op_type, attributes = _SIMPLE[op.kind]
            self.node(op_type, op.present_inputs, op.present_outputs, **attributes)

    def node(self, op_type: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **attributes: Any) -> None:
        from onnx import helper

        name = f"node_{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=name, **attributes))

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.weights[name] = values
        return name

    def integers(self, name: str, values: tuple[int, ...]) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.tensors[name].shape or ()


def _conv(to: _Writer, op: Op) -> None:
    facts = op.attributes
    starts, ends = zip(*facts["padding"], strict=True)
    to.node(
        "Conv", op.present_inputs, op.present_outputs, kernel_shape=facts["kernel"], strides=facts["stride"],
        dilations=facts["dilation"], pads=(*starts, *ends), group=facts["groups"],
    )  # fmt: skip


def _pool(to: _Writer, op: Op) -> None:
    facts = op.attributes
    starts, ends = zip(*facts["padding"], strict=True)
    average = op.kind == "average_pool"
    to.node(
        "AveragePool" if average else "MaxPool", op.present_inputs, op.present_outputs, kernel_shape=facts["kernel"],
        strides=facts["stride"], pads=(*starts, *ends), **({"count_include_pad": 1} if average else {}),
    )  # fmt: skip


def _linear(to: _Writer, op: Op) -> None:
    x, weight, bias = op.present_inputs
    out = op.present_outputs[0]
    if len(to.shape(x)) == 2:
        to.node("Gemm", (x, weight, bias), (out,), transB=1)
        return
    turned = to.constant(f"{weight}/turned", np.ascontiguousarray(to.weights.pop(weight).T))
    to.node("MatMul", (x, turned), (f"{out}/product",))
    to.node("Add", (f"{out}/product", bias), (out,))


def _silu(to: _Writer, op: Op) -> None:
    x, out = op.present_inputs[0], op.present_outputs[0]
    to.node("Sigmoid", (x,), (f"{out}/gate",))
    to.node("Mul", (x, f"{out}/gate"), (out,))


def _clip(to: _Writer, op: Op) -> None:
    edges = [to.constant(name, np.array(value, np.float32)) for name, value in (("zero", 0.0), ("six", 6.0))]
    to.node("Clip", (op.present_inputs[0], *edges), op.present_outputs)


def _mean(to: _Writer, op: Op) -> None:
    axes = to.integers("axes", (2, 3))
    to.node("ReduceMean", (op.present_inputs[0], axes), op.present_outputs, keepdims=1)


def _reshape(to: _Writer, op: Op) -> None:
    out = op.present_outputs[0]
    to.node("Reshape", (op.present_inputs[0], to.integers(f"{out}/shape", to.shape(out))), (out,))


def _shuffle(to: _Writer, op: Op) -> None:
    x, out = op.present_inputs[0], op.present_outputs[0]
    batch, channels, *sides = to.shape(x)
    groups = op.attributes["groups"]
    parts = to.integers(f"{out}/parts", (batch, groups, channels // groups, *sides))
    to.node("Reshape", (x, parts), (f"{out}/split",))
    to.node("Transpose", (f"{out}/split",), (f"{out}/turned",), perm=(0, 2, 1, 3, 4))
    to.node("Reshape", (f"{out}/turned", to.integers(f"{out}/shape", to.shape(x))), (out,))


def _transpose(to: _Writer, op: Op) -> None:
    to.node("Transpose", op.present_inputs, op.present_outputs, perm=op.attributes["perm"])


_WRITERS: dict[str, Callable[[_Writer, Op], None]] = {
    "conv": _conv, "max_pool": _pool, "average_pool": _pool, "linear": _linear, "silu": _silu, "relu6": _clip,
    "reduce_mean": _mean, "reshape": _reshape, "channel_shuffle": _shuffle, "transpose": _transpose,
}  # fmt: skip
_SIMPLE: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.1}),
    "hard_swish": ("HardSwish", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", {}),
    "gelu": ("Gelu", {}),
    "batch_norm": ("BatchNormalization", {"epsilon": _EPSILON}),
    "layer_norm": ("LayerNormalization", {"axis": -1, "epsilon": _EPSILON}),
    "adaptive_average_pool": ("GlobalAveragePool", {}),
    "add": ("Add", {}),
    "mul": ("Mul", {}),
    "concat": ("Concat", {"axis": 1}),
    "split": ("Split", {"axis": 1, "num_outputs": 2}),
}
