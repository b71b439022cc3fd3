"""Attention against hand-worked counts and torch's gradients."""

import pytest
import torch
import torch.nn.functional as F
from calls import act, canonical, const, par, shapes, window, work

from cnnprof.ops.spec import UncountableError
from cnnprof.ops.window import All, Axes, Lookup, Same, Slide
from cnnprof.ops.work import Work

Q, K, V = (2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 6)
# 2·3·4·5 = 120 scores · (8 + 6) = 1,680; softmax 4 + 1 and the scale
PLAIN = Work(mac=1680, cmp=120, add=240, div=120, mul=120, transcendental=120)
CASES = [
    ("attention", "onnx:Attention", [act(*Q), act(*K), act(*V)], [(2, 3, 4, 6)], {}, PLAIN),
    # packed heads
    (
        "attention",
        "onnx:Attention",
        [act(2, 4, 24), act(2, 5, 24), act(2, 5, 18)],
        [(2, 4, 18)],
        {"q_num_heads": 3, "kv_num_heads": 3},
        PLAIN,
    ),
    # 4 query heads share 2: 1·4·3·(2 + 3) = 60 scores · 16 = 960; mask 60
    (
        "attention",
        "onnx:Attention",
        [act(1, 4, 3, 8), act(1, 2, 3, 8), act(1, 2, 3, 8), act(3, 5), act(1, 2, 2, 8), act(1, 2, 2, 8)],
        [(1, 4, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8)],
        {"scale": 1.0, "softcap": 5.0},
        Work(mac=960, cmp=60, add=180, div=60, mul=120, transcendental=120),
    ),
    (
        "attention",
        "aten:_scaled_dot_product_flash_attention_for_cpu",
        [act(*Q), act(*K), act(*V)],
        [(2, 3, 4, 6)],
        {},
        PLAIN,
    ),
    ("attention", "torch:scaled_dot_product_attention", [act(*Q), act(*K), act(*V)], [(2, 3, 4, 6)], {}, PLAIN),
    # ViT-B/16: 12 heads, 197 tokens, 64: 12·197² = 465,708 scores · 128 = 59,610,624
    (
        "attention",
        "torch:scaled_dot_product_attention",
        [act(1, 12, 197, 64)] * 3,
        [(1, 12, 197, 64)],
        {},
        Work(mac=59_610_624, cmp=465_708, add=931_416, div=465_708, mul=465_708, transcendental=465_708),
    ),
    # (B, L, H, D)
    (
        "attention",
        "aten:_efficient_attention_forward",
        [act(2, 4, 3, 8), act(2, 5, 3, 8), act(2, 5, 3, 6), None, None],
        [(2, 4, 3, 6)],
        {},
        PLAIN,
    ),
    # projection 2·5 · 16 · 48 = 7,680; bias 480; 2·4·5·5 = 200 scores · (4 + 4) = 1,600
    (
        "self_attention_fused",
        "com.microsoft:Attention",
        [act(2, 5, 16), par(16, 48), par(48)],
        [(2, 5, 16)],
        {"num_heads": 4},
        Work(mac=9280, cmp=200, add=880, div=200, mul=200, transcendental=200),
    ),
    # one multiplication more for each of the 480 projected values
    (
        "self_attention_fused",
        "com.microsoft:QAttention",
        [act(2, 5, 16), par(16, 48), par(48), const(), const()],
        [(2, 5, 16)],
        {"num_heads": 4},
        Work(mac=9280, cmp=200, add=880, div=200, mul=680, transcendental=200),
    ),
    # 2·3·4·5 = 120 scores · (8 + 6); biases: q 2·4·24, k 2·5·24, v 2·5·18 = 192 + 240 + 180 = 612
    (
        "multi_head_attention",
        "com.microsoft:MultiHeadAttention",
        [act(2, 4, 24), act(2, 5, 24), act(2, 5, 18), par(66)],
        [(2, 4, 18)],
        {"num_heads": 3},
        PLAIN + Work(add=612),
    ),
    # 4 query heads, 2 key heads, d 8, one new token after 6: 4·7 = 28 scores · 16 = 448;
    # rotation of (4 + 2)·8 = 48 elements
    (
        "multi_head_attention",
        "com.microsoft:GroupQueryAttention",
        [act(1, 1, 32), act(1, 1, 16), act(1, 1, 16), act(1, 2, 6, 8), act(1, 2, 6, 8), const(1), const()],
        [(1, 1, 32), (1, 2, 7, 8), (1, 2, 7, 8)],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
        Work(mac=448, cmp=28, add=104, div=28, mul=124, transcendental=28),
    ),
    # projections 2·5·16·(16 + 32 + 16) = 10,240; biases 10·64 = 640; 200 scores · 8 = 1,600
    (
        "multi_head_attention_native",
        "aten:_native_multi_head_attention",
        [act(2, 5, 16), act(2, 5, 16), act(2, 5, 16), par(48, 16), par(48), par(16, 16), par(16)],
        [(2, 5, 16)],
        {"embed_dim": 16, "num_head": 4},
        Work(mac=11_840, cmp=200, add=1040, div=200, mul=200, transcendental=200),
    ),
    # 2·3·4·8 = 192 elements
    (
        "rotary_embedding",
        "onnx:RotaryEmbedding",
        [act(2, 3, 4, 8), const(10, 4), const(10, 4), act(2, 4)],
        [(2, 3, 4, 8)],
        {},
        Work(mul=384, add=192),
    ),
    # a quarter of each head
    (
        "rotary_embedding",
        "com.microsoft:RotaryEmbedding",
        [act(2, 4, 24), act(2, 4), const(10, 1), const(10, 1)],
        [(2, 4, 24)],
        {"num_heads": 3, "rotary_embedding_dim": 2},
        Work(mul=96, add=48),
    ),
    # 2·3 tokens, 4 query heads on 2 states of 5x6: (2 + 4)·30 = 180 a token; the scale on 4·6
    (
        "linear_attention",
        "onnx:LinearAttention",
        [act(2, 3, 20), act(2, 3, 10), act(2, 3, 12)],
        [(2, 3, 24), (2, 2, 5, 6)],
        {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "linear"},
        Work(mac=1080, mul=144),
    ),
    # gated delta: (2·2 + 4)·30 = 240 MACs a token; state scaled 60, β 12, scale 24; 12 exponentials in all
    (
        "linear_attention",
        "onnx:LinearAttention",
        [act(2, 3, 20), act(2, 3, 10), act(2, 3, 12), None, act(2, 3, 2), act(2, 3, 2)],
        [(2, 3, 24), (2, 2, 5, 6)],
        {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": b"gated_delta"},
        Work(mac=1440, mul=576, add=72, transcendental=12),
    ),
    # 120 scores · (3·8 + 2·6) = 4,320; per score 3 mul, 2 add, 1 exp; 144 output elements
    (
        "attention_backward",
        "aten:_scaled_dot_product_flash_attention_for_cpu_backward",
        [act(2, 3, 4, 6), act(*Q), act(*K), act(*V), act(2, 3, 4, 6), act(2, 3, 4)],
        [Q, K, V],
        {},
        Work(mac=4320, mul=504, add=384, transcendental=120),
    ),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_causal_rows_see_the_keys_so_far_as_torchs_gradient_does():
    key = torch.randn(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    query = torch.randn(1, 1, 5, 4, dtype=torch.float64)
    out = F.scaled_dot_product_attention(query, key, query, is_causal=True)
    found = window("torch:scaled_dot_product_attention", [act(1, 1, 5, 4)] * 3, [(1, 1, 5, 4)], is_causal=True)
    assert found[1].maps[2] == Slide(2, 5, 1, 1, 4)
    for row in (1, 3):
        (gradient,) = torch.autograd.grad(out[0, 0, row].sum(), key, retain_graph=True)
        reached = gradient[0, 0].abs().sum(1).gt(0).nonzero().flatten().tolist()
        slide = found[1].maps[2]
        predicted = [row - slide.pad + k for k in range(slide.kernel)]
        assert [i for i in predicted if 0 <= i < 5] == reached


def test_windows():
    found = window("onnx:Attention", [act(1, 4, 3, 8), act(1, 2, 5, 8), act(1, 2, 5, 8)], [(1, 4, 3, 8)])
    heads = Lookup(1, ((0,), (0,), (1,), (1,)))
    assert found == (
        Axes((Same(0), Same(1), Same(2), All())),
        Axes((Same(0), heads, All(), All())),
        Axes((Same(0), heads, All(), Same(3))),
    )
    # two past keys and three new ones: row i sees both past keys and new keys up to i
    found = window(
        "onnx:Attention",
        [act(1, 1, 3, 8), act(1, 1, 3, 8), act(1, 1, 3, 8), None, act(1, 1, 2, 8), act(1, 1, 2, 8)],
        [(1, 1, 3, 8)],
        is_causal=1,
    )
    assert found[1].maps[2] == Slide(2, 3, 1, 1, 2)
    assert found[4].maps[2] == Slide(2, 2, 1, 1, -1)
    found = window("com.microsoft:Attention", [act(2, 5, 16), par(16, 48)], [(2, 5, 16)], num_heads=4)
    assert found == (Axes((Same(0), All(), All())), None)


def test_shapes():
    inputs = [act(1, 1, 32), act(1, 1, 16), act(1, 1, 16), act(1, 2, 6, 8), act(1, 2, 6, 8)]
    assert shapes("com.microsoft:GroupQueryAttention", inputs, (None,) * 3, num_heads=4, kv_num_heads=2) == (
        (1, 1, 32),
        (1, 2, 7, 8),
        (1, 2, 7, 8),
    )


def test_what_the_data_decides_is_not_counted():
    spec, _ = canonical("com.microsoft:LongformerAttention", [act(1, 8, 16)], [(1, 8, 16)])
    assert spec.work is None
    with pytest.raises(UncountableError, match="num_heads"):
        work("com.microsoft:Attention", [act(2, 5, 16), par(16, 48)], [(2, 5, 16)])


def test_a_sliding_window_narrows_what_is_seen_and_saves_no_work():
    """onnxruntime's local_window_size 2 over 6 tokens: query t meets keys t − 1 and t."""
    inputs = [act(1, 6, 8), act(1, 6, 8), act(1, 6, 8), None, None, act(1), act(1)]
    heads = {"num_heads": 1, "kv_num_heads": 1}
    full = window("com.microsoft:GroupQueryAttention", inputs, [(1, 6, 8)], **heads)
    local = window("com.microsoft:GroupQueryAttention", inputs, [(1, 6, 8)], local_window_size=2, **heads)
    assert full[2] == Axes((Same(0), Slide(1, 6, 1, 1, 5), All()))
    assert local[2] == Axes((Same(0), Slide(1, 2, 1, 1, 1), All()))
    # 6 · 6 scores of 8 + 8
    assert work("com.microsoft:GroupQueryAttention", inputs, [(1, 6, 8)], local_window_size=2, **heads).mac == 576
