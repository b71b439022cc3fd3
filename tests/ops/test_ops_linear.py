"""Dense layers, matrix products and einsum against hand-worked counts and NumPy's own shapes."""

import numpy as np
import pytest
from calls import act, canonical, const, par, shapes, window, work

from cnnprof.ops.einsum import parse_equation
from cnnprof.ops.spec import UncountableError
from cnnprof.ops.window import All, Axes, Fixed, Same
from cnnprof.ops.work import Work

CASES = [
    # 1·2,048·1,000; bias 1,000
    (
        "linear",
        "onnx:Gemm",
        [act(1, 2048), par(1000, 2048), par(1000)],
        [(1, 1000)],
        {"transB": 1},
        Work(mac=2_048_000, add=1000),
    ),
    # A (4, 3) transposed: 3 rows, k 4, 5 columns: 60; alpha 15, beta on the 5 of C, 15 additions
    (
        "linear",
        "onnx:Gemm",
        [act(4, 3), act(4, 5), par(5)],
        [(3, 5)],
        {"transA": 1, "alpha": 0.5, "beta": 2.0},
        Work(mac=60, add=15, mul=20),
    ),
    ("linear", "onnx:MatMul", [act(2, 7, 8), par(8, 3)], [(2, 7, 3)], {}, Work(mac=336)),  # 42 · 8
    (
        "linear",
        "com.microsoft:FusedGemm",
        [act(2, 8), par(8, 3), par(3)],
        [(2, 3)],
        {"activation": "LeakyRelu"},
        Work(mac=48, add=6, cmp=6, mul=6),
    ),
    ("linear", "aten:addmm", [par(3), act(2, 8), par(8, 3)], [(2, 3)], {}, Work(mac=48, add=6)),
    (
        "linear",
        "aten:_addmm_activation",
        [par(3), act(2, 8), par(8, 3)],
        [(2, 3)],
        {"use_gelu": False},
        Work(mac=48, add=6, cmp=6),
    ),
    ("linear", "aten:linear", [act(2, 5, 8), par(3, 8), par(3)], [(2, 5, 3)], {}, Work(mac=240, add=30)),
    # batch broadcast (2,1)x(3): 6 · 4·8·5 = 960
    ("matmul", "onnx:MatMul", [act(2, 1, 4, 8), act(3, 8, 5)], [(2, 3, 4, 5)], {}, Work(mac=960)),
    ("matmul", "onnx:MatMul", [act(8), act(8)], [()], {}, Work(mac=8)),
    ("matmul", "onnx:MatMul", [act(3, 4, 8), act(8)], [(3, 4)], {}, Work(mac=96)),
    ("matmul", "onnx:MatMul", [act(8), act(3, 8, 4)], [(3, 4)], {}, Work(mac=96)),
    # a (k 6, m 4) transposed: 2·4·5 outputs · 6; alpha 40
    (
        "matmul",
        "com.microsoft:FusedMatMul",
        [act(2, 6, 4), act(2, 6, 5)],
        [(2, 4, 5)],
        {"transA": 1, "alpha": 0.125},
        Work(mac=240, mul=40),
    ),
    # a stands as (m 4, batch 2, k 6)
    (
        "matmul",
        "com.microsoft:FusedMatMul",
        [act(4, 2, 6), act(2, 6, 5)],
        [(2, 4, 5)],
        {"transBatchA": 1},
        Work(mac=240),
    ),
    ("matmul", "aten:bmm", [act(3, 4, 8), act(3, 8, 5)], [(3, 4, 5)], {}, Work(mac=480)),
    ("matmul", "aten:mm", [act(4, 8), act(8, 5)], [(4, 5)], {}, Work(mac=160)),
    ("matmul", "aten:mv", [act(4, 8), act(8)], [(4,)], {}, Work(mac=32)),
    ("matmul", "aten:dot", [act(8), act(8)], [()], {}, Work(mac=8)),
    (
        "matmul",
        "aten:baddbmm",
        [act(3, 4, 5), act(3, 4, 8), act(3, 8, 5)],
        [(3, 4, 5)],
        {"beta": 0},
        Work(mac=480),
    ),
    ("matmul", "aten:addmv", [act(4), act(4, 8), act(8)], [(4,)], {}, Work(mac=32, add=4)),
    # 3 products of (4, 8) by (8, 5), summed: 480
    (
        "matmul",
        "aten:addbmm",
        [act(4, 5), act(3, 4, 8), act(3, 8, 5)],
        [(4, 5)],
        {"alpha": 1, "beta": 1},
        Work(mac=480, add=20),
    ),
    # B 2, D_1 3, D_2 4, out 5: 2·5·3·4 + 2·5·4 = 160; bias 10
    (
        "bilinear",
        "aten:bilinear",
        [act(2, 3), act(2, 4), par(5, 3, 4), par(5)],
        [(2, 5)],
        {},
        Work(mac=160, add=10),
    ),
    (
        "bilinear",
        "aten:_trilinear",
        [act(2, 3), par(5, 3, 4), act(2, 4)],
        [(2, 5)],
        {"expand1": [1, 3], "expand2": [0], "expand3": [1, 2], "sumdim": [2, 3]},
        Work(mac=160),
    ),
    # 15 products and 15 sums; beta 15 more
    (
        "rank_one_update",
        "aten:addr",
        [act(3, 5), act(3), act(5)],
        [(3, 5)],
        {"alpha": 1, "beta": 2},
        Work(mul=30, add=15),
    ),
    # forward 2·8·3 = 48: both gradients 96; bias: 6 numbers to 3 sums
    (
        "linear_backward",
        "aten:linear_backward",
        [act(2, 8), act(2, 3), par(3, 8)],
        [(2, 8), (3, 8), (3,)],
        {"output_mask": [True, True, True]},
        Work(mac=96, add=3),
    ),
    ("matmul_integer", "onnx:MatMulInteger", [act(4, 8), par(8, 5)], [(4, 5)], {}, Work(mac=160)),
    # 20 outputs: scale, zero point, saturation
    (
        "matmul_quantized",
        "onnx:QLinearMatMul",
        [act(4, 8), const(), const(), par(8, 5), const(), const(), const(), const()],
        [(4, 5)],
        {},
        Work(mac=160, mul=20, add=20, cmp=20),
    ),
    # bias 20; float output: only the combined scale
    (
        "matmul_quantized",
        "com.microsoft:QGemm",
        [act(4, 8), const(), const(), par(5, 8), const(), const(), par(5)],
        [(4, 5)],
        {"transB": 1},
        Work(mac=160, mul=20, add=20),
    ),
    (
        "matmul_quantized",
        "com.microsoft:MatMulIntegerToFloat",
        [act(4, 8), par(8, 5), const(), const()],
        [(4, 5)],
        {},
        Work(mac=160, mul=20),
    ),
    # 32 inputs quantised on the way in: 3 comparisons, 1 division, 1 addition each
    (
        "matmul_quantized",
        "com.microsoft:DynamicQuantizeMatMul",
        [act(4, 8), par(8, 5), const(5)],
        [(4, 5)],
        {},
        Work(mac=160, mul=20, cmp=96, div=32, add=32),
    ),
    # 2·3 rows · K 64 · N 5 = 1,920; 320 weights expanded
    (
        "matmul_blockwise",
        "com.microsoft:MatMulNBits",
        [act(2, 3, 64), par(5, 2, 16), const(10)],
        [(2, 3, 5)],
        {"K": 64, "N": 5, "bits": 4, "block_size": 32},
        Work(mac=1920, add=320, mul=320),
    ),
    (
        "matmul_blockwise",
        "com.microsoft:MatMulBnb4",
        [act(3, 64), par(160), const(5)],
        [(3, 5)],
        {"K": 64, "N": 5, "quant_type": 1, "block_size": 64},
        Work(mac=960, add=320, mul=320),
    ),
    # 10 tokens dealt to 4 experts: each meets one (8, 5) matrix
    (
        "matmul_grouped",
        "aten:_grouped_mm",
        [act(10, 8), par(4, 8, 5), const(4)],
        [(10, 5)],
        {},
        Work(mac=400),
    ),
    ("einsum", "onnx:Einsum", [act(2, 3), act(3, 4)], [(2, 4)], {"equation": "ij, jk"}, Work(mac=24)),
    # all five indices: 2·3·4·5·6
    (
        "einsum",
        "aten:einsum",
        [act(2, 3, 4, 6), act(2, 3, 5, 6)],
        [(2, 3, 4, 5)],
        {"equation": "bhqd,bhkd->bhqk"},
        Work(mac=720),
    ),
    # ellipsis (2, 3), contraction 4
    (
        "einsum",
        "onnx:Einsum",
        [act(2, 3, 5, 4), act(4, 6)],
        [(2, 3, 5, 6)],
        {"equation": b"...ij,jk->...ik"},
        Work(mac=720),
    ),
    # left to right: (2,3)(3,4) = 24, then (2,4)(4,5) = 40
    (
        "einsum",
        "onnx:Einsum",
        [act(2, 3), act(3, 4), act(4, 5)],
        [(2, 5)],
        {"equation": "ab,bc,cd->ad"},
        Work(mac=64),
    ),
    # outer product: multiplications without a sum
    ("einsum", "onnx:Einsum", [act(2), act(3)], [(2, 3)], {"equation": "i,j->ij"}, Work(mul=6)),
    # trace: 4 numbers to 1; transposing costs nothing
    ("einsum", "onnx:Einsum", [act(4, 4)], [()], {"equation": "ii->"}, Work(add=3)),
    ("einsum", "onnx:Einsum", [act(2, 3)], [(3, 2)], {"equation": "ij->ji"}, Work()),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [((8,), (8,)), ((4, 8), (8,)), ((8,), (3, 8, 2)), ((2, 1, 4, 8), (3, 8, 5)), ((4, 8), (8, 5))],
)
def test_matmul_shapes_are_numpys(a, b):
    expected = np.matmul(np.zeros(a), np.zeros(b)).shape
    assert shapes("onnx:MatMul", [act(*a), act(*b)]) == (expected,)


