"""Resizing: nearest, linear, cubic; antialiased or not; every ONNX coordinate mode, and ATen's upsample_*.

Work: only axes that change are interpolated, n of them. Nearest costs nothing. Linear is 2ⁿ − 1 lerps an
output (subtract, multiply, add). Cubic is (4ⁿ − 1)/3 interpolations of four taps, each 4 mul + 3 add.
Antialiased kernels run axis by axis, last axis first: taps mul + (taps − 1) add for every element of each
pass. Weights depend only on the position along an axis; computing them is not counted.

Where the region of tf_crop_and_resize isn't known, an axis that keeps its size counts as untouched.

Canonical attributes: ``mode``, ``coordinate``, ``scales`` and ``sizes`` (of the output), one per axis of the
tensor, and where they matter ``nearest_mode``, ``cubic_a``, ``antialias``, ``exclude_outside``, ``roi``.
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Role, Shape
from cnnprof.ops.interpolation import COORDINATES, NEAREST_MODES, AxisResize, single, table
from cnnprof.ops.naming import aten, axis_of, onnx
from cnnprof.ops.relations import first_only
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, Normalise, OpSpec, UncountableError
from cnnprof.ops.window import Axes, AxisMap, DataDependent, Lookup, Relation, Same
from cnnprof.ops.work import NO_WORK, Work

__all__ = ["SPECS", "resized_axes"]

LERP = Work(add=2, mul=1)
CUBIC = Work(mul=4, add=3)


# -- rules --------------------------------------------------------------------------------------------------


def resized_axes(call: Call) -> tuple[AxisResize, ...]:
    """Every axis of the input as :mod:`~cnnprof.ops.interpolation` sees it."""
    if "sizes" not in call.attributes:
        raise UncountableError(f"{call.op_type}: neither the scales nor the sizes are known")
    torch, nearest = call.op_type.startswith("aten:"), call.attr("mode") == "nearest"
    rois = call.get("roi") or (None,) * len(call.shape(0))
    return tuple(
        AxisResize(
            size=size,
            out=out,
            scale=scale,
            mode=call.attr("mode"),
            coordinate=call.attr("coordinate"),
            nearest_mode=call.get("nearest_mode", "floor"),
            ratio=(single(1 / scale) if nearest else 1 / scale) if torch else None,
            exclude_outside=call.get("exclude_outside", False),
            antialias=call.get("antialias", False),
            roi=roi,
        )
        for size, out, scale, roi in zip(call.shape(0), call.attr("sizes"), call.attr("scales"), rois, strict=True)
    )


def _work(call: Call) -> Work:
    mode = call.attr("mode")
    if mode == "nearest":
        return NO_WORK
    changed = [(i, axis) for i, axis in enumerate(resized_axes(call)) if not axis.is_identity]
    if not call.get("antialias", False):
        n = len(changed)
        unit: Work = LERP * int(2**n - 1) if mode == "linear" else CUBIC * int((4**n - 1) // 3)
        return unit * int(math.prod(call.attr("sizes")))
    shape, total = list(call.shape(0)), NO_WORK
    for index, axis in reversed(changed):
        shape[index] = axis.out
        taps = [len(row) for row in table(axis)]
        rows = math.prod(shape) // axis.out if axis.out else 0
        total += Work(mul=sum(taps), add=sum(max(0, t - 1) for t in taps)) * rows
    return total


def _window(call: Call, _output: int) -> tuple[Relation | None, ...]:
    unknown_region = call.get("coordinate") == "tf_crop_and_resize" and "roi" not in call.attributes
    if "sizes" not in call.attributes or unknown_region:
        return first_only(call, DataDependent())
    maps: tuple[AxisMap, ...] = tuple(
        Same(i) if axis.is_identity else Lookup(i, table(axis)) for i, axis in enumerate(resized_axes(call))
    )
    return first_only(call, Axes(maps))


def _shapes(call: Call) -> tuple[Shape | None, ...]:
    return (call.get("sizes"),)


# -- ONNX ---------------------------------------------------------------------------------------------------


def _spread(values: tuple[Any, ...], axes: tuple[int, ...], rank: int, default: Any) -> tuple[Any, ...]:
    full = [default] * rank
    for axis, value in zip(axes, values, strict=True):
        full[axis] = value
    return tuple(full)


def _known_out(call: Call) -> Shape | None:
    tensor = call.outputs[0] if call.outputs else None
    return None if tensor is None else tensor.shape


def _keep_aspect(call: Call, sizes: Shape, axes: tuple[int, ...], policy: str) -> tuple[Shape, float]:
    """Output sizes along ``axes`` and the one scale they share."""
    shape = call.shape(0)
    ratios = [size / shape[axis] for size, axis in zip(sizes, axes, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return tuple(math.floor(scale * shape[axis] + 0.5) for axis in axes), scale


def _extents(call: Call, axes: tuple[int, ...], rois: tuple[Any, ...], coordinate: str) -> tuple[Any, Any]:
    """(scales, sizes) per axis of the tensor, from whichever of the two the node gives."""
    shape = call.shape(0)
    rank = len(shape)
    legacy = len(call.inputs) == 2 or call.get("scales") is not None  # Upsample, Resize-10: (X, scales)
    scales = call.get("scales") or call.numbers(1 if legacy else 2)
    sizes = None if legacy else call.value(3)
    if sizes:
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            kept, scale = _keep_aspect(call, sizes, axes, policy)
            return _spread((scale,) * len(axes), axes, rank, 1.0), _spread(kept, axes, rank, None)
        ratios = tuple(s / shape[a] if shape[a] else 1.0 for s, a in zip(sizes, axes, strict=True))
        return _spread(ratios, axes, rank, 1.0), _spread(sizes, axes, rank, None)
    if scales and (coordinate != "tf_crop_and_resize" or None not in rois):
        full = tuple(single(s) for s in _spread(tuple(scales), axes, rank, 1.0))
        widths = tuple(1.0 if roi is None else roi[1] - roi[0] for roi in rois)
        return full, tuple(math.floor(single(single(d * w) * s)) for d, w, s in zip(shape, widths, full, strict=True))
    out = _known_out(call)
    if out is None:
        return None, None
    return tuple(o / d if d else 1.0 for o, d in zip(out, shape, strict=True)), out


def _roi(call: Call, axes: tuple[int, ...], coordinate: str) -> tuple[Any, ...]:
    rank = len(call.shape(0))
    if coordinate != "tf_crop_and_resize":
        return (None,) * rank
    flat = call.numbers(1)
    if not flat:
        return (None,) * rank
    half = len(flat) // 2
    return _spread(tuple(zip(flat[:half], flat[half:], strict=True)), axes, rank, (0.0, 1.0))


def _from_onnx(call: Call) -> Call:
    shape = call.shape(0)
    mode = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(
        call.get("mode", "nearest"), call.get("mode", "nearest")
    )
    legacy = call.op_type.startswith("onnx:Upsample") or 0 < call.opset < 11
    coordinate = call.get("coordinate_transformation_mode", "asymmetric" if legacy else "half_pixel")
    nearest_mode = call.get("nearest_mode", "floor" if legacy else "round_prefer_floor")
    axes = call.get("axes")
    axes = tuple(range(len(shape))) if axes is None else tuple(axis_of(a, len(shape)) for a in axes)
    if coordinate not in COORDINATES or nearest_mode not in NEAREST_MODES or mode not in _MODES:
        raise UncountableError(f"{call.op_type}: unknown mode {mode!r}, {coordinate!r} or {nearest_mode!r}")
    attributes: dict[str, Any] = {"mode": mode, "coordinate": coordinate}
    rois = _roi(call, axes, coordinate)
    scales, sizes = _extents(call, axes, rois, coordinate)
    if sizes is not None:
        sizes = tuple(d if s is None else s for s, d in zip(sizes, shape, strict=True))
        out = _known_out(call)
        attributes |= {"scales": scales, "sizes": out if out is not None else sizes}
        if coordinate == "pytorch_half_pixel" and 1 not in attributes["sizes"]:
            attributes["coordinate"] = "half_pixel"  # the same, but for outputs of size 1
    if mode == "nearest":
        attributes["nearest_mode"] = nearest_mode
    if mode == "cubic":
        attributes["cubic_a"] = call.get("cubic_coeff_a", -0.75)
    attributes |= {name: True for name in ("antialias", "exclude_outside") if call.get(name, 0)}
    if coordinate == "tf_crop_and_resize" and None not in rois:
        attributes["roi"] = rois
    return call.with_attributes(attributes)


_MODES = ("nearest", "linear", "cubic")


# -- ATen ---------------------------------------------------------------------------------------------------


def _aten_scales(call: Call, sizes: Shape, rank: int) -> tuple[float, ...]:
    """Scale factors where given (``scale_factors``, or ``scales`` / ``scales_d/h/w``), else output/input."""
    shape = call.shape(0)[-rank:]
    factors = call.get("scale_factors")
    if factors is None:
        names = ("scales",) if rank == 1 else ("scales_d", "scales_h", "scales_w")[-rank:]
        factors = [call.get(name) for name in names]
    return tuple(
        float(factor) if factor else out / size for factor, out, size in zip(factors, sizes, shape, strict=True)
    )


def _scaled(size: int, factor: float) -> int:
    return int(size * factor)


def _from_aten(mode: str, coordinate: str, nearest_mode: str | None = None, **others: Any) -> Normalise:
    def normalise(call: Call) -> Call:
        shape = call.shape(0)
        out = _known_out(call)
        sizes = call.get("output_size")
        rank = len(sizes) if sizes else len(call.get("scale_factors") or shape[2:])
        if not sizes:
            factors = call.get("scale_factors")
            if out is None and not factors:
                raise UncountableError(f"{call.op_type}: the output's size is not known")
            sizes = out[-rank:] if out is not None else tuple(map(_scaled, shape[-rank:], factors))
        scales: tuple[float, ...] = _aten_scales(call, tuple(sizes), rank)
        place = coordinate
        if call.get("align_corners", False):
            place = "antialias_align_corners" if others.get("antialias") else "align_corners"
            scales = tuple(o / d for o, d in zip(sizes, shape[-rank:], strict=True))
        attributes = {
            "mode": mode,
            "coordinate": place,
            "scales": (1.0,) * (len(shape) - rank) + scales,
            "sizes": (*shape[:-rank], *sizes),
            **others,
        }
        return call.with_attributes(attributes | ({"nearest_mode": nearest_mode} if nearest_mode else {}))

    return normalise


SPECS: tuple[OpSpec, ...] = (
    OpSpec(
        kind="resize",
        roles={1: Role.CONSTANT, 2: Role.CONSTANT, 3: Role.CONSTANT},  # region, scales, sizes
        work=_work,
        formula=linear_formula,
        window=_window,
        shapes=_shapes,
        spellings=(
            *onnx("Resize Upsample", _from_onnx),
            *aten(
                "upsample_nearest1d upsample_nearest2d upsample_nearest3d",
                _from_aten("nearest", "asymmetric", "floor"),
            ),
            *aten(
                "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d",
                _from_aten("nearest", "tf_half_pixel_for_nn", "floor"),
            ),
            *aten(
                "upsample_linear1d upsample_bilinear2d upsample_trilinear3d",
                _from_aten("linear", "half_pixel"),
            ),
            *aten("upsample_bicubic2d", _from_aten("cubic", "half_pixel", cubic_a=-0.75)),
            *aten("_upsample_bilinear2d_aa", _from_aten("linear", "half_pixel", antialias=True)),
            *aten("_upsample_lanczos2d_aa", _from_aten("lanczos", "half_pixel", antialias=True)),
            *aten("_upsample_bicubic2d_aa", _from_aten("cubic", "half_pixel", antialias=True, cubic_a=-0.5)),
        ),
    ),
)
