"""Quantised models in QDQ form: a convolution between DequantizeLinear and QuantizeLinear is an integer one.

The runtime fuses the pair around it; the operator itself stays spelled in floating point. Such operators get the
attribute ``compute_dtype``, the element type their data is quantised to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnprof.frontends.onnx.info import Info
from cnnprof.frontends.onnx.roles import Row

__all__ = ["compute_dtypes"]

_DEQUANTIZE = frozenset({"onnx:DequantizeLinear", "com.microsoft:DequantizeLinear"})
_QUANTIZE = frozenset({"onnx:QuantizeLinear", "com.microsoft:QuantizeLinear"})
# Activations that the runtime folds into the output's quantisation.
_FOLDED = frozenset({"onnx:Relu", "onnx:Clip", "onnx:LeakyRelu"})


def compute_dtypes(rows: Sequence[Row], infos: Mapping[str, Info]) -> dict[int, str]:
    """Row number -> dtype for the multiply-accumulate operators that compute in a quantised type."""
    source: dict[str, str] = {}
    for spelling, _, inputs, outputs in rows:
        if spelling in _DEQUANTIZE and inputs and inputs[0] is not None and outputs and outputs[0] is not None:
            source[outputs[0]] = inputs[0]
    if not source:
        return {}
    readers: dict[str, list[int]] = {}
    for number, (_, _, inputs, _) in enumerate(rows):
        for name in dict.fromkeys(inputs):
            if name is not None:
                readers.setdefault(name, []).append(number)

    def requantised(name: str | None, folded: bool) -> bool:
        after = readers.get(name or "", [])
        return bool(after) and all(
            rows[n][0] in _QUANTIZE or (folded and rows[n][0] in _FOLDED and requantised(rows[n][3][0], False))
            for n in after
        )

    found: dict[int, str] = {}
    for number, (_, spec, inputs, outputs) in enumerate(rows):
        if spec is None or not spec.mac_operator or len(inputs) < 2:
            continue
        data, weight = inputs[0], inputs[1]
        if data in source and weight in source and requantised(outputs[0] if outputs else None, True):
            found[number] = infos[source[data]].dtype.value
    return found
