"""PyTorch as a runner: eager or through torch.compile, on the CPU or on CUDA (there also as a CUDA graph).

Layer times come from a dispatch mode that times each ATen call where it stands, on CUDA from the kernels that each call
launched; calls map to the tracer's ops in order (:mod:`cnnprof.measure.align`). The model gets random inputs and its
own initial weights.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError, DependencyError, ModelError, UsageError, one_line
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import make_arguments, plan_arguments
from cnnprof.frontends.torch.references import load_module
from cnnprof.frontends.torch.schema import plan_of
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.frontends.torch.trace import floating_dtype
from cnnprof.ir import Graph
from cnnprof.measure.align import align
from cnnprof.measure.allocator import settle_allocator
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.cuda import Cuda, CudaClock, graph_replay_s, median_s
from cnnprof.measure.hardware import installed, processor
from cnnprof.measure.runner import LayerTimes, counted_passes, lower

__all__ = ["TorchRunner", "timed_calls", "two_ways"]


class _TimedCalls(TorchDispatchMode):
    """Spelling and seconds of every ATen call."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.calls: list[tuple[Any, float]] = []
        self._now = now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        began = self._now()
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, self._now() - began))
        return result


def timed_calls(run: Callable[[], object], now: Callable[[], float] = time.perf_counter) -> list[tuple[str, float]]:
    """(ATen spelling, seconds) of every call that ``run`` makes, in order."""
    with _TimedCalls(now) as mode:
        run()
    return [(plan_of(func).op_type, seconds) for func, seconds in mode.calls]


def two_ways(model: Callable[..., object], *args: Any, **kwargs: Any) -> tuple[Callable[[], object], ...]:
    """One inference, as it runs and as the dispatcher is to be watched: in inference mode it hands composites over
    whole, the tracer saw them taken apart."""

    def plain() -> object:
        with torch.inference_mode():
            return model(*args, **kwargs)

    def watched() -> object:
        with torch.no_grad():
            return model(*args, **kwargs)

    return plain, watched


