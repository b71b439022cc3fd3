"""Windows slid out of a tensor, and folded back: ``Tensor.unfold``, im2col, col2im.

Nothing is computed, except that ``col2im`` adds up what overlaps. All pull-backs are exact: positions are looked
up on a merged (window, tap) axis.

Canonical attributes of im2col and col2im, per spatial axis: ``kernel``, ``stride``, ``dilation``, ``padding``
((before, after) pairs) and ``size`` (of the image); left out where they aren't known.
"""

from __future__ import annotations

import math

from cnnprof.ir.tensor import Shape
from cnnprof.ops.naming import aten, axis_of, moving, onnx
from cnnprof.ops.relations import first_only, replaced
from cnnprof.ops.rules import linear_formula
from cnnprof.ops.spec import Call, OpSpec
from cnnprof.ops.window import Axes, AxisMap, Chain, DataDependent, Lookup, Relation, Reshape, Same
from cnnprof.ops.work import Work

__all__ = ["SPECS"]

Relations = tuple[Relation | None, ...]
Shapes = tuple[Shape | None, ...]


def _unfold_window(call: Call, output: int) -> Relations:
    """Output (…, windows at ``axis``, …, tap): bring the tap beside its window, merge, look up."""
    shape, out = call.shape(0), call.out_shape(output)
    axis = axis_of(call.get("dimension", 0), len(shape))
    size, step = call.attr("size"), call.get("step", 1)
    rank = len(out)
    order = [*range(axis + 1), rank - 1, *range(axis + 1, rank - 1)]  # (…, window, tap, …)
    beside = tuple(out[a] for a in order)
    merged = (*beside[:axis], beside[axis] * beside[axis + 1], *beside[axis + 2 :])
    taps = tuple((w * step + k,) for w in range(out[axis]) for k in range(size))
    return first_only(
        call,
        Chain(
            (
                _forward_transpose(order),
                Reshape(merged, beside),
                replaced(len(shape), {axis: Lookup(axis, taps)}),
            )
        ),
    )


def _forward_transpose(order: list[int]) -> Axes:
    """Pull an output back to the tensor whose axis j is the output's axis ``order[j]``."""
    return Axes(tuple(Same(a) for a in order))


def _pairs(call: Call, name: str, default: int) -> tuple[int, ...]:
    value = call.get(name, default)
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * 2 if len(values) == 1 else values


def _unfold_grid(call: Call, size: Shape) -> Call:
    """Canonical ``kernel``, ``stride``, ``dilation``, ``padding``, ``size`` (of the image), per axis."""
    return call.with_attributes(
        {
            "kernel": _pairs(call, "kernel_size", 1),
            "stride": _pairs(call, "stride", 1),
            "dilation": _pairs(call, "dilation", 1),
            "padding": tuple((p, p) for p in _pairs(call, "padding", 0)),
            "size": size,
        }
    )


def _im2col(call: Call) -> Call:
    return _unfold_grid(call, call.shape(0)[-2:])


def _col2im(call: Call) -> Call:
    return _unfold_grid(call, tuple(call.attr("output_size")))


def _col2im_onnx(call: Call) -> Call:
    image, block = call.value(1), call.value(2)
    if image is None or block is None:  # the work is known all the same
        return call.with_attributes({})
    rank = len(image)
    pads = tuple(call.get("pads") or (0,) * (2 * rank))
    return call.with_attributes(
        {
            "kernel": block,
            "stride": tuple(call.get("strides") or (1,) * rank),
            "dilation": tuple(call.get("dilations") or (1,) * rank),
            "padding": tuple(zip(pads[:rank], pads[rank:], strict=True)),
            "size": image,
        }
    )


def _grid(call: Call) -> list[tuple[int, list[int]]]:
    """Per spatial axis: how many windows, and the image index of each (tap, window), tap outermost
    (outside the image where padding stands)."""
    names = ("kernel", "stride", "dilation", "padding", "size")
    found = []
    for kernel, stride, dilation, (before, after), size in zip(*map(call.attr, names), strict=True):
        windows = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
        found.append((windows, [w * stride - before + k * dilation for k in range(kernel) for w in range(windows)]))
    return found


def _column_shapes(call: Call, lead: Shape, channels: int) -> tuple[Shape, Shape, list[int]]:
    """(columns split into taps and windows; the same with tap and window side by side; the transpose)."""
    kernel, counts = call.attr("kernel"), [windows for windows, _ in _grid(call)]
    rank, first = len(kernel), len(lead) + 1
    split = (*lead, channels, *kernel, *counts)
    order = [*range(first)]
    for axis in range(rank):
        order += [first + axis, first + rank + axis]
    return split, tuple(split[a] for a in order), order


def _im2col_window(call: Call, output: int) -> Relations:
    shape = call.shape(0)
    *lead, channels = shape[:-2]
    split, beside, order = _column_shapes(call, tuple(lead), channels)
    grid = _grid(call)
    merged = (*lead, channels, *(len(positions) for _, positions in grid))
    tables: dict[int, AxisMap] = {
        len(lead) + 1 + axis: Lookup(len(lead) + 1 + axis, tuple((i,) if 0 <= i < size else () for i in positions))
        for axis, ((_, positions), size) in enumerate(zip(grid, call.attr("size"), strict=True))
    }
    return first_only(
        call,
        Chain(
            (
                Reshape(split, call.out_shape(output)),
                _forward_transpose(order),
                Reshape(merged, beside),
                replaced(len(shape), tables),
            )
        ),
    )


def _im2col_shapes(call: Call) -> Shapes:
    *lead, channels = call.shape(0)[:-2]
    windows = math.prod(count for count, _ in _grid(call))
    return ((*lead, channels * math.prod(call.attr("kernel")), windows),)


def _col2im_window(call: Call, output: int) -> Relations:
    """An image position reads every (tap, window) that was taken from it."""
    if "kernel" not in call.attributes:
        return first_only(call, DataDependent())
    out = call.out_shape(output)
    rank = len(call.attr("kernel"))
    lead, channels = out[: -rank - 1], out[-rank - 1]
    split, beside, order = _column_shapes(call, lead, channels)
    grid = _grid(call)
    tables: dict[int, AxisMap] = {}
    for axis, ((_, positions), size) in enumerate(zip(grid, call.attr("size"), strict=True)):
        readers: list[list[int]] = [[] for _ in range(size)]
        for column, position in enumerate(positions):
            if 0 <= position < size:
                readers[position].append(column)
        target = len(lead) + 1 + axis
        tables[target] = Lookup(target, tuple(map(tuple, readers)))
    merged = (*lead, channels, *(len(positions) for _, positions in grid))
    back = Axes(tuple(Same(order.index(a)) for a in range(len(split))))
    return first_only(
        call,
        Chain((replaced(len(merged), tables), Reshape(beside, merged), back, Reshape(call.shape(0), split))),
    )


def _col2im_shapes(call: Call) -> Shapes:
    shape = call.shape(0)
    return ((*shape[:-2], shape[-2] // math.prod(call.attr("kernel")), *call.attr("size")),)


def _col2im_work(call: Call) -> Work:
    return Work(add=call.elements(0))  # every column entry is added into the image


SPECS: tuple[OpSpec, ...] = (
    moving("unfold", _unfold_window, aten("unfold unfold_copy")),
    moving("im2col", _im2col_window, aten("im2col", _im2col), shapes=_im2col_shapes),
    moving(
        "col2im",
        _col2im_window,
        onnx("Col2Im", _col2im_onnx),
        aten("col2im", _col2im),
        shapes=_col2im_shapes,
        work=_col2im_work,
        formula=linear_formula,
    ),
)
