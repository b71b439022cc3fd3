"""Which input positions a resize reads along one axis, exactly, for every mode there is.

Coordinates are ONNX's ``coordinate_transformation_mode``s (torch's are among them). A nearest-neighbour index
is computed in single precision with the same operations as the runtimes use (ONNX divides by the scale,
torch multiplies by its inverse), because there a rounding decides which pixel is read. For linear
and cubic a tap counts unless its distance is a zero of the kernel, to within the rounding of a coordinate.

Sources: the ONNX Resize specification; ATen's UpSample kernels; Keys 1981 for the cubic kernel; with
antialiasing Pillow's resampling, which both follow (the kernel widened by the reduction factor; torch cuts it at
the border, ONNX repeats the border unless outside is excluded).

Where runtimes differ, ONNX's reference evaluator decides. onnxruntime puts the one output of 3 → 1 with
half_pixel_symmetric at a hair below 1 and floors it to 0; the specification's formula gives 1 exactly, as here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["COORDINATES", "NEAREST_MODES", "AxisResize", "single", "table"]

_ROUNDING = 2e-5


def single(value: float) -> float:
    """``value`` rounded to single precision."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


@dataclass(frozen=True, slots=True)
class AxisResize:
    """One axis of a resize. ``scale`` = output steps per input step; ``ratio`` = its inverse where torch
    multiplies by that; ``roi`` = (start, end) of the crop, normalised, for tf_crop_and_resize."""

    size: int
    out: int
    scale: float
    mode: str = "nearest"
    coordinate: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    ratio: float | None = None
    exclude_outside: bool = False
    antialias: bool = False
    roi: tuple[float, float] | None = None

    @property
    def is_identity(self) -> bool:
        return self.size == self.out and self.scale == 1 and self.roi in (None, (0.0, 1.0))


# -- coordinates ---------------------------------------------------------------------------------------------

Rounding = Callable[[float], float]


def _step(axis: AxisResize, x: float, r: Rounding) -> float:
    return r(x * axis.ratio) if axis.ratio is not None else r(x / axis.scale)


def _half_pixel(axis: AxisResize, o: int, r: Rounding) -> float:
    return r(_step(axis, o + 0.5, r) - 0.5)


def _half_pixel_symmetric(axis: AxisResize, o: int, r: Rounding) -> float:
    adjustment = r(axis.out / r(axis.scale * axis.size))
    offset = r(axis.size / 2 * r(1 - adjustment))
    return r(offset + _half_pixel(axis, o, r))


def _pytorch_half_pixel(axis: AxisResize, o: int, r: Rounding) -> float:
    return _half_pixel(axis, o, r) if axis.out > 1 else 0.0


def _align_corners(axis: AxisResize, o: int, r: Rounding) -> float:
    return r(o * (axis.size - 1) / (axis.out - 1)) if axis.out > 1 else 0.0


def _asymmetric(axis: AxisResize, o: int, r: Rounding) -> float:
    return _step(axis, o, r)


def _tf_half_pixel(axis: AxisResize, o: int, r: Rounding) -> float:
    return _step(axis, o + 0.5, r)


def _tf_crop(axis: AxisResize, o: int, r: Rounding) -> float:
    start, end = axis.roi or (0.0, 1.0)
    last = axis.size - 1
    if axis.out == 1:
        return r(0.5 * (start + end) * last)
    return r(r(start * last) + r(r(o * r(r(end - start) * last)) / (axis.out - 1)))


def _aa_align_corners(axis: AxisResize, o: int, r: Rounding) -> float:
    """ATen's antialiased kernels put the centre at ratio·(o + ½) whatever align_corners says."""
    ratio = (axis.size - 1) / (axis.out - 1) if axis.out > 1 else 0.0
    return r(ratio * (o + 0.5) - 0.5)


COORDINATES: dict[str, Callable[[AxisResize, int, Rounding], float]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_half_pixel_for_nn": _tf_half_pixel,
    "tf_crop_and_resize": _tf_crop,
    "antialias_align_corners": _aa_align_corners,
}

NEAREST_MODES: dict[str, Callable[[float], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
}


# -- kernels: the distances at which they vanish; beyond the last they are zero -----------------------

_ZEROS = {"linear": (1.0,), "cubic": (1.0, 2.0), "lanczos": (1.0, 2.0, 3.0)}


def _reaches(mode: str, distance: float) -> bool:
    zeros = _ZEROS[mode]
    return distance < zeros[-1] and all(abs(distance - zero) > _ROUNDING for zero in zeros)


def _taps(axis: AxisResize, x: float) -> tuple[int, ...]:
    """Positions whose weight at coordinate ``x`` isn't zero; outside ones are the border's, or left out."""
    stretch = max(1.0, axis.ratio or 1 / axis.scale) if axis.antialias else 1.0
    last = axis.size - 1
    if axis.mode == "linear" and not axis.antialias:
        x = min(max(x, 0.0), float(last))
    reach = _ZEROS[axis.mode][-1] * stretch
    taps = [
        j for j in range(math.floor(x - reach), math.ceil(x + reach) + 1) if _reaches(axis.mode, abs(j - x) / stretch)
    ]
    if axis.exclude_outside or (axis.antialias and axis.ratio is not None):
        return tuple(j for j in taps if 0 <= j <= last)
    return tuple(sorted({min(max(j, 0), last) for j in taps}))


def _exact(value: float) -> float:
    return value


def _positions(axis: AxisResize, o: int) -> tuple[int, ...]:
    nearest = axis.mode == "nearest"
    x = COORDINATES[axis.coordinate](axis, o, single if nearest else _exact)
    if axis.coordinate == "tf_crop_and_resize" and not 0 <= x <= axis.size - 1:
        return ()  # extrapolated: a constant
    if nearest:
        return (min(max(NEAREST_MODES[axis.nearest_mode](x), 0), axis.size - 1),)
    return _taps(axis, x)


@lru_cache(maxsize=4096)
def table(axis: AxisResize) -> tuple[tuple[int, ...], ...]:
    """For each output position of the axis, the input positions it reads."""
    if axis.size == 0:
        return ((),) * axis.out
    return tuple(_positions(axis, o) for o in range(axis.out))
