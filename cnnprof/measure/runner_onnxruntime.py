"""onnxruntime as a runner. Layer times come from its profile; fused nodes map back to the layers they cover.

On CUDA inputs and outputs are bound to the device: no copy between host and device is timed, but launches and kernels
are, until the device is done. Its profile there has the host's times of nodes, which say nothing about kernels; layers
have times only where onnxruntime was built to record kernels too.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import DependencyError, DeviceError, ModelError, one_line
from cnnprof.frontends.onnx.structure import FileNode, file_nodes
from cnnprof.ir import DType, Graph
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.cuda import gpu_in
from cnnprof.measure.hardware import installed, processor
from cnnprof.measure.lowering_onnxruntime import lowering_here, session_options
from cnnprof.measure.onnxruntime_kernels import kernel_of_nodes, node_times
from cnnprof.measure.onnxruntime_map import covered
from cnnprof.measure.runner import LayerTimes, counted_passes, least
from cnnprof.predict.lower_onnxruntime import block_of, place

__all__ = ["OnnxRuntimeRunner"]

_KERNEL = "_kernel_time"


class OnnxRuntimeRunner:
    """An ONNX model on onnxruntime. ``source`` is a path, or the model's bytes. Raises
    :class:`DependencyError` (exit 4, with the install line), :class:`DeviceError` (no CUDA provider),
    :class:`ModelError` (onnxruntime refuses the model, or lacks an operator)."""

    def __init__(self, source: str | Path | bytes, graph: Graph, *, threads: int = 1, device: str = "cpu") -> None:
        try:
            import onnxruntime
        except ImportError:
            raise DependencyError(
                "onnxruntime is not installed", "python -m pip install 'cnnprof[onnxruntime]'"
            ) from None
        import numpy as np

        self._ort = onnxruntime
        onnxruntime.set_default_logger_severity(4)
        self.name, self.device, self.threads = "onnxruntime", device, threads
        self.title = processor() if device == "cpu" else _gpu()
        self.versions: Mapping[str, str] = installed("onnxruntime")
        self.single_thread = threads == 1 and device == "cpu"
        self._graph = graph
        self._source = source if isinstance(source, bytes) else str(source)
        self._providers = ["CPUExecutionProvider"]
        if device == "cuda":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise DeviceError(
                    "--device cuda: this onnxruntime has no CUDA provider", "python -m pip install onnxruntime-gpu"
                )
            self._providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        generator = np.random.default_rng(0)
        self._feed = {name: _random(generator, graph, name) for name in graph.inputs}
        first = graph.tensors[graph.inputs[0]].shape if graph.inputs else None
        self.batch = first[0] if first else 1
        self._session = self._made(session_options(self.threads))
        self._call: Any = self._inference(self._session)
        self.run()

    def _made(self, options: Any) -> Any:
        try:
            session = self._ort.InferenceSession(self._source, options, providers=self._providers)
        except Exception as error:
            raise ModelError(
                f"{self._graph.source.reference}: onnxruntime can't load it: {one_line(error)}",
                "check that its operators exist in this onnxruntime",
            ) from None
        if self._providers[0] not in session.get_providers():  # it goes on without, and doesn't say so
            raise DeviceError(
                "--device cuda: onnxruntime couldn't start its CUDA provider",
                "install the CUDA and cuDNN that this onnxruntime-gpu was built for, or use --device cpu",
            )
        return session

    def _inference(self, session: Any) -> Callable[[], object]:
        """One inference of ``session``, finished when it returns."""
        if self.device == "cpu":
            return lambda: session.run(None, self._feed)
        binding = session.io_binding()
        for name, value in self._feed.items():
            binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda", 0)

        def bound() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return bound

    def clock(self) -> Clock:
        # The host's, on CUDA too: a run returns when the device is done, and its stream is onnxruntime's own.
        return SystemClock()

    def run(self) -> None:
        try:
            self._call()
        except Exception as error:
            raise ModelError(
                f"{self._graph.source.reference}: its run failed: {one_line(error)}", "check --input"
            ) from None

    def layer_times(self, passes: int, ready: Callable[[], object]) -> LayerTimes:
        with tempfile.TemporaryDirectory() as folder:
            options = session_options(self.threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
            session = self._made(options)
            call = self._inference(session)
            totals = []
            for _ in counted_passes(passes + 1, ready):
                began = time.perf_counter()
                call()
                totals.append(time.perf_counter() - began)
            profile = json.loads(Path(session.end_profiling()).read_text("utf-8"))
            nodes = file_nodes(Path(folder) / "optimized.onnx")
        ops = covered(nodes, self._graph)
        if self.device == "cpu":
            ops = {**ops, **self._placed(nodes)}
            by_node = _node_times(profile, ops)
        else:
            by_node = _kernel_times(profile)
        return _layer_times(by_node, ops, self._graph, min(totals[1:]))

    def _placed(self, nodes: tuple[FileNode, ...]) -> Mapping[str, tuple[str, ...]]:
        """Key of a node -> the ops of its kernel, as the lowering that predictions use has them; reorders have none."""
        original = file_nodes(self._source if isinstance(self._source, bytes) else Path(self._source))
        kernels = place(self._graph, complexity(self._graph), block=block_of(lowering_here()))
        owners = kernel_of_nodes(nodes, original, kernels)
        return {key: kernels[index].kernel.ops for key, index in owners.items()}

    def close(self) -> None:
        self._session = self._call = None


def _node_times(profile: list[dict[str, Any]], named: Collection[str]) -> dict[str, list[float]]:
    """Seconds of every node, one value a pass, as the host saw them."""
    by_node: dict[str, list[float]] = {}
    for key, spent in node_times(profile, named):
        by_node.setdefault(key, []).append(spent)
    return by_node


def _kernel_times(profile: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Seconds that every node's kernels ran, one value a pass; kernels stand behind their node. Empty without any."""
    by_node: dict[str, list[float]] = {}
    last: list[float] | None = None
    kernels = 0
    for event in profile:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            last = by_node.setdefault(name.removesuffix(_KERNEL), [])
            last.append(0.0)
        elif event.get("cat") == "Kernel" and last is not None:
            last[-1] += float(event["dur"]) * 1e-6
            kernels += 1
    return by_node if kernels else {}


