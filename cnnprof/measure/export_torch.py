"""A torch reference as an ONNX file, by torch's own exporter at its defaults: what most users hand to onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cnnprof.errors import CnnprofError, DependencyError, ModelError, one_line
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import make_arguments, plan_arguments
from cnnprof.frontends.torch.references import load_module, with_batch
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.frontends.torch.trace import floating_dtype

__all__ = ["export"]


def export(reference: str, target: Path, *, inputs: Sequence[InputSpec] = (), batch: int | None = None) -> None:
    """Write ``reference`` with its initial weights to ``target`` (large weights beside it), at ``inputs`` or its own
    and with their first dimension ``batch``. torch's random state is left as it was.

    Raises :class:`ModelError` if torch can't export it, :class:`DependencyError` without onnxscript.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise DependencyError(
            "exporting to ONNX needs onnxscript", "python -m pip install 'cnnprof[calibrate]'"
        ) from None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load_module(reference)
        module = (loaded.module if loaded.rebuild is None else loaded.rebuild()).eval()
        chosen: Any = tuple(inputs) or loaded.inputs
        if batch is not None:
            chosen = with_batch(chosen, batch)
        arguments = make_arguments(module, plan_arguments(module, chosen), Cpu(), floating_dtype(module))
        level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            with torch.no_grad():
                torch.onnx.export(
                    module, arguments.args, str(target), kwargs=dict(arguments.kwargs), dynamo=True, verbose=False
                )
        except CnnprofError:
            raise
        except Exception as error:
            raise ModelError(
                f"{reference}: torch can't export it to ONNX: {one_line(error)}",
                "verify another model",
            ) from None
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
