"""Resolves a model reference and hands it to the front end that reads it.

model.onnx, - (standard input)      ONNX
model.pt2                           torch.export archive
torchvision:NAME, timm:NAME         a library's model
package.module:callable, file.py:callable
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnprof.errors import ModelError, UsageError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.ir import Graph

__all__ = ["is_torch_reference", "load_graph"]

_TORCH_SUFFIXES = (".pt2", ".pt", ".pth", ".ckpt", ".safetensors", ".bin")


def is_torch_reference(reference: str) -> bool:
    """True for what the torch front end reads: ``lib:NAME``, ``module:callable``, torch archives."""
    if reference.lower().endswith(_TORCH_SUFFIXES):
        return True
    head, colon, tail = reference.rpartition(":")
    return (bool(colon) and bool(head) and tail.isidentifier()) or reference.startswith(("torchvision:", "timm:"))


def load_graph(
    reference: str | Path,
    *,
    inputs: Sequence[InputSpec] = (),
    batch: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    optimizer: str | None = None,
) -> Graph:
    """The graph of a model reference.

    Raises :class:`ModelError` (can't be read), :class:`~cnnprof.errors.DependencyError` (torch or a model
    library isn't installed) or :class:`UsageError` (options that don't fit the model's format).
    """
    text = str(reference)
    if batch is not None and batch < 1:
        raise UsageError(f"--batch {batch}: expected 1 or more", "give the number of samples")
    options = {"batch": batch, "kwargs": kwargs or {}, "training": training, "optimizer": optimizer}
    if text != "-" and not Path(text).exists() and is_torch_reference(text):
        return _torch(text, inputs, **options)
    if text.lower().endswith(_TORCH_SUFFIXES):
        return _torch(text, inputs, **options)
    if training or optimizer or kwargs:
        raise UsageError(
            f"{text}: an ONNX file holds inference only",
            "--training, --optimizer and --kwargs need a PyTorch reference such as torchvision:resnet50",
        )
    return _onnx(text, inputs, batch)


def _onnx(text: str, inputs: Sequence[InputSpec], batch: int | None) -> Graph:
    from cnnprof.frontends.onnx.load import load_onnx

    if text == "-":
        source: Path | bytes = sys.stdin.buffer.read()
    else:
        source = Path(text)
        if not source.exists():
            raise ModelError(f"{text}: no such file", _nearest(source))
        if source.is_dir():
            raise ModelError(f"{text}: is a directory", "give the .onnx file inside it")
    graph = load_onnx(source, inputs=inputs, reference=text)
    if batch is None:
        return graph
    return load_onnx(source, inputs=_with_batch(graph, inputs, batch), reference=text)


def _with_batch(graph: Graph, inputs: Sequence[InputSpec], batch: int) -> tuple[InputSpec, ...]:
    """The graph's inputs with their first dimension set, keeping what was asked for by ``inputs``."""
    tensors = [graph.tensors[name] for name in graph.inputs]
    return tuple(
        InputSpec((batch, *t.shape[1:]), t.name, t.dtype) if t.shape else InputSpec(t.shape or (), t.name, t.dtype)
        for t in tensors
    )


def _torch(text: str, inputs: Sequence[InputSpec], **options: Any) -> Graph:
    from cnnprof.frontends.torch.references import load_reference

    return load_reference(text, inputs=inputs, **options)


def _nearest(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return "check the path"
    close = difflib.get_close_matches(path.name, names, n=2)
    return f"did you mean {' or '.join(close)}?" if close else "check the path"
