"""Which constants are parameters. ONNX doesn't say; the counting convention does.

A constant is a parameter when it stands in a weight slot, whatever its size, or when it is any other
floating-point or quantised constant of more than one element that reaches arithmetic. Both are followed
through what only moves, casts or (de)quantises data: one walk from the last operator to the first hands every
value the strongest claim that its readers make on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnprof.frontends.onnx.info import Info
from cnnprof.ir import DType, Role
from cnnprof.ops.spec import OpSpec

__all__ = ["Claim", "claims", "role_of"]


class Claim:
    """How strongly a value is claimed as a weight."""

    NONE = 0
    ARITHMETIC = 1
    BUFFER = 2
    PARAMETER = 3


_SLOT = {Role.PARAMETER: Claim.PARAMETER, Role.BUFFER: Claim.BUFFER}
# Operators whose result is the same weight in another coding: their data input is claimed as the result is.
_CODING = frozenset(
    {
        "onnx:Cast",
        "onnx:CastLike",
        "onnx:DequantizeLinear",
        "onnx:QuantizeLinear",
        "onnx:Identity",
        "com.microsoft:DequantizeLinear",
        "com.microsoft:QuantizeLinear",
    }
)
_QUANTISED = frozenset(
    {DType.INT8, DType.UINT8, DType.INT4, DType.UINT4, DType.INT2, DType.UINT2, DType.FLOAT8, DType.FLOAT4}
)

Row = tuple[str, OpSpec | None, Sequence[str | None], Sequence[str | None]]


def claims(rows: Sequence[Row], infos: Mapping[str, Info]) -> dict[str, int]:
    """The claim on every value that is read; ``rows`` are (foreign name, spec, inputs, outputs) in order."""
    found: dict[str, int] = {}
    for spelling, spec, inputs, outputs in reversed(rows):
        result = max((found.get(name, 0) for name in outputs if name is not None), default=0)
        kind = infos[outputs[0]].dtype if outputs and outputs[0] is not None else None
        coding = spelling in _CODING
        for slot, name in enumerate(inputs):
            if name is None:
                continue
            if coding:
                claim = result if slot == 0 else Claim.NONE
            elif slot == 0 and spelling == "onnx:Gather" and _weighs(infos[name].dtype):
                claim = Claim.PARAMETER  # an embedding table
            elif spec is None:
                claim = Claim.ARITHMETIC
            elif slot in spec.roles:
                claim = _SLOT.get(spec.roles[slot], Claim.NONE)
                if not spec.arithmetic and not _weighs(infos[name].dtype):
                    claim = Claim.NONE  # a table of indices that is gathered from is no embedding
            elif spec.arithmetic:
                claim = Claim.ARITHMETIC
            else:  # shapes, axes and indices are no data: they have another type than the result
                claim = result if infos[name].dtype is kind else Claim.NONE
            if claim > found.get(name, 0):
                found[name] = claim
    return found


def _weighs(dtype: DType) -> bool:
    return dtype.is_float or dtype in _QUANTISED


def role_of(claim: int, info: Info) -> Role:
    """What a constant is, given the claim on it."""
    if claim == Claim.PARAMETER:
        return Role.PARAMETER
    if claim == Claim.BUFFER:
        return Role.BUFFER
    shape = info.shape
    several = shape is not None and any(dim != 1 for dim in shape)
    return Role.PARAMETER if claim == Claim.ARITHMETIC and several and _weighs(info.dtype) else Role.CONSTANT
