"""An ONNX model rewritten so that what reaches what can be read off its values.

In the copy every convolution's and matrix product's weights are 1 and biases 0, activations and normalisations pass
their input on, products and differences are sums, and results are set back to 0 or 1 after each convolution.
A zero input then gives zero everywhere, and an element becomes positive exactly if some positive input
element leads to it (max pooling and ReLU do that by themselves).

Handled: float models in the default domain, quantise–dequantise pairs included. Not handled, and said so:
integer convolutions, recurrent layers, control flow, functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from cnnprof.errors import ModelError, UsageError
from cnnprof.ir.tensor import Shape

__all__ = ["monotone_model"]

_PASS = frozenset((
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "LeakyRelu", "PRelu", "Clip",
    "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Pow",
    "BatchNormalization", "LRN", "Dropout", "Gelu", "Mish", "ThresholdedRelu", "Floor", "Ceil", "Round",
    "Swish", "QuantizeLinear", "DequantizeLinear", "Sign", "Shrink",
))  # fmt: skip
_SUMS = frozenset(("Add", "Sub", "Mul", "Div", "Sum", "Mean"))
_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_REFUSED = frozenset((
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DeformConv",
    "RNN", "LSTM", "GRU", "If", "Loop", "Scan", "SequenceMap",
))  # fmt: skip
_BLIND = frozenset(("Shape", "Size"))  # read no values


def monotone_model(
    source: Path | bytes, outputs: Sequence[str], input_shapes: Mapping[str, Shape]
) -> tuple[bytes, frozenset[str]]:
    """The rewritten model, serialised, with ``outputs`` (names of any values) as its outputs and its inputs at
    ``input_shapes``; and those of ``outputs`` that the file doesn't have, which are left out.

    Raises :class:`UsageError` naming an operator that isn't handled, :class:`ModelError` for a file that can't
    be read.
    """
    model = _read(source)
    refused = sorted({node.op_type for node in model.graph.node} & _REFUSED)
    if refused or model.functions:
        what = refused[0] if refused else "a function"
        raise UsageError(f"--verify: {what} can't be made monotone", "verify the PyTorch model instead")
    nodes = _rewritten(model)
    made = {name for node in nodes for name in node.output}
    missing = frozenset(name for name in outputs if name not in made)
    del model.graph.node[:]
    model.graph.node.extend(_leading_to(nodes, set(outputs)))
    del model.graph.value_info[:]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name in made)
    for value in model.graph.input:
        if value.name in input_shapes:
            shaped = helper.make_tensor_value_info(
                value.name, value.type.tensor_type.elem_type, list(input_shapes[value.name])
            )
            value.CopyFrom(shaped)
    return model.SerializeToString(), missing


def _leading_to(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that ``wanted`` values come from, in order; onnxruntime runs all it is given."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(name for name in node.input if name)
            kept.append(node)
    return kept[::-1]


def _read(source: Path | bytes) -> ModelProto:
    try:
        return onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
    except Exception as error:
        raise ModelError(f"{source if isinstance(source, Path) else '-'}: can't be read with its weights ({error})",
                         "--verify runs the model: external data must stand beside it") from None  # fmt: skip


class _Writer:
    """Collects nodes; ``fresh`` names values that the model doesn't have."""

    def __init__(self, model: ModelProto) -> None:
        held = {init.name for init in model.graph.initializer}
        given = [value for value in model.graph.input if value.name not in held]
        self.data = {value.name for value in given}
        self.element = next((v.type.tensor_type.elem_type for v in given), TensorProto.FLOAT)
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"cnnprof_probe_{self._count}"

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        name = output or self.fresh()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def zeros(self, value: str) -> str:
        return self.add("Sub", [value, value])

    def ones(self, value: str) -> str:
        return self.add("Exp", [self.zeros(value)])

    def binary(self, value: str, output: str) -> None:
        self.add("Cast", [self.add("Cast", [value], to=TensorProto.BOOL)], output, to=self.element)

    def mean(self, value: str, axes: list[int]) -> str:
        if self.opset < 18:
            return self.add("ReduceMean", [value], axes=axes, keepdims=1)
        name = self.fresh()
        self.constants[name] = helper.make_tensor(name, TensorProto.INT64, [len(axes)], axes)
        return self.add("ReduceMean", [value, name], keepdims=1)


def _rewritten(model: ModelProto) -> list[NodeProto]:
    writer = _Writer(model)
    for node in model.graph.node:
        reads = [name for name in node.input if name in writer.data]
        if reads and node.op_type not in _BLIND:
            writer.data.update(name for name in node.output if name)
            _rewrite(writer, node, reads)
        else:
            writer.nodes.append(node)
    model.graph.initializer.extend(writer.constants.values())
    return writer.nodes


def _rewrite(writer: _Writer, node: NodeProto, reads: list[str]) -> None:
    kind, out = node.op_type, node.output[0]
    if kind in _PASS:
        writer.add("Identity", [reads[0]], out)
    elif kind in _SUMS:
        terms = [name if name in writer.data else writer.zeros(name) for name in node.input if name]
        writer.add("Sum" if len(terms) != 2 else "Add", terms, out)
    elif kind in _WEIGHTED:
        names = list(node.input)
        for index, name in enumerate(names):
            if name and name not in writer.data:
                names[index] = writer.ones(name) if index < 2 else writer.zeros(name)
        raw = writer.fresh()
        copy = NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(names)
        copy.output[0] = raw
        if kind == "Gemm":
            _set(copy, alpha=1.0, beta=1.0)
        writer.nodes.append(copy)
        writer.binary(raw, out)
    elif kind in _MEANS:
        mixed = _MEANS[kind](writer, node)
        writer.add("Add", [reads[0], mixed], out)
    elif kind in ("Resize", "Upsample"):
        raw = writer.fresh()
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.output[0] = raw
        writer.nodes.append(copy)
        writer.binary(raw, out)  # cubic taps may be negative
    else:
        writer.nodes.append(node)


def _set(node: NodeProto, **values: float) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _softmax_mean(writer: _Writer, node: NodeProto) -> str:
    axis = _attribute(node, "axis", -1 if writer.opset >= 13 else 1)
    if writer.opset >= 13 or axis < 0:
        return writer.mean(node.input[0], [axis])
    # Before opset 13 the axes from ``axis`` on were flattened.
    flat = writer.add("Flatten", [node.input[0]], axis=axis)
    shape = writer.add("Shape", [node.input[0]])
    summed = writer.add("Add", [flat, writer.mean(flat, [1])])
    return writer.add("Reshape", [summed, shape])


def _spatial_mean(writer: _Writer, node: NodeProto) -> str:
    return writer.add("GlobalAveragePool", [node.input[0]])


def _layer_mean(writer: _Writer, node: NodeProto) -> str:
    axis = _attribute(node, "axis", -1)
    if axis != -1:
        raise UsageError("--verify: LayerNormalization over several axes can't be made monotone", "verify in PyTorch")
    return writer.mean(node.input[0], [-1])


_MEANS: dict[str, Callable[[_Writer, NodeProto], str]] = {
    "Softmax": _softmax_mean,
    "LogSoftmax": _softmax_mean,
    "InstanceNormalization": _spatial_mean,
    "GroupNormalization": _spatial_mean,
    "LayerNormalization": _layer_mean,
}
