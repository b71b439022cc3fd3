"""One network, many ways to hold and run it: the counts don't move."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cnnprof.analyses.complexity import Complexity, complexity
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import DType, Graph, Role


def graph_of(module: nn.Module, *shapes: object, **options: object) -> Graph:
    return trace(module, shapes, **options)  # type: ignore[arg-type]


def cost(module: nn.Module, *shapes: object) -> Complexity:
    return complexity(graph_of(module, *shapes))


def macs(module: nn.Module, *shapes: object) -> int:
    found = cost(module, *shapes)
    assert found.complete, found.unknown
    return found.macs


class Functional(nn.Module):
    """A module from a function of its inputs."""

    def __init__(self, function: object, **weights: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        for name, shape in weights.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)  # type: ignore[operator,no-any-return]


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 6 * 4, 5)
    )


# 8 channels x 6 x 4 positions x 3 channels x 9 taps, and a linear layer of 192 x 5
SMALL_MACS = 8 * 6 * 4 * 27 + 192 * 5
# weights and biases of the convolution, the norm's scale and shift, the linear layer's
SMALL_PARAMETERS = 8 * 27 + 8 + 2 * 8 + 192 * 5 + 5


@pytest.mark.parametrize("training_flag", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_mode_and_gradients_of_the_module_do_not_matter(training_flag: bool, frozen: bool) -> None:
    net = small_net().train(training_flag).requires_grad_(not frozen)
    found = cost(net, (1, 3, 6, 4))
    assert (found.macs, found.parameters) == (SMALL_MACS, SMALL_PARAMETERS)
    # Running mean and variance of 8 channels, and the batch counter.
    assert found.buffers == 17


def test_grad_modes_around_the_call_do_not_matter() -> None:
    net = small_net()
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            assert macs(net, (1, 3, 6, 4)) == SMALL_MACS


def test_meta_and_cpu_modules_give_the_same_graph() -> None:
    real = graph_of(small_net(), (1, 3, 6, 4))
    with torch.device("meta"):
        meta = graph_of(small_net(), (1, 3, 6, 4))
    assert [(op.name, op.kind, op.inputs) for op in real] == [(op.name, op.kind, op.inputs) for op in meta]
    assert real.source.digest == meta.source.digest


def test_real_input_tensors_and_shapes_agree() -> None:
    net = small_net()
    by_tensor = trace(net, (torch.randn(1, 3, 6, 4),))
    assert by_tensor.source.digest == graph_of(net, (1, 3, 6, 4)).source.digest


def test_batch_norm_at_inference_is_one_op() -> None:
    kinds = [op.kind for op in graph_of(small_net(), (1, 3, 6, 4))]
    assert kinds == ["conv", "batch_norm", "relu", "reshape", "linear"]


def test_forward_macs_are_the_same_in_training() -> None:
    graph = graph_of(small_net(), (2, 3, 6, 4), training=True)
    costs = complexity(graph)
    forward = sum(row.macs for row, op in zip(costs.rows, graph.ops, strict=True) if op.phase == "forward")
    assert forward == 2 * SMALL_MACS
    # Backward: weight gradients of both (the first convolution needs no input gradient), and the linear's
    # input gradient.
    backward = sum(row.macs for row, op in zip(costs.rows, graph.ops, strict=True) if op.phase == "backward")
    assert backward == 2 * (8 * 6 * 4 * 27) + 2 * (2 * 192 * 5)


def test_depthwise_training_counts_each_gradient_once() -> None:
    # 4 channels, 3x3, 8x8: 2,304 products in the forward pass, as many for each of the two gradients; two FLOPs each.
    net = nn.Sequential(nn.Identity(), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False))
    net[0] = Functional(lambda self, x: x * self.scale, scale=(1, 4, 8, 8))
    graph = graph_of(net, (1, 4, 8, 8), training=True)
    assert 2 * complexity(graph).macs == 13_824


# -- attention ------------------------------------------------------------------------------------------

# Length 5, width 8, 2 heads: three input projections and one output projection of 8x8, QK and AV of 5x5x8 each.
ATTENTION_MACS = 5 * 8 * 24 + 5 * 8 * 8 + 2 * 5 * 5 * 8


@pytest.mark.parametrize("fast_path", [True, False])
def test_multi_head_attention_with_fast_path_on_or_off(fast_path: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    net = Functional(lambda self, x: layer(x, x, x, need_weights=False)[0])
    net.layer = layer
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast_path)
    try:
        graph = graph_of(net, (1, 5, 8))
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert complexity(graph).macs == ATTENTION_MACS
    assert [op.kind for op in graph if op.kind in ("linear", "attention", "matmul")] == [
        "linear",
        "attention",
        "linear",
    ]


def test_attention_with_its_weights_returned_has_the_same_macs() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    net = Functional(lambda self, x: layer(x, x, x, need_weights=True)[0])
    net.layer = layer
    assert macs(net, (1, 5, 8)) == ATTENTION_MACS


def test_encoder_layer_in_evaluation_mode_is_not_one_opaque_op() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    assert macs(layer, (1, 5, 8)) == ATTENTION_MACS + 2 * 5 * 8 * 16


def test_functional_attention_is_one_op_on_any_device() -> None:
    net = Functional(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v))
    graph = graph_of(net, (2, 3, 4, 8), (2, 3, 6, 8), (2, 3, 6, 5))
    assert [op.kind for op in graph] == ["attention"]
    # B·H·Lq·Lk·(d_qk + d_v)
    assert complexity(graph).macs == 2 * 3 * 4 * 6 * (8 + 5)


# -- convolution -----------------------------------------------------------------------------------------


def test_unbatched_convolution() -> None:
    assert macs(nn.Conv2d(3, 8, 3), (3, 9, 7)) == macs(nn.Conv2d(3, 8, 3), (1, 3, 9, 7)) == 8 * 7 * 5 * 27


def test_functional_convolution() -> None:
    net = Functional(lambda self, x: F.conv2d(x, self.weight, stride=2, padding=1), weight=(8, 3, 3, 3))
    assert macs(net, (1, 3, 9, 7)) == 8 * 5 * 4 * 27


def test_same_padding_with_an_even_kernel() -> None:
    net = nn.Conv2d(3, 8, 4, padding="same", bias=False)
    graph = graph_of(net, (1, 3, 9, 7))
    assert complexity(graph).macs == 8 * 9 * 7 * 3 * 16
    assert graph.tensors[graph.outputs[0]].shape == (1, 8, 9, 7)


def test_transposed_convolution_counts_the_input_side() -> None:
    # 3 channels of 2x2 in, each element times 1 output channel x 2x2 taps.
    assert macs(nn.ConvTranspose2d(3, 1, 2, stride=2, bias=False), (1, 3, 2, 2)) == 48


# -- products ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [((2, 1, 4, 8), (3, 8, 5), 2 * 3 * 4 * 8 * 5), ((8,), (8,), 8), ((4, 8), (8,), 32), ((8,), (8, 5), 40)],
)
def test_matmul_of_vectors_and_broadcast_batches(left: tuple[int, ...], right: tuple[int, ...], expected: int) -> None:
    specs = [InputSpec(left, "a"), InputSpec(right, "b")]

    class Operator(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    class Function(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.matmul(a, b)

    for net in (Operator(), Function()):
        assert complexity(trace(net, specs)).macs == expected


def test_array_times_module_parameter_reversed() -> None:
    net = Functional(lambda self, x: torch.Tensor.__rmatmul__(x, self.weight), weight=(5, 8))
    assert macs(net, (8, 3)) == 5 * 8 * 3


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5)), 2 * 3 * 4 * 5),
        ("bhid,bhjd->bhij", ((2, 3, 4, 8), (2, 3, 6, 8)), 2 * 3 * 4 * 6 * 8),
        # Three operands: ij,jk first (3·4·5), then ik,kl (3·5·6), as torch contracts left to right.
        ("ij,jk,kl->il", ((3, 4), (4, 5), (5, 6)), 3 * 4 * 5 + 3 * 5 * 6),
    ],
)
def test_einsum(equation: str, shapes: tuple[tuple[int, ...], ...], expected: int) -> None:
    net = Functional(lambda self, *xs: torch.einsum(equation, *xs))
    assert macs(net, *shapes) == expected


# -- recurrent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("make", "gates", "kind"), [(nn.LSTM, 4, "lstm"), (nn.GRU, 3, "gru"), (nn.RNN, 1, "rnn")])
def test_recurrent_layers_are_one_op(make: type[nn.RNNBase], gates: int, kind: str, device: str) -> None:
    net = make(6, 5, num_layers=2, bidirectional=True, device=device)
    graph = graph_of(net, (7, 2, 6))
    # T·B steps, both directions, G·H·(I + H); the second layer reads both directions of the first.
    expected = 7 * 2 * 2 * gates * 5 * ((6 + 5) + (10 + 5))
    assert complexity(graph).macs == expected
    assert [op.kind for op in graph if op.kind == kind] == [kind]
    assert complexity(graph).parameters == sum(p.numel() for p in net.parameters())


def test_packed_sequence_is_counted() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.LSTM(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 7]))
            return self.net(packed)[0].data

    assert macs(Packed(), (7, 2, 6)) == 7 * 2 * 4 * 5 * (6 + 5)


# -- identity of modules and weights -------------------------------------------------------------------------


class Aliased(nn.Module):
    """One layer under two names, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1, bias=False)
        self.second = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_module_alias_keeps_its_first_name_and_counts_once() -> None:
    graph = graph_of(Aliased(), (1, 4, 5, 3))
    assert [(op.name, op.scope) for op in graph] == [("first/conv", "first"), ("first/conv.2", "first")]
    found = complexity(graph)
    assert (found.macs, found.parameters) == (2 * 16 * 15, 16)


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.head = nn.Linear(6, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(ids))

    graph = trace(Tied(), [InputSpec((1, 3), None, DType.INT64)])
    found = complexity(graph)
    assert (found.macs, found.parameters) == (3 * 6 * 11, 66)
    assert [t.name for t in graph.role(Role.PARAMETER)] == ["embed.weight"]


def test_unused_parameters_count_and_are_named() -> None:
    net = Functional(lambda self, x: x + self.used, used=(3,), unused=(7, 2))
    found = cost(net, (1, 3))
    assert (found.parameters, found.unattributed_parameters) == (17, 14)


def test_weights_hidden_in_a_closure_are_found() -> None:
    weight = torch.zeros(8, 3, 3, 3)
    graph = graph_of(Functional(lambda self, x: F.conv2d(x, weight)), (1, 3, 9, 7))
    assert complexity(graph).macs == 8 * 7 * 5 * 27
    assert [t.shape for t in graph.role(Role.CONSTANT)] == [(8, 3, 3, 3)]


def test_half_precision_models_get_half_precision_inputs() -> None:
    graph = graph_of(small_net().half(), (1, 3, 6, 4))
    assert graph.tensors[graph.inputs[0]].dtype is DType.FLOAT16
    assert complexity(graph).macs == SMALL_MACS
