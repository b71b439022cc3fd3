"""Which of onnxruntime's layouts this processor gets: its blocks have as many channels as its vectors hold."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from cnnprof.errors import DependencyError
from cnnprof.frontends.onnx.structure import file_nodes
from cnnprof.measure.synthetic_build import NetBuilder
from cnnprof.measure.synthetic_onnx import random_weights, synthetic_model

__all__ = ["lowering_here", "new_session", "session_options"]


@cache
def lowering_here() -> str:
    """The lowering of this processor, as :func:`cnnprof.predict.lower.lower` names it: with the block that
    onnxruntime chose for its vectors. Two convolutions tell: groups of 8 and of 16 channels."""
    for block, name in ((8, "onnxruntime"), (16, "onnxruntime-16")):
        net = NetBuilder("probe", (1, 2 * block, 8, 8))
        graph = net.done(net.conv(net.input, 2 * block, 3, 1, 2))
        with tempfile.TemporaryDirectory() as folder:
            options = session_options(1)
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            new_session(synthetic_model(graph, random_weights(graph, 0)), options)
            if any(node.op_type == "ReorderInput" for node in file_nodes(Path(folder) / "optimised.onnx")):
                return name
    return "onnxruntime-1"


def session_options(threads: int) -> Any:
    """For ``threads`` threads, quiet. Raises :class:`DependencyError` without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise DependencyError("onnxruntime is not installed", "python -m pip install 'cnnprof[onnxruntime]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def new_session(model: bytes, options: Any) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
