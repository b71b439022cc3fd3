"""Sampling by coordinates: grid sample, affine grid, crop and resize; boxes; image decoding.

Grid sample, with n spatial axes: each sampling point scales its coordinates (mul and add an axis), rounds
them (cmp) and takes the fraction (add); each output element then costs 2ⁿ − 1 lerps of 3, or for cubic
(4ⁿ − 1)/3 interpolations of 4 mul + 3 add; nearest nothing. What suppressing boxes and decoding images costs
depends on data: they are known by name only.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, microsoft, onnx
from cnnprof.ops.relations import all_data, data_of, unpredictable
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, Formula, OpSpec, Spelling
from cnnprof.ops.window import All, Axes, AxisMap, DataDependent, Relation, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS", "grid_mode"]

Relations = tuple[Relation | None, ...]
Shapes = tuple[Shape | None, ...]
LERP = Work(add=2, mul=1)
CUBIC = Work(mul=4, add=3)


# -- grid sample -------------------------------------------------------------------------------------------

_MODES = {"bilinear": "linear", "bicubic": "cubic", 0: "linear", 1: "nearest", 2: "cubic"}


def grid_mode(call: Call) -> Call:
    """ONNX names the mode; ATen numbers it: 0 linear, 1 nearest, 2 cubic."""
    mode = call.get("mode", call.get("interpolation_mode", "linear"))
    return call.with_attributes({"mode": _MODES.get(mode, mode)})


def _grid_work(call: Call) -> Work:
    grid, mode = call.shape(1), call.attr("mode")
    n = grid[-1]
    points = Work(mul=n, add=2 * n, cmp=n) * math.prod(grid[:-1])
    if mode == "nearest":
        return Work(mul=n, add=n, cmp=n) * math.prod(grid[:-1])
    unit = LERP * int(2**n - 1) if mode == "linear" else CUBIC * int((4**n - 1) // 3)
    return points + unit * call.out_elements()


def _grid_window(call: Call, _output: int) -> Relations:
    data = data_of(call)
    rank = len(call.shape(0))
    maps: tuple[AxisMap, ...] = (Same(0), *(Same(axis) for axis in range(2, rank)), All())
    return (
        DataDependent() if 0 in data else None,
        Axes(maps) if 1 in data else None,
        *(None for _ in call.inputs[2:]),
    )


def _grid_shapes(call: Call) -> Shapes:
    return ((*call.shape(0)[:2], *call.shape(1)[1:-1]),)


# -- affine grid: every point a small matrix-vector product ---------------------------------------------


def _affine_work(call: Call) -> Work:
    n = call.shape(0)[1]  # theta (N, n, n + 1)
    return Work(mac=n, add=1) * call.out_elements()


def _affine_window(call: Call, _output: int) -> Relations:
    data = data_of(call)
    last = len(call.out_shape()) - 1
    return (Axes((Same(0), Same(last), All())) if 0 in data else None, *(None for _ in call.inputs[1:]))


def _affine_shapes(call: Call) -> Shapes:
    size = call.get("size") or call.value(1)
    return (None,) if size is None else ((size[0], *size[2:], len(size) - 2),)


# -- regions ---------------------------------------------------------------------------------------------


def _crop_work(call: Call) -> Work:
    mode = call.get("mode", "bilinear")
    return LERP * 3 * call.out_elements() if mode == "bilinear" else Work()


def _crop_shapes(call: Call) -> Shapes:
    size = call.value(3)
    return (None,) if size is None else ((call.shape(1)[0], call.shape(0)[1], *size),)


def _cdist_work(call: Call) -> Work:
    """Every pair of rows: a subtraction and a MAC (p = 2) or an absolute value and an addition a feature."""
    features = call.shape(0)[-1]
    if call.get("p", 2.0) == 2.0:
        root = 1 if call.get("root", True) else 0
        return Work(add=features, mac=features, transcendental=root) * call.out_elements()
    return Work(add=2 * features, cmp=features) * call.out_elements()


def _metric(call: Call) -> Call:
    return call.with_attributes({"root": call.get("metric", "sqeuclidean") == "euclidean"})


def _cdist_formula(call: Call) -> Formula:
    return Formula("O(P·R·M)", f"{call.out_elements()}·{call.shape(0)[-1]}")


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="grid_sample",
        work=_grid_work,
        formula=linear_formula,
        window=_grid_window,
        shapes=_grid_shapes,
        spellings=(
            *onnx("GridSample", grid_mode),
            *microsoft("GridSample", grid_mode),
            *aten("grid_sampler grid_sampler_2d grid_sampler_3d _grid_sampler_2d_cpu_fallback", grid_mode),
        ),
    ),
    OpSpec(
        kind="affine_grid",
        work=_affine_work,
        formula=linear_formula,
        window=_affine_window,
        shapes=_affine_shapes,
        spellings=(*onnx("AffineGrid"), *aten("affine_grid_generator")),
    ),
    OpSpec(
        kind="crop_and_resize",
        work=_crop_work,
        formula=linear_formula,
        window=unpredictable,
        shapes=_crop_shapes,
        spellings=microsoft("CropAndResize"),
    ),
    OpSpec(
        kind="cdist",
        work=_cdist_work,
        formula=_cdist_formula,
        window=all_data,
        mac_operator=True,
        spellings=(*microsoft("CDist", _metric), *aten("cdist _cdist_forward _euclidean_dist")),
    ),
    OpSpec(
        kind="non_max_suppression",
        work=None,
        window=unpredictable,
        spellings=(*onnx("NonMaxSuppression"), Spelling("torchvision:nms"), *aten("nms")),
    ),
    OpSpec(kind="image_decoder", work=None, window=unpredictable, spellings=onnx("ImageDecoder")),
    OpSpec(  # generation loops around a whole decoder subgraph: how often it runs depends on data
        kind="text_generation",
        work=None,
        window=unpredictable,
        spellings=microsoft("BeamSearch GreedySearch Sampling WhisperBeamSearch NGramRepeatBlock"),
    ),
)
