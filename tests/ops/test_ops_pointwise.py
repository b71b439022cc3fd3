"""Work of elementwise kinds, activations, softmax and reductions: integers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cnnprof.ir import DType, Role, Tensor
from cnnprof.ops import table
from cnnprof.ops.rules import pointwise_window
from cnnprof.ops.spec import Call, Memory, OpSpec
from cnnprof.ops.window import All, Axes, Fixed, Same, Slide
from cnnprof.ops.work import Work

SHAPE = (2, 3, 4, 5)  # 120 elements


def resolve(
    name: str,
    *shapes: Any,
    out: Any = SHAPE,
    opset: int = 22,
    values: dict[int, tuple[int, ...]] | None = None,
    **attributes: Any,
) -> tuple[OpSpec, Call]:
    values = values or {}
    inputs = tuple(
        None if shape is None else Tensor(f"x{i}", shape, value=values.get(i)) for i, shape in enumerate(shapes)
    )
    outs = out if isinstance(out, list) else [out]
    call = Call(name, inputs, tuple(Tensor(f"y{i}", o) for i, o in enumerate(outs)), attributes, opset)
    found = table.resolve(name, call)
    assert found is not None, name
    return found


def work(name: str, *shapes: Any, **others: Any) -> Work:
    spec, call = resolve(name, *(shapes or (SHAPE,)), **others)
    assert spec.work is not None
    return spec.work(call)


BINARY = {
    "onnx:Add": Work(add=120),
    "onnx:Sub": Work(add=120),
    "onnx:Mul": Work(mul=120),
    "onnx:Div": Work(div=120),
    "onnx:Pow": Work(transcendental=120),
    "onnx:Max": Work(cmp=120),
    "onnx:Greater": Work(cmp=120),
    "onnx:PRelu": Work(cmp=120, mul=120),
    "onnx:Sum": Work(add=120),
    "onnx:SwiGLU": Work(mul=240, transcendental=120),
    "aten:add_.Tensor": Work(add=120),
    "aten:maximum.default": Work(cmp=120),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_work_is_counted_on_the_broadcast_result(name: str) -> None:
    assert work(name, SHAPE, (3, 1, 1)) == BINARY[name]


def test_add_with_alpha_multiplies_too() -> None:
    assert work("aten:add.Tensor", SHAPE, SHAPE, alpha=2) == Work(add=120, mul=120)
    assert work("aten:sub.Tensor", SHAPE, SHAPE, alpha=1) == Work(add=120)


def test_variadic_operators_count_one_less_than_operands() -> None:
    assert work("onnx:Sum", SHAPE, SHAPE, SHAPE) == Work(add=240)
    assert work("onnx:Max", SHAPE, SHAPE, SHAPE, SHAPE) == Work(cmp=360)
    assert work("onnx:Mean", SHAPE, SHAPE, SHAPE) == Work(add=240, div=120)
    assert work("onnx:Sum", SHAPE) == Work()


def test_bias_fused_activations() -> None:
    assert work("com.microsoft:BiasGelu", SHAPE, (5,)) == Work(add=240, mul=360, transcendental=120)
    assert work("com.microsoft:FastGelu", SHAPE) == Work(add=240, mul=720, transcendental=120)
    assert work("com.microsoft:FastGelu", SHAPE, (5,)) == Work(add=360, mul=720, transcendental=120)
    # BiasSplitGelu on (2, 3, 8) -> (2, 3, 4): 24 outputs; 2 bias additions, gelu 1 + 3 (+1), one product
    assert work("com.microsoft:BiasSplitGelu", (2, 3, 8), (8,), out=(2, 3, 4)) == Work(
        add=24 * 3, mul=24 * 4, transcendental=24
    )


def test_gelu_means_two_kinds() -> None:
    assert resolve("onnx:Gelu", SHAPE, approximate="tanh")[0].kind == "gelu_tanh"
    assert resolve("aten:gelu.default", SHAPE, approximate="none")[0].kind == "gelu"


def test_dropout_is_the_identity_unless_it_trains() -> None:
    spec, _ = resolve("onnx:Dropout", SHAPE, opset=7)
    assert (spec.kind, spec.memory) == ("dropout", Memory.VIEW)
    assert work("onnx:Dropout", SHAPE, (), (), values={2: (0,)}) == Work()
    assert work("onnx:Dropout", SHAPE, (), (), values={2: (1,)}) == Work(cmp=120, mul=240)
    assert work("aten:native_dropout.default", SHAPE, p=0.5, train=True) == Work(cmp=120, mul=240)


def test_softmax_before_opset_13_flattened_the_rest() -> None:
    """(2, 3, 4, 5), axis 1: rows of 60. From 13 on axis 1 alone, default the last."""
    assert resolve("onnx:Softmax", SHAPE, opset=11)[1].attributes == {"axes": (1, 2, 3)}
    assert resolve("onnx:Softmax", SHAPE, opset=13)[1].attributes == {"axes": (3,)}
    assert resolve("onnx:Softmax", SHAPE, opset=13, axis=1)[1].attributes == {"axes": (1,)}
    # log-softmax over rows of 60: 2 rows, one logarithm each beside the 120 exponentials
    assert work("onnx:LogSoftmax", SHAPE, opset=11, axis=1) == Work(cmp=120, add=360, transcendental=122)


def test_both_front_ends_give_one_kind_and_one_set_of_attributes() -> None:
    pairs = [
        (resolve("onnx:Relu", SHAPE), resolve("aten:relu.default", SHAPE)),
        (
            resolve("onnx:LeakyRelu", SHAPE, alpha=0.1),
            resolve("aten:leaky_relu.default", SHAPE, negative_slope=0.1),
        ),
        (
            resolve("onnx:ReduceMean", SHAPE, axes=(2, 3), keepdims=1, opset=13),
            resolve("aten:mean.dim", SHAPE, dim=(-1, -2), keepdim=True, dtype=None),
        ),
        (
            resolve("onnx:Transpose", SHAPE, perm=(0, 2, 1, 3)),
            resolve("aten:transpose.int", SHAPE, dim0=1, dim1=2),
        ),
        (
            resolve("onnx:Concat", SHAPE, SHAPE, axis=-3, out=(2, 6, 4, 5)),
            resolve("aten:cat.default", SHAPE, SHAPE, dim=1, out=(2, 6, 4, 5)),
        ),
        (
            resolve("onnx:Flatten", SHAPE, axis=1, out=(2, 60)),
            resolve("aten:view.default", SHAPE, size=(2, -1), out=(2, 60)),
        ),
        (
            resolve("onnx:Softmax", SHAPE, axis=-1),
            resolve("aten:_softmax.default", SHAPE, dim=3, half_to_float=False),
        ),
        (
            resolve("onnx:DepthToSpace", (1, 8, 2, 3), blocksize=2, mode="CRD", out=(1, 2, 4, 6)),
            resolve("aten:pixel_shuffle.default", (1, 8, 2, 3), upscale_factor=2, out=(1, 2, 4, 6)),
        ),
        (
            resolve("onnx:Slice", SHAPE, (1,), (1,), (1,), values={1: (1,), 2: (9,), 3: (2,)}, out=(2, 3, 3, 5)),
            resolve("aten:slice.Tensor", SHAPE, dim=2, start=1, end=9223372036854775807, step=1, out=(2, 3, 3, 5)),
        ),
        (
            resolve("onnx:Pad", SHAPE, (8,), values={1: (0, 0, 1, 2, 0, 0, 1, 3)}, out=(2, 3, 6, 10)),
            resolve("aten:constant_pad_nd.default", SHAPE, pad=(2, 3, 1, 1), out=(2, 3, 6, 10)),
        ),
    ]
    for (left, left_call), (right, right_call) in pairs:
        assert left.kind == right.kind
        assert left_call.attributes == right_call.attributes, left.kind


# (2, 3, 4, 5) reduced over (2, 3): I = 120, O = 6
REDUCED = {
    "onnx:ReduceSum": Work(add=114),
    "onnx:ReduceMean": Work(add=114, div=6),  # 120 = the input's elements
    "onnx:ReduceMax": Work(cmp=114),
    "onnx:ReduceProd": Work(mul=114),
    "onnx:ReduceL1": Work(cmp=120, add=114),
    "onnx:ReduceL2": Work(mul=120, add=114, transcendental=6),
    "onnx:ReduceSumSquare": Work(mul=120, add=114),
    "onnx:ReduceLogSum": Work(add=114, transcendental=6),
    # subtract the largest 120, add up 114, add it back 6
    "onnx:ReduceLogSumExp": Work(cmp=114, add=240, transcendental=126),
}


@pytest.mark.parametrize("name", REDUCED)
def test_reductions(name: str) -> None:
    assert work(name, SHAPE, (2,), values={1: (2, -1)}, out=(2, 3, 1, 1)) == REDUCED[name]
    assert work(name, SHAPE, axes=(2, 3), opset=11, out=(2, 3, 1, 1)) == REDUCED[name]


def test_more_reductions() -> None:
    assert work("aten:mean.dim", SHAPE, dim=[2, 3], out=(2, 3)) == Work(add=114, div=6)
    # mean 114 + 6, subtract 120, square 120, mean 114 + 6
    assert work("aten:var.correction", SHAPE, dim=[2, 3], out=(2, 3)) == Work(add=348, mul=120, div=12)
    assert work("aten:max.default", SHAPE, out=()) == Work(cmp=119)
    assert work("onnx:ArgMax", SHAPE, axis=1, out=(2, 1, 4, 5)) == Work(cmp=80)
    assert work("aten:linalg_vector_norm.default", SHAPE, ord=1, dim=(3,), out=SHAPE[:3]) == Work(cmp=120, add=96)
    assert work("onnx:CumSum", SHAPE, (), values={1: (-1,)}) == Work(add=96)  # 24 rows of 5
    assert work("onnx:ReduceSum", SHAPE, noop_with_empty_axes=1, out=SHAPE) == Work()
    assert work("onnx:ReduceSum", SHAPE, out=(1, 1, 1, 1)) == Work(add=119)


def test_sort_and_search() -> None:
    # rows of 5: ceil(log2 5) = 3 levels
    assert work("aten:sort.default", SHAPE, dim=-1, out=[SHAPE, SHAPE]) == Work(cmp=360)
    # the 2 largest of 5: one level of a heap of 2
    assert work("onnx:TopK", SHAPE, (1,), values={1: (2,)}, out=[(2, 3, 4, 2)] * 2) == Work(cmp=120)
    # 10 values among 7 edges: 3 comparisons each
    assert work("aten:bucketize.Tensor", (10,), (7,), out=(10,)) == Work(cmp=30)


def test_scatters_cost_only_what_they_reduce() -> None:
    data, index = (4, 5), (2, 5)
    assert work("onnx:ScatterElements", data, index, index, out=data) == Work()
    assert work("onnx:ScatterElements", data, index, index, out=data, reduction="max") == Work(cmp=10)
    assert work("aten:scatter_add_.default", data, index, index, out=data, dim=0) == Work(add=10)
    assert work("aten:index_put_.default", data, (3,), (3, 5), out=data, accumulate=True) == Work(add=15)
    assert resolve("aten:index_put.default", data, (3,), (3, 5), out=data, accumulate=False)[0].kind == "scatter"


def test_losses() -> None:
    # 4 samples, 10 classes: log-softmax 40·(1 + 3) + 40 + 4 logarithms; 4 negations, 3 additions, 1 division
    assert work("onnx:SoftmaxCrossEntropyLoss", (4, 10), (4,), out=()) == Work(
        cmp=40, add=120 + 4 + 3, div=1, transcendental=44
    )
    assert work("aten:nll_loss_forward.default", (4, 10), (4,), None, reduction=1, out=[(), ()]) == Work(add=7, div=1)
    assert work("aten:mse_loss.default", (4, 10), (4, 10), reduction=2, out=()) == Work(add=40 + 39, mul=40)


def test_sampling() -> None:
    # 1x2x5x5 sampled at 3x4 points: 12 points · (2 mul, 4 add, 2 cmp), 24 outputs · 3 lerps of (2 add, 1 mul)
    assert work("onnx:GridSample", (1, 2, 5, 5), (1, 3, 4, 2), out=(1, 2, 3, 4), mode="linear") == Work(
        add=48 + 144, mul=24 + 72, cmp=24
    )
    # theta (1, 2, 3): each of 12·2 coordinates is 2 MACs and a shift
    assert work("onnx:AffineGrid", (1, 2, 3), (4,), out=(1, 3, 4, 2)) == Work(mac=48, add=24)


def test_transforms() -> None:
    # 8 points: 4·3 = 12 butterflies of 4 mul + 6 add, 2 rows
    assert work("onnx:DFT", (2, 8, 2), out=(2, 8, 2), opset=17, axis=1) == Work(mul=96, add=144)
    assert work("onnx:DFT", (2, 8, 1), out=(2, 8, 2), opset=17, axis=1) == Work(mul=48, add=72)


def test_optimizer_steps() -> None:
    # R, T, X, G, V of 10 elements
    assert work("ai.onnx.preview.training:Momentum", (), (), (10,), (10,), (10,), out=[(10,), (10,)]) == Work(
        add=30, mul=40
    )
    assert work("aten:_foreach_mul_.Scalar", (10,), (5,), out=[(10,), (5,)], scalar=2) == Work(mul=15)


def test_classical_models() -> None:
    # 4 rows of 3 features, 2 scores with intercepts
    name = "ai.onnx.ml:LinearClassifier"
    call = {"coefficients": (1.0,) * 6, "intercepts": (0.0, 0.0)}
    assert work(name, (4, 3), out=[(4,), (4, 2)], **call) == Work(mac=24, add=8)
    # 5 support vectors, RBF: 20 kernel values of 3 MACs + 3 subtractions + 1 mul + 1 exp, 20 MACs of votes, 4 biases
    svm = {"support_vectors": (1.0,) * 15, "kernel_type": "RBF", "rho": (0.5,)}
    assert work("ai.onnx.ml:SVMRegressor", (4, 3), out=(4, 1), **svm) == Work(
        mac=60 + 20, add=60 + 4, mul=20, transcendental=20
    )


def test_elementwise_work_is_linear_in_the_batch() -> None:
    """Whatever the kind: twice the batch is twice the work, and nothing is negative."""
    checked = 0
    for kind, spec in table.specs().items():
        if spec.window is not pointwise_window or spec.work is None:
            continue
        counts = []
        for batch in (1, 2, 6):
            shape = (batch, 4, 6)
            tensors = (Tensor("a", shape), Tensor("b", shape))
            counts.append(spec.work(Call("onnx:X", tensors, (Tensor("y", shape),), {})))
        assert counts[1] == counts[0] * 2, kind
        assert counts[2] == counts[0] * 6, kind
        assert min(counts[0].to_dict().values()) >= 0
        checked += 1
    assert checked > 90


def test_generators_read_nothing_of_what_they_overwrite() -> None:
    for name in ("aten:zero_.default", "aten:fill_.Scalar", "aten:uniform_.default", "aten:bernoulli_.float"):
        assert resolve(name, SHAPE)[1].inputs == ()
    spec, call = resolve("aten:copy_.default", SHAPE, (5,))
    assert spec.window is not None
    assert spec.window(call, 0) == (Axes((Same(3),)),)


def test_lookups_of_a_constant_table_are_embeddings() -> None:
    ids, out = Tensor("ids", (2, 7), DType.INT64), Tensor("y", (2, 7, 16))
    tables = [Tensor("w", (50, 16), dtype, Role.CONSTANT) for dtype in (DType.FLOAT32, DType.INT64)]
    kinds = [table.resolve("onnx:Gather", Call("onnx:Gather", (w, ids), (out,), {"axis": 0})) for w in tables]
    assert [kind[0].kind for kind in kinds if kind is not None] == ["embedding", "gather"]


def test_known_but_not_countable() -> None:
    for name in ("onnx:NonMaxSuppression", "ai.onnx.ml:TreeEnsemble", "onnx:StringSplit", "torchvision:nms"):
        spec, _ = resolve(name, SHAPE)
        assert spec.work is None


def test_views_in_onnx_and_weight_slots() -> None:
    for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"):
        assert resolve(f"onnx:{name}", SHAPE, opset=11, axes=(), shape=SHAPE, out=SHAPE)[0].memory is Memory.VIEW
    assert resolve("onnx:Shape", SHAPE, out=(4,))[0].memory is Memory.METADATA
    assert resolve("onnx:PRelu", SHAPE, (3, 1, 1))[0].roles == {1: Role.PARAMETER}


def test_windows_of_broadcast_operands_and_weights() -> None:
    spec, call = resolve("onnx:Mul", (2, 3, 4, 5), (3, 1, 1))
    assert spec.window is not None
    left, right = spec.window(call, 0)
    assert left == Axes((Same(0), Same(1), Same(2), Same(3)))
    assert right == Axes((Same(1), Fixed(0), Fixed(0)))
    weight = Tensor("w", (3, 1, 1), DType.FLOAT32, Role.PARAMETER)
    call = Call("onnx:Mul", (call.inputs[0], weight), call.outputs, {})
    assert spec.window(call, 0)[1] is None


def test_glu_reads_both_halves() -> None:
    spec, call = resolve("aten:glu.default", (2, 6, 3), dim=1, out=(2, 3, 3))
    assert spec.window is not None
    assert spec.window(call, 0)[0] == Axes((Same(0), Slide(1, kernel=2, dilation=3), Same(2)))


def test_reduction_without_known_axes_sees_everything() -> None:
    spec, call = resolve("onnx:ReduceSum", SHAPE, (1,), out=(2, 3, 1, 5))
    assert spec.window is not None
    assert spec.window(call, 0)[0] == Axes((All(), All(), All(), All()))
    assert work("onnx:ReduceSum", SHAPE, (1,), out=(2, 3, 1, 5)) == Work(add=90)
