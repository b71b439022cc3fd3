"""Operators that trade channels for space, roll, flip, repeat or mask positions.

Nothing is computed. All pull-backs are exact: pixel shuffles are reshape, transpose, reshape.

Canonical attributes: depth_to_space ``block``, ``mode`` (CRD = pixel_shuffle, or DCR); space_to_depth
``block``, ``mode`` (CRD = pixel_unshuffle: channel outermost; DCR = ONNX: block outermost).
"""

from __future__ import annotations

import math
from typing import Any

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, microsoft, moving, onnx
from cnnprof.ops.relations import first_only, rearranged, replaced, same
from cnnprof.ops.rules import same_shape
from cnnprof.ops.spec import Call, OpSpec, UncountableError
from cnnprof.ops.window import Axes, AxisMap, Chain, Lookup, Relation, Reshape, Same, Slide

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]
Shapes = tuple[Shape | None, ...]


# -- pixel shuffles ----------------------------------------------------------------------------------------


def _block(mode: str | None) -> Any:
    def normalise(call: Call) -> Call:
        block = call.get("blocksize", call.get("upscale_factor", call.get("downscale_factor")))
        if not block:
            raise UncountableError(f"{call.op_type} has no block size")
        return call.with_attributes({"block": block, "mode": mode or call.get("mode", "DCR")})

    return normalise


