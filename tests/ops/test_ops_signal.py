"""Work of resizing, sampling, transforms, random numbers and classical models: worked by hand."""

import pytest
from calls import act, canonical, const

from cnnprof.ir.tensor import Role, Tensor
from cnnprof.ops.window import DataDependent
from cnnprof.ops.work import Work


def floats(*values):
    return Tensor("s", (len(values),), role=Role.CONSTANT, numbers=values)


IMAGE = [act(1, 1, 2, 2)]
TWICE = [None, floats(1.0, 1.0, 2.0, 2.0)]
LARGE = [(1, 1, 4, 4)]

CASES = [
    # 16 outputs: 3 lerps of 2 add, 1 mul; 5 cubics of 4 mul, 3 add; nearest nothing
    ("resize", "onnx:Resize", [*IMAGE, *TWICE], LARGE, {"mode": "linear"}, Work(add=96, mul=48)),
    ("resize", "onnx:Resize", [*IMAGE, *TWICE], LARGE, {"mode": "cubic"}, Work(add=240, mul=320)),
    ("resize", "onnx:Resize", [*IMAGE, *TWICE], LARGE, {"mode": "nearest"}, Work()),
    # one axis changes: a lerp each
    (
        "resize",
        "onnx:Resize",
        [*IMAGE, None, floats(1.0, 1.0, 1.0, 2.0)],
        [(1, 1, 2, 4)],
        {"mode": "linear"},
        Work(add=16, mul=8),
    ),
    (
        "resize",
        "aten:upsample_trilinear3d",
        [act(1, 1, 2, 2, 2)],
        [(1, 1, 4, 4, 4)],
        {"output_size": [4, 4, 4], "align_corners": False},
        Work(add=896, mul=448),  # 64 outputs · 7 lerps
    ),
    # halved with a kernel twice as wide: 4 taps inside, 3 at either border; columns 8 -> 4 in 8 rows, then rows
    # taps of 8 -> 4: 3 + 4 + 4 + 3 = 14; mul 14·8 + 14·4, add 10·8 + 10·4
    (
        "resize",
        "aten:_upsample_bilinear2d_aa",
        [act(1, 1, 8, 8)],
        [(1, 1, 4, 4)],
        {"output_size": [4, 4], "align_corners": False},
        Work(mul=168, add=120),
    ),
    # 12 points · (2 mul, 4 add, 2 cmp), 24 outputs · 3 lerps
    (
        "grid_sample",
        "onnx:GridSample",
        [act(1, 2, 5, 5), act(1, 3, 4, 2)],
        [(1, 2, 3, 4)],
        {"mode": "linear"},
        Work(add=192, mul=96, cmp=24),
    ),
    (
        "grid_sample",
        "aten:grid_sampler_2d",
        [act(1, 2, 5, 5), act(1, 3, 4, 2)],
        [(1, 2, 3, 4)],
        {"interpolation_mode": 1},
        Work(add=24, mul=24, cmp=24),
    ),
    # 24 coordinates: 2 MACs and a shift
    ("affine_grid", "onnx:AffineGrid", [act(1, 2, 3), act(4)], [(1, 3, 4, 2)], {}, Work(mac=48, add=24)),
    # 3 boxes · 2 channels · 2·2 · 3 lerps
    (
        "crop_and_resize",
        "com.microsoft:CropAndResize",
        [act(1, 2, 8, 8), act(3, 4), act(3), const(2, value=(2, 2))],
        [(3, 2, 2, 2)],
        {},
        Work(add=144, mul=72),
    ),
    # 4·5 pairs, 3 features: subtract, square and add, a root
    (
        "cdist",
        "aten:_cdist_forward",
        [act(4, 3), act(5, 3)],
        [(4, 5)],
        {"p": 2.0},
        Work(mac=60, add=60, transcendental=20),
    ),
    ("cdist", "aten:_cdist_forward", [act(4, 3), act(5, 3)], [(4, 5)], {"p": 1.0}, Work(add=120, cmp=60)),
    ("cdist", "com.microsoft:CDist", [act(4, 3), act(5, 3)], [(4, 5)], {}, Work(mac=60, add=60)),
    # 8 points: 4·3 butterflies of 4 mul, 6 add, in 2 rows; a real signal half
    ("dft", "onnx:DFT", [act(2, 8, 2)], [(2, 8, 2)], {"axis": 1}, Work(mul=96, add=144)),
    ("dft", "onnx:DFT", [act(2, 8, 1)], [(2, 8, 2)], {"axis": 1}, Work(mul=48, add=72)),
    # 3 frames of 8: the window, then 6 butterflies
    (
        "stft",
        "onnx:STFT",
        [act(1, 16, 1), const(value=(4,)), act(8)],
        [(1, 3, 5, 2)],
        {},
        Work(mul=96, add=108),
    ),
    # 4 rows of 8 · 12, then 8 columns of 4 · 4 butterflies
    ("fft", "aten:_fft_c2c", [act(4, 8)], [(4, 8)], {"dim": [0, 1]}, Work(mul=320, add=480)),
    ("fft_real", "aten:_fft_r2c", [act(2, 8)], [(2, 5)], {"dim": [1]}, Work(mul=48, add=72)),
    # w = a − b·cos(c·n); Blackman two cosines
    ("cosine_window", "onnx:HannWindow", [const(value=(10,))], [(10,)], {}, Work(mul=10, add=10, transcendental=10)),
    (
        "blackman_window",
        "onnx:BlackmanWindow",
        [const(value=(10,))],
        [(10,)],
        {},
        Work(mul=20, add=20, transcendental=20),
    ),
    ("mel_weight_matrix", "onnx:MelWeightMatrix", [act()] * 5, [(9, 4)], {}, Work(add=72, div=72, cmp=72)),
    # 3x3: 2·2 + 1·1 MACs and 2 + 1 divisions below the pivots; the product of three
    ("determinant", "onnx:Det", [act(3, 3)], [()], {}, Work(mac=5, div=3, mul=2)),
    # each of 4 pivots divides a row of 4 and clears 3 others: 16 divisions, 48 MACs; 5 matrices
    ("inverse", "aten:linalg_inv_ex", [act(5, 4, 4)], [(5, 4, 4)], {}, Work(mac=240, div=80)),
    # generators
    ("constant", "onnx:Constant", [], [(3,)], {}, Work()),
    ("fill", "onnx:ConstantOfShape", [const(2, value=(3, 4))], [(3, 4)], {}, Work()),
    ("fill", "aten:zero_", [act(3, 4)], [(3, 4)], {}, Work()),
    ("range", "onnx:Range", [floats(0.0), floats(10.0), floats(3.0)], [(4,)], {}, Work()),
    ("range", "com.microsoft:Range", [floats(1.0), floats(7.0)], [(6,)], {}, Work()),
    ("eye", "onnx:EyeLike", [act(3, 3)], [(3, 3)], {}, Work()),
    ("random_uniform", "onnx:RandomUniform", [], [(10,)], {"shape": (10,)}, Work(mul=10, add=10)),
    ("random_normal", "aten:normal_", [act(10)], [(10,)], {}, Work(mul=10, add=10, transcendental=10)),
    ("bernoulli", "onnx:Bernoulli", [act(10)], [(10,)], {}, Work(cmp=10)),
    # 2 rows of 7 classes: 14 sums; 6 draws through 7 classes: 3 comparisons
    ("multinomial", "onnx:Multinomial", [act(2, 7)], [(2, 3)], {"sample_size": 3}, Work(add=14, cmp=18)),
    ("item", "aten:_local_scalar_dense", [act()], [], {}, Work()),
    ("check", "aten:sym_size.int", [act(2)], [], {}, Work()),
    ("set_storage", "aten:resize_", [act(2)], [(4,)], {}, Work()),
    # classical models: 4 rows of 3 features
    ("binarizer", "ai.onnx.ml:Binarizer", [act(4, 3)], [(4, 3)], {}, Work(cmp=12)),
    ("imputer", "ai.onnx.ml:Imputer", [act(4, 3)], [(4, 3)], {}, Work(cmp=12)),
    ("scaler", "ai.onnx.ml:Scaler", [act(4, 3)], [(4, 3)], {}, Work(add=12, mul=12)),
    # squares 12, sums 4·2, roots 4, divisions 12; MAX: 12 absolute values, 4·2 comparisons
    (
        "normalizer",
        "ai.onnx.ml:Normalizer",
        [act(4, 3)],
        [(4, 3)],
        {"norm": "L2"},
        Work(mul=12, add=8, transcendental=4, div=12),
    ),
    ("normalizer", "ai.onnx.ml:Normalizer", [act(4, 3)], [(4, 3)], {"norm": "MAX"}, Work(cmp=20, div=12)),
    # 2 scores with intercepts, a logistic each
    (
        "linear_model",
        "ai.onnx.ml:LinearClassifier",
        [act(4, 3)],
        [(4,), (4, 2)],
        {"coefficients": (1.0,) * 6, "intercepts": (0.0, 0.0), "post_transform": "LOGISTIC"},
        Work(mac=24, add=8, transcendental=8),
    ),
    # 5 vectors, 20 kernel values: 3 MACs, 3 subtractions, a scale and an exponential each; 20 MACs of votes
    (
        "support_vector_machine",
        "ai.onnx.ml:SVMRegressor",
        [act(4, 3)],
        [(4, 1)],
        {"support_vectors": (1.0,) * 15, "kernel_type": "RBF", "rho": (0.5,)},
        Work(mac=80, add=64, mul=20, transcendental=20),
    ),
    ("feature_lookup", "ai.onnx.ml:LabelEncoder", [act(4)], [(4,)], {}, Work()),
]


@pytest.mark.parametrize(("kind", "name", "inputs", "outputs", "attributes", "expected"), CASES)
def test_work(*, kind, name, inputs, outputs, attributes, expected):
    spec, call = canonical(name, inputs, outputs, **attributes)
    assert spec.kind == kind
    assert spec.work(call) == expected


def test_a_crop_to_an_unknown_region_reads_what_the_data_says():
    inputs = [act(1, 1, 4, 4), act(8), None, const(4, value=(1, 1, 3, 3))]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    spec, call = canonical("onnx:Resize", inputs, [(1, 1, 3, 3)], **attributes)
    assert spec.window(call, 0)[0] == DataDependent()
    assert spec.work(call) == Work(add=54, mul=27)  # 9 outputs · 3 lerps: two axes change all the same
