"""Networks that torchvision implements: built by name, without weights."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

__all__ = ["model"]


def model(name: str, **arguments: Any) -> nn.Module:
    """torchvision's own ``name``; classification, segmentation and video models alike. Downloads nothing."""
    from torchvision.models import get_model, get_model_builder

    if "weights_backbone" in inspect.signature(get_model_builder(name)).parameters:
        arguments = {"weights_backbone": None, **arguments}
    made: nn.Module = get_model(name, weights=None, **arguments)
    return made
