"""One line about what a layer is: ``conv 3×3 /2, 64→128, g32``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnprof.profile import Layer
from cnnprof.render.quantities import plain, shape

__all__ = ["describe", "output_shape"]


def describe(layer: Layer) -> str:
    """Kind, window, stride, dilation, groups: only what differs from the default."""
    if layer.unknown is not None:
        return plain(layer.op_type)
    attributes = layer.attributes
    parts = [plain(layer.kind).replace("_", " ")]
    kernel = _sizes(attributes, "kernel")
    if kernel:
        parts.append(shape(kernel))
    for key, sign in (("stride", "/"), ("dilation", "d")):
        sizes = _sizes(attributes, key)
        if sizes and any(size != 1 for size in sizes):
            parts.append(f"{sign}{shape(sizes[:1] if len(set(sizes)) == 1 else sizes)}")
    groups = attributes.get("groups")
    if isinstance(groups, int) and groups > 1:
        parts.append(f"g{groups}")
    if layer.repeat > 1:
        parts.append(f"×{layer.repeat}")
    return " ".join(parts)


def _sizes(attributes: Mapping[str, Any], key: str) -> Sequence[int] | None:
    value = attributes.get(key)
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, int) for v in value):
        return list(value)
    return None


def output_shape(layer: Layer) -> tuple[int, ...] | None:
    """Of the first output, or None where there is none or it isn't known."""
    found = layer.outputs[0].get("shape") if layer.outputs else None
    return None if found is None else tuple(found)
