"""Models of torchvision and timm, and the inputs they were trained for."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from cnnprof.errors import DependencyError, ModelError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import Inputs

__all__ = ["own_input", "timm_model", "torchvision_model"]

_Found = tuple[Callable[[], nn.Module], Callable[[nn.Module], Inputs]]
_RAFT_INPUT = (1, 3, 520, 960)  # the Sintel and Kitti crops are near this; any multiple of 8 works
_DETECTION_SIDE = 800
_SEGMENTATION_SIDE = 520


def torchvision_model(name: str, kwargs: Mapping[str, Any]) -> _Found:
    """torchvision's model ``name`` as its published weights have it (GoogLeNet without auxiliary heads, FCN and
    DeepLab with theirs)."""
    _library("torchvision", name, "pip install 'cnnprof[zoo]'")
    from torchvision import models

    known = models.list_models()
    if name not in known:
        raise _unknown("torchvision", name, known)
    options = dict(kwargs)
    family = models.get_model_builder(name).__module__
    if name in ("googlenet", "quantized_googlenet"):
        # num_params and the checkpoint are without them; so is the paper's inference cost.
        options = {"aux_logits": False, "init_weights": False, **options}
    elif name in ("inception_v3", "quantized_inception_v3"):
        options = {"init_weights": False, **options}
    elif ".detection." in family or ".segmentation." in family:
        options = {"weights_backbone": None, **options}
        if name.startswith(("fcn_", "deeplabv3_")):
            options = {"aux_loss": True, **options}

    def make() -> nn.Module:
        module: nn.Module = models.get_model(name, weights=None, **options)
        return module

    return make, lambda module: _torchvision_input(name, family, module)


def _torchvision_input(name: str, family: str, module: nn.Module) -> Inputs:
    if ".optical_flow." in family:
        return (InputSpec(_RAFT_INPUT), InputSpec(_RAFT_INPUT))
    if ".detection." in family:
        side = _detection_side(module)
        return ([InputSpec((3, *side))],)
    built_for: Any = getattr(module, "image_size", None)  # vision transformers take one size only
    if isinstance(built_for, int):
        return (InputSpec((1, 3, built_for, built_for)),)
    from torchvision import models

    weights = next(iter(models.get_model_weights(name)), None)
    if weights is None:
        return (InputSpec((1, 3, 224, 224)),)
    preset = weights.transforms.keywords
    frames = weights.meta.get("frames_per_clip")
    if frames is not None or ".video." in family:
        crop = preset.get("crop_size", (112, 112))
        return (InputSpec((1, 3, frames or 16, *_pair(crop))),)
    if ".segmentation." in family:
        return (InputSpec((1, 3, *_pair(preset.get("resize_size", _SEGMENTATION_SIDE)))),)
    return (InputSpec((1, 3, *_pair(preset.get("crop_size", 224)))),)


def _detection_side(module: nn.Module) -> tuple[int, int]:
    transform: Any = getattr(module, "transform", None)
    fixed = getattr(transform, "fixed_size", None)
    if fixed is not None:
        return int(fixed[1]), int(fixed[0])
    sizes = getattr(transform, "min_size", None) or (_DETECTION_SIDE,)
    return int(sizes[-1]), int(sizes[-1])


def timm_model(name: str, kwargs: Mapping[str, Any]) -> _Found:
    """timm's model ``name``, with or without a pretrained tag."""
    _library("timm", name, "pip install timm")
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise _unknown("timm", name, timm.list_models())

    def make() -> nn.Module:
        module: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
        return module

    return make, own_input


def own_input(module: nn.Module) -> Inputs:
    """The input that a module says it takes (timm's configuration), or None."""
    config: Any = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    size = config.get("input_size") if isinstance(config, Mapping) else None
    if size is None:
        return None
    image = getattr(getattr(module, "patch_embed", None), "img_size", None)
    if isinstance(image, tuple) and len(image) == 2 and len(size) == 3:
        size = (size[0], *image)  # the size it was built with, where that was asked for
    return (InputSpec((1, *map(int, size))),)


def _library(library: str, name: str, install: str) -> None:
    if not name:
        raise ModelError(f"{library}: no model named", f"write {library}:NAME")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise DependencyError(f"{library}:{name}: {error.name} is not installed", install) from error


def _unknown(library: str, name: str, known: Iterable[str]) -> ModelError:
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"see {library}'s list of models"
    return ModelError(f"{library}:{name}: no such model", hint)


def _pair(size: Any) -> tuple[int, int]:
    values = [int(v) for v in size] if isinstance(size, (list, tuple)) else [int(size)]
    return (values[0], values[-1])
