"""onnxruntime's own sizes against ours.

Its memory pattern (the planned arena's size) is in no public interface of the Python package: neither the verbose log of
a release build, nor the profile, nor a session's attributes show it. What can be read is what goes into
the plan: the profile's bytes read and written by each node.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cnnprof.analyses.memory import memory
from cnnprof.frontends.onnx.load import load_onnx


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet"])
def test_every_nodes_bytes_are_onnxruntimes(light_models, tmp_path, name):
    path = light_models / f"{name}.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = load_onnx(path, reference=str(path))
    shapes = {name: graph.tensors[name].shape for name in graph.inputs}
    feed = {i.name: np.zeros(shapes[i.name], np.float32) for i in session.get_inputs()}
    session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [event["args"] for event in events if event.get("name", "").endswith("_kernel_time")]
    theirs = sorted((args["op_name"], int(args["output_size"])) for args in ran if args["op_name"] != "ConstantOfShape")
    ours = sorted(
        (op.op_type.rpartition(":")[2], sum(graph.tensors[out].nbytes or 0 for out in op.present_outputs))
        for op in graph.ops
    )
    produced = {kind for kind, _ in theirs}
    assert [row for row in ours if row[0] in produced] == theirs
    # Everything that one node reads and writes must be alive together.
    result = memory(graph)
    most = max(int(args["activation_size"]) + int(args["output_size"]) for args in ran)
    assert result.peak_activation_bytes >= most
    assert result.arena.nbytes >= result.arena.lower_bound_bytes
