"""PyTorch as a runner: eager or through torch.compile, on the CPU or on CUDA (there also as a CUDA graph).

Layer times come from a dispatch mode that times each ATen call where it stands; calls map to the tracer's ops in
order (:mod:`cnnprof.measure.align`). The model gets random inputs and its own initial weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.analyses.complexity import complexity
from cnnprof.errors import CnnprofError, DependencyError, DeviceError, ModelError, UsageError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.arguments import make_arguments, plan_arguments
from cnnprof.frontends.torch.references import load_module
from cnnprof.frontends.torch.schema import plan_of
from cnnprof.frontends.torch.substrate import Cpu
from cnnprof.frontends.torch.trace import floating_dtype
from cnnprof.ir import Graph
from cnnprof.measure.align import align
from cnnprof.measure.clock import Clock, SystemClock
from cnnprof.measure.hardware import installed, processor
from cnnprof.measure.runner import LayerTimes, least

__all__ = ["TorchRunner", "timed_calls"]


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


class TorchRunner:
    """A model of PyTorch. Raises :class:`ModelError` if its first run fails, :class:`DeviceError` without CUDA."""

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
    ) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError(
                "--device cuda: torch sees no CUDA device", "use --device cpu, or install a CUDA build of torch"
            )
        if cuda_graph and device != "cuda":
            raise UsageError("--cuda-graph: only CUDA has graphs", "add --device cuda")
        self.name = "torch-compile" if compiled else "torch"
        self.device, self.threads = device, threads
        self.title = torch.cuda.get_device_name() if device == "cuda" else processor()
        self.versions: Mapping[str, str] = installed("torch")
        self.single_thread = threads == 1 and device == "cpu"
        self.batch = _batch(graph)
        self._graph = graph
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            self._eager = self._prepared(reference, module, options or {})
            self._call = self._compiled() if compiled else self._eager
            if cuda_graph:
                from cnnprof.measure.cuda_torch import captured

                self._call = captured(self._call)
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
        if self.device == "cuda":
            model = model.to("cuda")
            args = tuple(_to_cuda(value) for value in args)
            kwargs = {key: _to_cuda(value) for key, value in kwargs.items()}
        self._model = model

        def call() -> object:
            with torch.inference_mode():
                return self._model(*args, **kwargs)

        def watched() -> object:
            # In inference mode the dispatcher hands composites over whole; the tracer saw them taken apart.
            with torch.no_grad():
                return self._model(*args, **kwargs)

        self._watched = watched

        try:
            call()
        except CnnprofError:
            raise
        except Exception as error:
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise ModelError(
                f"{reference}: its run failed: {type(error).__name__}: {text[:200]}",
                "check --input, or try a smaller --batch",
            ) from error
        return call

    def _compiled(self) -> Callable[[], object]:
        eager = self._eager
        original, self._model = self._model, torch.compile(self._model)  # type: ignore[assignment]
        try:
            eager()
        except Exception as error:
            self._model = original
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise DependencyError(
                f"torch.compile failed: {type(error).__name__}: {text[:200]}",
                "it needs a C++ compiler; or use --runner torch",
            ) from error
        return eager

    def clock(self) -> Clock:
        if self.device == "cuda":
            from cnnprof.measure.cuda_torch import CudaClock, TorchEvents

            return CudaClock(TorchEvents())
        return SystemClock()

    def run(self) -> None:
        self._call()

    def layer_times(self, passes: int) -> LayerTimes:
        """From eager runs on the CPU; a compiled model or a CUDA one has no calls to time here (empty)."""
        if self.name != "torch" or self.device != "cpu":
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
        for _ in range(passes):
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
        return LayerTimes(seconds=least(rows), elsewhere_s=min(rest), total_s=min(totals))

    def close(self) -> None:
        torch.set_num_threads(self._threads_before)


def _spec(graph: Graph, name: str) -> InputSpec:
    """The description of a graph input: what the model was traced with."""
    tensor = graph.tensors[name]
    return InputSpec(tensor.shape or (), None, tensor.dtype)


def _batch(graph: Graph) -> int:
    shape = graph.tensors[graph.inputs[0]].shape if graph.inputs else None
    return shape[0] if shape else 1


def _to_cuda(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("cuda")
    if isinstance(value, (list, tuple)):
        return type(value)(_to_cuda(item) for item in value)
    return value