@pytest.mark.parametrize(
    ("equation", "operands"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba,cb", [(2, 3), (4, 2)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (6, 3, 4)]),
        ("i...,i...", [(2, 3, 4), (2, 4)]),
        ("bn,anm,bm->ba", [(2, 3), (5, 3, 4), (2, 4)]),
        ("ii->i", [(3, 3)]),
        ("iijj->ij", [(3, 3, 2, 2)]),
    ],
)
def test_einsum_shapes_are_numpys(equation, operands):
    expected = np.einsum(equation, *(np.zeros(shape) for shape in operands)).shape
    assert shapes("onnx:Einsum", [act(*shape) for shape in operands], equation=equation) == (expected,)


def test_einsum_equations_that_do_not_fit():
    with pytest.raises(UncountableError, match="expected 2 operands"):
        parse_equation("ij,jk->ik", [2])
    with pytest.raises(UncountableError, match="expected 2 axes"):
        parse_equation("ij->ij", [3])
    with pytest.raises(UncountableError, match="sizes 3 and 4"):
        work("onnx:Einsum", [act(2, 3), act(4, 5)], [(2, 5)], equation="ij,jk->ik")


def test_windows():
    assert window("onnx:Gemm", [act(4, 3), par(4, 5), act(5)], [(3, 5)], transA=1) == (
        Axes((All(), Same(0))),
        None,
        Axes((Same(1),)),
    )
    assert window("onnx:MatMul", [act(2, 1, 4, 8), act(3, 8, 5)], [(2, 3, 4, 5)]) == (
        Axes((Same(0), Fixed(0), Same(2), All())),
        Axes((Same(1), All(), Same(3))),
    )
    assert window("onnx:MatMul", [act(8), act(3, 8, 4)], [(3, 4)]) == (
        Axes((All(),)),
        Axes((Same(0), All(), Same(1))),
    )
    assert window("onnx:MatMul", [act(3, 4, 8), act(8)], [(3, 4)]) == (
        Axes((Same(0), Same(1), All())),
        Axes((All(),)),
    )
    found = window("com.microsoft:FusedMatMul", [act(4, 2, 6), act(2, 6, 5)], [(2, 4, 5)], transBatchA=1)
    assert found == (Axes((Same(1), Same(0), All())), Axes((Same(0), All(), Same(2))))
    assert window("onnx:Einsum", [act(2, 3), act(3, 4)], [(4, 2)], equation="ij,jk->ki") == (
        Axes((Same(1), All())),
        Axes((All(), Same(0))),
    )


def test_formulas():
    spec, call = canonical("onnx:Gemm", [act(7, 2048), par(1000, 2048)], [(7, 1000)], transB=1)
    assert (spec.formula(call).symbols, spec.formula(call).numbers) == ("O(B·C_in·C_out)", "7·2048·1000")
    spec, call = canonical("onnx:MatMul", [act(2, 1, 4, 8), act(3, 8, 5)], [(2, 3, 4, 5)])
    assert (spec.formula(call).symbols, spec.formula(call).numbers) == ("O(B·M·K·N)", "6·4·8·5")
    spec, call = canonical("onnx:Einsum", [act(2, 3), act(3, 4)], [(2, 4)], equation="ij,jk->ik")
    assert (spec.formula(call).symbols, spec.formula(call).numbers) == ("O(i·j·k)", "2·3·4")
