"""What an output position reads of an input: the vocabulary of receptive fields.

A *window rule* answers, for one output of an operator, with one :data:`Relation` per input, or None
where the input isn't read as data (weights, shapes). A relation is a pull-back: given an output
index it names the input indices that reach it. Most are :class:`Axes`: one :data:`AxisMap` per
*input* axis. Everything is exact at the borders too: indices outside the input are padding and drop out.

Sources: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks" (Distill 2019)
for the arithmetic; the operators' own specifications for the index maps.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnprof.ir.record import quick_init
from cnnprof.ir.tensor import Shape

__all__ = [
    "All",
    "Axes",
    "AxisMap",
    "Chain",
    "DataDependent",
    "Fixed",
    "Lookup",
    "Relation",
    "Reshape",
    "Same",
    "Slide",
    "Spread",
]


@quick_init
@dataclass(frozen=True, slots=True)
class Same:
    """Input index = output index along ``axis`` (of the output)."""

    axis: int


@quick_init
@dataclass(frozen=True, slots=True)
class Slide:
    """Convolution, pooling, slicing, cropping, padding, concatenation: output o along ``axis`` reads
    i = o·stride − pad + k·dilation for k in [0, kernel). Stride may be negative (flips)."""

    axis: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0


@quick_init
@dataclass(frozen=True, slots=True)
class Spread:
    """Transposed convolution: input i reaches every o = i·stride − pad + k·dilation, k in [0, kernel)."""

    axis: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    pad: int = 0


@dataclass(frozen=True, slots=True)
class Lookup:
    """Resize, constant gather: output o along ``axis`` reads the positions ``table[o]``."""

    axis: int
    table: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class All:
    """Every position of the input axis, whatever the output index (reductions, dense layers, attention)."""


@quick_init
@dataclass(frozen=True, slots=True)
class Fixed:
    """One position of the input axis, whatever the output index (broadcast size-1 axes, select)."""

    index: int = 0


AxisMap = Same | Slide | Spread | Lookup | All | Fixed


@quick_init
@dataclass(frozen=True, slots=True)
class Axes:
    """One map per input axis; the positions read are their product."""

    maps: tuple[AxisMap, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """Row-major reinterpretation: the element with the same flat index."""

    input_shape: Shape
    output_shape: Shape


@dataclass(frozen=True, slots=True)
class Chain:
    """Several relations one after the other, from the output back to the input (pixel shuffle is
    reshape, transpose, reshape). ``steps[0]`` starts at the output."""

    steps: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class DataDependent:
    """Which positions are read depends on values (gather by data, ROI align, deformable offsets):
    everything may be reached, and the result says so."""


Relation = Axes | Reshape | Chain | DataDependent
