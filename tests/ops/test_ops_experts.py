"""Mixtures of experts and shared block-quantised projections, worked by hand."""

import pytest
from calls import act, canonical, par

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.work import Work

MIXTURE = [act(2, 3, 8), act(6, 4), par(4, 16, 8), par(4, 16), par(4, 8, 16), par(4, 8)]
PACKED = [act(2, 8), act(2, 4), par(4, 32, 4), par(4, 32), None, par(4, 8, 8), par(4, 8)]

CASES = [
    # 6 tokens, 2 of 4 experts: 12 · (16·8 + 8·16) MACs, 12 · (16 + 8) biases, 12·16 relus; router 24 · softmax, 24
    # comparisons; two results of 48 elements weighted and added
    (
        "mixture_of_experts",
        "com.microsoft:MoE",
        MIXTURE,
        [(2, 3, 8)],
        {"k": 2, "activation_type": "relu"},
        Work(mac=3072, add=288 + 48 + 48, mul=96, cmp=192 + 24 + 24, div=24, transcendental=24),
    ),
    # rescaled: 6 · (1 addition, 2 divisions)
    (
        "mixture_of_experts",
        "com.microsoft:MoE",
        MIXTURE,
        [(2, 3, 8)],
        {"k": 2, "activation_type": "relu", "normalize_routing_weights": 1},
        Work(mac=3072, add=288 + 48 + 48 + 6, mul=96, cmp=192 + 24 + 24, div=24 + 12, transcendental=24),
    ),
    # 4-bit, gate and value in one product of 32: weights 32·8 + 8·16 = 384; 2 tokens to one expert each: 768 MACs,
    # both experts' weights expanded; 32 gates of σ and 2 mul; router 8 · softmax, 8 comparisons; 16 mul
    (
        "mixture_of_experts_quantized",
        "com.microsoft:QMoE",
        PACKED,
        [(2, 8)],
        {"k": 1, "activation_type": "swiglu", "swiglu_fusion": 1},
        Work(mac=768, add=768 + 16, mul=768 + 64 + 16, cmp=8 + 8, div=8, transcendental=32 + 8),
    ),
    # 6 rows of 8; 16 + 4 + 4 outputs, a bias on the first: 6·8·24 MACs, 192 weights expanded; RMS 4 each and 6 roots
    (
        "matmul_blockwise_shared",
        "com.microsoft:MatMulNBitsQkv",
        [act(2, 3, 8), None, par(8), par(16, 4), par(16), par(16), par(4, 4), par(4), None, par(4, 4), par(4)],
        [(2, 3, 16), (2, 3, 4), (2, 3, 4)],
        {"K": 8, "Nq": 16, "Nkv": 4},
        Work(mac=1152, add=96 + 192 + 48, mul=192 + 144, transcendental=6),
    ),
    # without norm: 6·8·32 MACs, 256 weights; 96 silus times the value
    (
        "matmul_blockwise_shared",
        "com.microsoft:MatMulNBitsMlp",
        [act(2, 3, 8), None, None, par(16, 4), par(16), None, par(16, 4), par(16)],
        [(2, 3, 16)],
        {"K": 8, "N": 16, "activation": "silu"},
        Work(mac=1536, add=256, mul=256 + 192, transcendental=96),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_only_the_chosen_experts_count_but_all_are_parameters():
    """8 experts of which 2 run cost what 4 of which 2 run do, but for the router."""
    few, _ = canonical("com.microsoft:MoE", MIXTURE, [(2, 3, 8)], k=2)
    many = [act(2, 3, 8), act(6, 8), par(8, 16, 8), par(8, 16), par(8, 8, 16), par(8, 8)]
    spec, call = canonical("com.microsoft:MoE", many, [(2, 3, 8)], k=2)
    assert spec is few
    assert spec.work(call).mac == 3072
    assert spec.work(call).transcendental == 48


def test_other_routings_are_not_guessed():
    with pytest.raises(UncountableError, match="sparse mixer"):
        canonical("com.microsoft:MoE", MIXTURE, [(2, 3, 8)], k=2, use_sparse_mixer=1)
    with pytest.raises(UncountableError, match="integer weights"):
        canonical("com.microsoft:QMoE", PACKED, [(2, 8)], k=1, quant_type="fp4")