class TorchRunner:
    """A model of PyTorch. Raises :class:`ModelError` if its first run fails,
    :class:`~cnnprof.errors.DeviceError` without CUDA. ``cuda`` stands in for torch's own device."""

    def __init__(
        self,
        reference: str,
        graph: Graph,
        *,
        threads: int = 1,
        device: str = "cpu",
        compiled: bool = False,
        cuda_graph: bool = False,
        options: Mapping[str, Any] | None = None,
        module: torch.nn.Module | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        if cuda_graph and device != "cuda":
            raise UsageError("--cuda-graph: only CUDA has graphs", "add --device cuda")
        self._cuda = (cuda or _torch_cuda()) if device == "cuda" else None
        self.name = "torch-compile" if compiled else "torch"
        self.device, self.threads = device, threads
        facts = None if self._cuda is None else self._cuda.facts()
        self.title = processor() if facts is None else facts.name
        self.versions: Mapping[str, str] = installed("torch") if facts is None else facts.versions()
        self.single_thread = threads == 1 and device == "cpu"
        self.batch = _batch(graph)
        self._graph = graph
        if device == "cpu":
            settle_allocator()
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            self._eager = self._prepared(reference, module, options or {})
            self._call = self._compiled() if compiled else self._eager
            self._graphed = self._cuda is not None and cuda_graph
            if self._cuda is not None and cuda_graph:
                self._call = self._cuda.capture(self._call)
        except BaseException:
            self.close()
            raise

    def _prepared(
        self, reference: str, module: torch.nn.Module | None, options: Mapping[str, Any]
    ) -> Callable[[], object]:
        inputs: Any = [_spec(self._graph, name) for name in self._graph.inputs]
        if module is None:
            loaded = load_module(reference, options.get("kwargs") or {})
            module = loaded.module if loaded.rebuild is None else loaded.rebuild()
            if loaded.inputs is not None and not options.get("inputs") and not options.get("batch"):
                inputs = loaded.inputs
        model = module.eval()
        arguments = make_arguments(model, plan_arguments(model, inputs), Cpu(), floating_dtype(model))
        args, kwargs = arguments.args, dict(arguments.kwargs)
        self._model = model

        try:
            if self._cuda is not None:
                self._model = self._cuda.put(model)
                args = tuple(_put(value, self._cuda) for value in args)
                kwargs = {key: _put(value, self._cuda) for key, value in kwargs.items()}
            call, self._watched = two_ways(self._forward, *args, **kwargs)
            call()
        except CnnprofError:
            raise
        except Exception as error:
            raise ModelError(
                f"{reference}: its run failed: {one_line(error)}",
                "check --input, or try a smaller --batch",
            ) from error
        return call

    def _forward(self, *args: Any, **kwargs: Any) -> object:
        """The model that is there now: a compiled one takes the eager one's place."""
        return self._model(*args, **kwargs)

    def _compiled(self) -> Callable[[], object]:
        eager = self._eager
        original, self._model = self._model, torch.compile(self._model)  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # it is measured as it is set
                eager()
        except Exception as error:
            self._model = original
            raise DependencyError(
                f"torch.compile failed: {one_line(error)}",
                "it needs a C++ compiler; or use --runner torch",
            ) from error
        return eager

    def clock(self) -> Clock:
        if self._cuda is None:
            return SystemClock()
        return CudaClock(self._cuda.events, on_hardware=self._cuda.on_hardware)

    def run(self) -> None:
        self._call()

    def layer_times(self, passes: int, ready: Callable[[], object]) -> LayerTimes:
        """From eager runs; a compiled model has no calls to time (no layers, on CUDA the sums all the same)."""
        if self._cuda is not None:
            return self._kernel_times(passes, self._cuda)
        if self.name != "torch":
            return LayerTimes(seconds={})
        weights = {
            row.name: float(row.flops + (row.bytes_read or 0) + (row.bytes_written or 0))
            for row in complexity(self._graph).rows
        }
        now = time.perf_counter
        rows: list[dict[str, float]] = []
        rest: list[float] = []
        totals: list[float] = []
        owners = None
        for _ in counted_passes(passes, ready):
            began = now()
            calls = timed_calls(self._watched, now)
            totals.append(now() - began)
            if owners is None:
                owners = align(self._graph, [spelling for spelling, _ in calls], weights)
            seconds = dict.fromkeys((op.name for op in self._graph.ops), 0.0)
            elsewhere = 0.0
            for (_, spent), shares in zip(calls, owners, strict=False):
                if not shares:
                    elsewhere += spent
                for name, share in shares:
                    seconds[name] += spent * share
            rows.append(seconds)
            rest.append(elsewhere)
        whole = lower([{"rest": one, "total": other} for one, other in zip(rest, totals, strict=True)])
        return LayerTimes(seconds=lower(rows), elsewhere_s=whole["rest"], total_s=whole["total"])

    def _kernel_times(self, passes: int, cuda: Cuda) -> LayerTimes:
        from cnnprof.measure.profiler_torch import kernel_layer_times, profiled

        watched = self._watched if self.name == "torch" else None
        found = profiled(self._graph, cuda.profiler, plain=self._eager, watched=watched, passes=passes)
        replay = median_s(cuda, self._call) if self._graphed else graph_replay_s(cuda, self._eager)
        return kernel_layer_times(self._graph, found, replay)

    def close(self) -> None:
        torch.set_num_threads(self._threads_before)


def _spec(graph: Graph, name: str) -> InputSpec:
    """The description of a graph input: what the model was traced with."""
    tensor = graph.tensors[name]
    return InputSpec(tensor.shape or (), None, tensor.dtype)


def _batch(graph: Graph) -> int:
    shape = graph.tensors[graph.inputs[0]].shape if graph.inputs else None
    return shape[0] if shape else 1


def _put(value: Any, cuda: Cuda) -> Any:
    """``value`` with every tensor in it on the device."""
    if isinstance(value, (list, tuple)):
        return type(value)(_put(item, cuda) for item in value)
    return cuda.put(value)


def _torch_cuda() -> Cuda:
    from cnnprof.measure.cuda_torch import TorchCuda

    return TorchCuda()
