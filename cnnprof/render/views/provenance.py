"""Where a profile comes from and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from cnnprof.profile import Profile
from cnnprof.render.quantities import plain, shape

__all__ = ["command_of", "head_of", "provenance"]

_FORMATS = {"onnx": "ONNX", "torch": "PyTorch", "pt2": "PyTorch export"}
_LISTED = 4


def head_of(profile: Profile) -> dict[str, Any]:
    """The head of a page: format, mode, the first inputs and outputs."""
    model = profile.model
    name = _FORMATS.get(model["format"], plain(str(model["format"])))
    return {
        "format": f"{name} opset {model['opset']}" if "opset" in model else name,
        "mode": plain(profile.mode),
        "inputs": [_tensor(tensor) for tensor in profile.inputs[:_LISTED]],
        "outputs": [_tensor(tensor) for tensor in profile.outputs[:_LISTED]],
    }


def _tensor(tensor: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": plain(tensor["name"]),
        "shape": shape(tensor.get("shape")),
        "dtype": plain(str(tensor["dtype"])),
    }


def provenance(profile: Profile, t: Callable[..., str]) -> list[tuple[str, str]]:
    """(translation key, text) of what the method section states."""
    model, coverage = profile.model, profile.coverage
    rows = [
        ("model", plain(str(model["reference"]))),
        ("format", head_of(profile)["format"]),
        ("mode", plain(profile.mode)),
        ("convention", plain(profile.convention)),
        (
            "coverage",
            t(
                "method.coverage_text",
                counted=coverage["counted"],
                free=coverage["zero_by_definition"],
                unknown=sum(group["count"] for group in coverage["unknown"]),
            ),
        ),
        ("tool", plain(" ".join(str(profile.tool[key]) for key in ("name", "version") if key in profile.tool))),
    ]
    if model.get("digest"):
        rows.insert(2, ("digest", plain(str(model["digest"]))[:24]))
    return rows


def command_of(profile: Profile) -> str:
    """The command line that analyses this model again, inputs given in full."""
    words = ["cnnprof", "report", plain(str(profile.model["reference"]))]
    for tensor in profile.inputs:
        if tensor.get("shape"):
            sizes = "x".join(map(str, tensor["shape"]))
            words += ["--input", sizes if len(profile.inputs) == 1 else f"{plain(tensor['name'])}={sizes}"]
    if profile.mode == "training":
        words.append("--training")
    return shlex.join([*words, "-o", "report.html"])
