"""Long names shortened where they say least."""

from __future__ import annotations

__all__ = ["shortened"]


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters; the end of a path says more than its beginning, and whole parts more than torn
    ones: ``layer1/0/downsample/1/batch_norm`` becomes ``layer1/…/1/batch_norm``."""
    if len(text) <= limit:
        return text
    if limit < 3:
        return text[:limit]
    first, *rest = text.split("/")
    for at in range(1, len(rest)):
        whole = "/".join((first, "…", *rest[at:]))
        if len(whole) <= limit:
            return whole
    head = (limit - 1) // 3
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