def _depth_to_space_shapes(call: Call) -> Shapes:
    *lead, channels, height, width = call.shape(0)
    b = call.attr("block")
    return ((*lead, channels // b**2, height * b, width * b),)


def _depth_to_space_window(call: Call, _output: int) -> Relations:
    *lead, channels, height, width = call.shape(0)
    b, n = call.attr("block"), math.prod(lead)
    (after,) = _depth_to_space_shapes(call)
    assert after is not None
    if call.attr("mode") == "CRD":
        split, perm = (n, channels // b**2, b, b, height, width), (0, 1, 4, 2, 5, 3)
    else:
        split, perm = (n, b, b, channels // b**2, height, width), (0, 3, 4, 1, 5, 2)
    return first_only(call, rearranged(call.shape(0), split, perm, after))


def _space_to_depth_shapes(call: Call) -> Shapes:
    *lead, channels, height, width = call.shape(0)
    b = call.attr("block")
    return ((*lead, channels * b**2, height // b, width // b),)


def _space_to_depth_window(call: Call, _output: int) -> Relations:
    *lead, channels, height, width = call.shape(0)
    b, n = call.attr("block"), math.prod(lead)
    (after,) = _space_to_depth_shapes(call)
    assert after is not None
    split = (n, channels, height // b, b, width // b, b)
    perm = (0, 1, 3, 5, 2, 4) if call.attr("mode") == "CRD" else (0, 3, 5, 1, 2, 4)
    return first_only(call, rearranged(call.shape(0), split, perm, after))


def _channel_shuffle_window(call: Call, _output: int) -> Relations:
    shape, groups = call.shape(0), call.get("groups", 1)
    batch, channels, rest = shape[0], shape[1], math.prod(shape[2:])
    return first_only(call, rearranged(shape, (batch, groups, channels // groups, rest), (0, 2, 1, 3), shape))


# -- roll, flip, repeat, diagonal, triangle ----------------------------------------------------------------


def _roll_window(call: Call, _output: int) -> Relations:
    shape, dims, shifts = call.shape(0), _ints(call, "dims"), _ints(call, "shifts")
    if not dims:  # rolled as one flat axis
        n = math.prod(shape)
        table = tuple(((o - shifts[0]) % n,) for o in range(n))
        return first_only(call, Chain((Reshape((n,), shape), Axes((Lookup(0, table),)), Reshape(shape, (n,)))))
    total: dict[int, int] = {}
    for dim, shift in zip(dims, shifts, strict=True):
        axis = axis_of(dim, len(shape))
        total[axis] = total.get(axis, 0) + shift
    tables: dict[int, AxisMap] = {
        axis: Lookup(axis, tuple(((o - shift) % shape[axis],) for o in range(shape[axis])))
        for axis, shift in total.items()
    }
    return first_only(call, replaced(len(shape), tables))


def _ints(call: Call, name: str) -> tuple[int, ...]:
    value = call.get(name, ())
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _flip_axes(call: Call) -> Call:
    rank = len(call.shape(0))
    fixed = {"aten:fliplr": (1,), "aten:flipud": (0,)}.get(call.op_type.split(".")[0])
    dims = fixed if fixed is not None else _ints(call, "dims")
    return call.with_attributes({"axes": tuple(sorted(axis_of(a, rank) for a in dims))})


def _flip_window(call: Call, _output: int) -> Relations:
    shape = call.shape(0)
    maps: dict[int, AxisMap] = {axis: Slide(axis, stride=-1, pad=1 - shape[axis]) for axis in call.attr("axes")}
    return first_only(call, replaced(len(shape), maps))


def _repeats_known(call: Call) -> bool:
    return isinstance(call.get("repeats"), int)


def _repeat_interleave_window(call: Call, _output: int) -> Relations:
    shape, times = call.shape(0), call.attr("repeats")
    dim = call.get("dim")
    if dim is None:
        n = math.prod(shape)
        table = tuple((o // times,) for o in range(n * times))
        return first_only(call, Chain((Axes((Lookup(0, table),)), Reshape(shape, (n,)))))
    axis = axis_of(dim, len(shape))
    table = tuple((o // times,) for o in range(shape[axis] * times))
    return first_only(call, replaced(len(shape), {axis: Lookup(axis, table)}))


def _diagonal_window(call: Call, output: int) -> Relations:
    """Output (…, o) reads (o, o + offset) on the two axes; they leave, o comes last."""
    rank, offset = len(call.shape(0)), call.get("offset", 0)
    first, second = axis_of(call.get("dim1", 0), rank), axis_of(call.get("dim2", 1), rank)
    last = len(call.out_shape(output)) - 1
    kept = iter(range(last))
    maps: list[AxisMap] = []
    for axis in range(rank):
        if axis == first:
            maps.append(Slide(last, pad=min(offset, 0)))
        elif axis == second:
            maps.append(Slide(last, pad=-max(offset, 0)))
        else:
            maps.append(Same(next(kept)))
    return first_only(call, Axes(tuple(maps)))


def _embed(call: Call) -> Call:
    rank = len(call.shape(0)) + 1
    first, second = axis_of(call.get("dim1", -2), rank), axis_of(call.get("dim2", -1), rank)
    return call.with_attributes({"axes": (first, second), "offset": call.get("offset", 0)})


def _embed_window(call: Call, _output: int) -> Relations:
    """The last axis is laid along a diagonal: entry i at (i, i + offset), read where either index says so."""
    (first, _), offset, rank = call.attr("axes"), call.attr("offset"), len(call.shape(0)) + 1
    kept = [axis for axis in range(rank) if axis not in call.attr("axes")]
    return first_only(call, Axes((*map(Same, kept), Slide(first, pad=max(0, -offset)))))


def _embed_shapes(call: Call) -> Shapes:
    *lead, size = call.shape(0)
    side = size + abs(call.attr("offset"))
    return (tuple(_with_sides(lead, call.attr("axes"), side)),)


def _with_sides(lead: list[int], axes: tuple[int, int], side: int) -> list[int]:
    rest = iter(lead)
    return [side if axis in axes else next(rest) for axis in range(len(lead) + 2)]


def _in_place_window(call: Call, _output: int) -> Relations:
    return first_only(call, same(len(call.shape(0))))


SPECS: tuple[OpSpec, ...] = (
    moving(
        "depth_to_space",
        _depth_to_space_window,
        onnx("DepthToSpace", _block(None)),
        aten("pixel_shuffle", _block("CRD")),
        shapes=_depth_to_space_shapes,
    ),
    moving(
        "space_to_depth",
        _space_to_depth_window,
        onnx("SpaceToDepth", _block("DCR")),
        aten("pixel_unshuffle", _block("CRD")),
        shapes=_space_to_depth_shapes,
    ),
    moving(
        "channel_shuffle",
        _channel_shuffle_window,
        aten("channel_shuffle native_channel_shuffle"),
        shapes=same_shape,
    ),
    moving("roll", _roll_window, aten("roll"), shapes=same_shape),
    moving("flip", _flip_window, aten("flip fliplr flipud", _flip_axes), shapes=same_shape),
    moving(
        "repeat_interleave",
        _repeat_interleave_window,
        aten("repeat_interleave", None, _repeats_known),
    ),
    moving("diagonal", _diagonal_window, aten("diagonal diagonal_copy")),
    moving("diagonal_embed", _embed_window, aten("diag_embed", _embed), shapes=_embed_shapes),
    moving("triangle", _in_place_window, onnx("Trilu"), microsoft("Trilu"), aten("tril triu"), shapes=same_shape),
)
