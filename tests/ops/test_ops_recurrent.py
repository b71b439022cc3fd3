"""Recurrent layers and embeddings against hand-worked counts and torch's gradients."""

import pytest
import torch
from calls import act, canonical, const, par, shapes, window

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.window import All, Axes, DataDependent, Same, Slide
from cnnprof.ops.work import Work

# torch's flat weights of one direction: w_ih, w_hh, b_ih, b_hh
LSTM_4_5 = [par(20, 4), par(20, 5), par(20), par(20)]
LSTM_10_5 = [par(20, 10), par(20, 5), par(20), par(20)]

CASES = [
    # T 7, B 3, I 4, H 5: 21 · 20·(4 + 5) = 3,780 MACs; 21·5 = 105 units: 5 transcendental, 3 mul, 1 add
    (
        "lstm",
        "onnx:LSTM",
        [act(7, 3, 4), par(1, 20, 4), par(1, 20, 5)],
        [(7, 1, 3, 5), None, (1, 3, 5)],
        {"hidden_size": 5},
        Work(mac=3780, mul=315, add=105, transcendental=525),
    ),
    # both directions and biases: twice as much, and 2·40 bias additions a step
    (
        "lstm",
        "onnx:LSTM",
        [act(7, 3, 4), par(2, 20, 4), par(2, 20, 5), par(2, 40)],
        [(7, 2, 3, 5)],
        {"direction": "bidirectional"},
        Work(mac=7560, mul=630, add=1890, transcendental=1050),
    ),
    # peepholes: 3 mul and 3 add a unit; clip: 4 comparisons
    (
        "lstm",
        "onnx:LSTM",
        [act(7, 3, 4), par(1, 20, 4), par(1, 20, 5), None, None, None, None, par(1, 15)],
        [(7, 1, 3, 5)],
        {"clip": 3.0},
        Work(mac=3780, mul=630, add=420, cmp=420, transcendental=525),
    ),
    # 21 · 15·9 = 2,835; 105 units: 3 transcendental, 3 mul, 2 add
    (
        "gru",
        "onnx:GRU",
        [act(3, 7, 4), par(1, 15, 4), par(1, 15, 5)],
        [(3, 7, 1, 5)],
        {"layout": 1},
        Work(mac=2835, mul=315, add=210, transcendental=315),
    ),
    (
        "rnn",
        "onnx:RNN",
        [act(7, 3, 4), par(1, 5, 4), par(1, 5, 5)],
        [(7, 1, 3, 5)],
        {"activations": [b"Relu"], "direction": b"reverse"},
        Work(mac=945, cmp=105),
    ),
    # two bidirectional layers: 21 steps · 2 · (20·9 + 20·15) = 20,160; 4·5 units; 2·2·40 bias additions
    (
        "lstm",
        "aten:lstm.input",
        [
            act(7, 3, 4),
            act(4, 3, 5),
            act(4, 3, 5),
            *LSTM_4_5,
            *LSTM_4_5,
            *LSTM_10_5,
            *LSTM_10_5,
        ],
        [(7, 3, 10), (4, 3, 5), (4, 3, 5)],
        {"num_layers": 2, "bidirectional": True, "batch_first": False, "has_biases": True},
        Work(mac=20_160, mul=1260, add=3780, transcendental=2100),
    ),
    # proj_size 2: 20·4 + 20·2 + 2·5 = 130 a step
    (
        "lstm",
        "torch:lstm",
        [act(3, 7, 4), act(1, 3, 2), act(1, 3, 5), par(20, 4), par(20, 2), par(2, 5)],
        [(3, 7, 2), (1, 3, 2), (1, 3, 5)],
        {"num_layers": 1, "bidirectional": False, "batch_first": True},
        Work(mac=2730, mul=315, add=105, transcendental=525),
    ),
    # packed: 11 steps in all
    (
        "gru",
        "aten:gru.data",
        [act(11, 4), act(5), act(1, 3, 5), par(15, 4), par(15, 5), par(15), par(15)],
        [(11, 5), (1, 3, 5)],
        {"num_layers": 1, "bidirectional": False},
        Work(mac=1485, mul=165, add=440, transcendental=165),
    ),
    (
        "rnn",
        "aten:rnn_relu.input",
        [act(7, 3, 4), act(1, 3, 5), par(5, 4), par(5, 5)],
        [(7, 3, 5), (1, 3, 5)],
        {"num_layers": 1, "bidirectional": False, "batch_first": False},
        Work(mac=945, cmp=105),
    ),
    # one step of 3 rows
    (
        "recurrent_cell",
        "aten:lstm_cell",
        [act(3, 4), act(3, 5), act(3, 5), *LSTM_4_5],
        [(3, 5), (3, 5)],
        {},
        Work(mac=540, mul=45, add=135, transcendental=75),
    ),
    # 3·20 gates joined and two biases each; 15 units
    (
        "recurrent_cell_pointwise",
        "aten:_thnn_fused_lstm_cell",
        [act(3, 20), act(3, 20), act(3, 5), par(20), par(20)],
        [(3, 5), (3, 5), (3, 20)],
        {},
        Work(mul=45, add=195, transcendental=75),
    ),
    # as the first case; 8 mul more a unit; each step quantises 4 + 5 numbers
    (
        "lstm_quantized",
        "com.microsoft:DynamicQuantizeLSTM",
        [act(7, 3, 4), par(1, 4, 20), par(1, 5, 20), None, None, None, None, None, *[const(1)] * 4],
        [(7, 1, 3, 5)],
        {"hidden_size": 5},
        Work(mac=3780, mul=1155, add=294, cmp=567, div=189, transcendental=525),
    ),
    ("embedding", "aten:embedding", [par(100, 8), act(2, 5)], [(2, 5, 8)], {}, Work()),
    # 6 rows of 8 in 2 bags, averaged and weighted
    (
        "embedding_bag",
        "aten:_embedding_bag",
        [par(100, 8), act(6), act(2), act(6)],
        [(2, 8), (6,), (2,), (2,)],
        {"mode": 1},
        Work(add=32, div=16, mul=48),
    ),
    ("embedding_bag", "aten:embedding_bag", [par(100, 8), act(6), act(2)], [(2, 8)], {"mode": 2}, Work(cmp=32)),
    (
        "embedding_backward",
        "aten:embedding_dense_backward",
        [act(2, 5, 8), act(2, 5)],
        [(100, 8)],
        {"num_weights": 100},
        Work(add=80),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("layers", "both", "projection"), [(1, False, 0), (2, True, 0), (3, True, 2)])
def test_macs_are_the_matrix_elements_of_torchs_module(layers, both, projection):
    module = torch.nn.LSTM(4, 5, layers, bidirectional=both, proj_size=projection)
    states = layers * (1 + both)
    weights = [par(*p.shape) for p in module.parameters()]
    x = torch.zeros(7, 3, 4)
    out, (h, c) = module(x)
    spec, call = canonical(
        "aten:lstm.input",
        [act(7, 3, 4), act(states, 3, projection or 5), act(states, 3, 5), *weights],
        [out.shape, h.shape, c.shape],
        num_layers=layers,
        bidirectional=both,
        batch_first=False,
    )
    per_step = sum(p.numel() for p in module.parameters() if p.dim() == 2)
    assert spec.work(call).mac == 21 * per_step
    assert spec.work(call).transcendental == 21 * 5 * 5 * states
    assert spec.shapes(call) == (tuple(out.shape), tuple(h.shape), tuple(c.shape))


@pytest.mark.parametrize("both", [False, True])
def test_windows_are_where_torchs_gradient_goes(both):
    torch.manual_seed(0)
    module = torch.nn.GRU(2, 3, 2, bidirectional=both, batch_first=True).double()
    x = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    out, _ = module(x)
    weights = [par(*p.shape) for p in module.parameters()]
    found = window(
        "aten:gru.input",
        [act(2, 6, 2), act(2 * (1 + both), 2, 3), *weights],
        [out.shape],
        num_layers=2,
        bidirectional=both,
        batch_first=True,
    )
    assert found[0].maps[0] == Same(0)
    (gradient,) = torch.autograd.grad(out[1, 3].sum(), x)
    reached = [tuple(place) for place in gradient.abs().sum(2).gt(1e-14).nonzero().tolist()]
    time = found[0].maps[1]
    steps = range(6) if time == All() else [3 - time.pad + k for k in range(time.kernel)]
    assert reached == [(1, step) for step in steps if 0 <= step < 6]


def test_windows_of_onnx():
    inputs = [act(7, 3, 4), par(1, 20, 4), par(1, 20, 5), None, None, act(1, 3, 5)]
    found = window("onnx:LSTM", inputs, [(7, 1, 3, 5), (1, 3, 5)])
    assert found[0] == Axes((Slide(0, 7, 1, 1, 6), Same(2), All()))
    assert found[5] == Axes((All(), Same(2), All()))
    last = window("onnx:LSTM", inputs, [(7, 1, 3, 5), (1, 3, 5)], output=1)
    assert last[0] == Axes((All(), Same(1), All()))
    found = window("onnx:RNN", [act(7, 3, 4), par(1, 5, 4), par(1, 5, 5)], [(7, 1, 3, 5)], direction="reverse")
    assert found[0] == Axes((Slide(0, 7, 1, 1, 0), Same(2), All()))
    assert window("aten:embedding", [par(100, 8), act(2, 5)], [(2, 5, 8)]) == (None, Axes((Same(0), Same(1))))
    assert window("aten:_embedding_bag", [par(100, 8), act(6), act(2)], [(2, 8)])[1] == DataDependent()


def test_shapes_of_onnx():
    weights = [par(2, 15, 4), par(2, 15, 5)]
    assert shapes("onnx:GRU", [act(7, 3, 4), *weights], (None, None)) == ((7, 2, 3, 5), (2, 3, 5))
    assert shapes("onnx:GRU", [act(3, 7, 4), *weights], (None, None), layout=1) == (
        (3, 7, 2, 5),
        (3, 2, 5),
    )
    with pytest.raises(UncountableError, match="3 axes"):
        shapes("onnx:GRU", [act(7, 4), *weights])