def _layer_times(
    by_node: Mapping[str, list[float]], ops: Mapping[str, tuple[str, ...]], graph: Graph, total_s: float
) -> LayerTimes:
    """The least time of every node over the passes (the first, which warms up, apart), by IR op."""
    times = least([{name: min(values[1:] or values) for name, values in by_node.items()}])
    seconds: dict[str, float] = {}
    fused: dict[str, tuple[str, ...]] = {}
    elsewhere = 0.0
    for name, spent in times.items():
        layers = ops.get(name, ())
        if not layers:
            elsewhere += spent
            continue
        head = _head(layers, graph)
        seconds[head] = seconds.get(head, 0.0) + spent
        fused[head] = (*fused.get(head, ()), *(layer for layer in layers if layer != head))
    return LayerTimes(seconds=seconds, fused=fused, elsewhere_s=elsewhere, total_s=total_s)


def _head(layers: tuple[str, ...], graph: Graph) -> str:
    """The layer that a fused node stands for: the one with a weight matrix, else the first."""
    for name in layers:
        if graph.op_by_name[name].kind in ("conv", "conv_transpose", "linear", "matmul"):
            return name
    return layers[0]


def _random(generator: Any, graph: Graph, name: str) -> Any:
    import numpy as np

    tensor = graph.tensors[name]
    shape = tensor.shape or ()
    kinds: Mapping[DType, Any] = {
        DType.FLOAT32: np.float32, DType.FLOAT64: np.float64, DType.FLOAT16: np.float16, DType.INT64: np.int64,
        DType.INT32: np.int32, DType.UINT8: np.uint8, DType.INT8: np.int8, DType.BOOL: np.bool_,
    }  # fmt: skip
    kind = kinds.get(tensor.dtype)
    if kind is None:
        raise ModelError(f"input {name!r}: no random values of {tensor.dtype.value}", "measure another model")
    if tensor.dtype.is_float:
        return generator.random(shape).astype(kind)
    return generator.integers(0, 2, shape).astype(kind)


def _gpu() -> str:
    """The first GPU's name, as its driver has it."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            found = gpu_in(path.read_text("utf-8", errors="replace"))
        except OSError:
            continue
        if found is not None:
            return found
    return "CUDA"
