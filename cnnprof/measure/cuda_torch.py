"""torch.cuda as a :class:`~cnnprof.measure.cuda.Cuda`. Nothing but calls: what there is to add up is elsewhere."""

from __future__ import annotations

import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnprof.errors import DeviceError, ModelError, first_line
from cnnprof.measure.cuda import Cuda, CudaFacts, driver_in
from cnnprof.measure.memory_record import MeasuredMemory
from cnnprof.measure.profiler_torch import TorchProfiler

__all__ = ["TorchCuda", "TorchEvents", "anchor_on"]

_ANCHOR_SIDE = 2048
_ANCHOR_RUNS = 4  # in a row: what launching the first takes is some percent of all then
_L2_BYTES = 128 * 2**20  # where torch doesn't say: more than any has


class TorchEvents:
    """torch.cuda's."""

    def record(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        return event

    def elapsed_s(self, earlier: Any, later: Any) -> float:
        return float(earlier.elapsed_time(later)) * 1e-3


class TorchCuda:
    """The current CUDA device. Raises :class:`DeviceError` where torch sees none, or can't compute on it."""

    on_hardware = True

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a driver that is too old: there is no device then
            there = torch.cuda.is_available()
        if not there:
            raise DeviceError(
                "--device cuda: torch sees no CUDA device", "use --device cpu, or install a CUDA build of torch"
            )
        try:
            torch.ones(1, device="cuda").add_(1).item()
        except RuntimeError as error:
            raise DeviceError(
                f"--device cuda: torch can't compute on it: {first_line(error)}",
                "another process may hold it, or this torch wasn't built for it; use --device cpu",
            ) from error
        self.events = TorchEvents()
        self.profiler = TorchProfiler()
        self._capturing: torch.cuda.Stream | None = None

    def host_s(self) -> float:
        return time.perf_counter()

    def facts(self) -> CudaFacts:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        allowed = {"conv": torch.backends.cudnn.allow_tf32, "matmul": torch.backends.cuda.matmul.allow_tf32}
        return CudaFacts(
            name=properties.name,
            driver=_driver(),
            cuda=str(torch.version.cuda),
            cudnn=str(torch.backends.cudnn.version()),
            capability=f"{properties.major}.{properties.minor}",
            multiprocessors=properties.multi_processor_count,
            memory_bytes=properties.total_memory,
            l2_bytes=int(getattr(properties, "L2_cache_size", 0)) or _L2_BYTES,
            tf32=tuple(name for name, on in allowed.items() if on),
        )

    def put(self, value: Any) -> Any:
        return value.to("cuda") if isinstance(value, (torch.Tensor, nn.Module)) else value

    def capture(self, call: Callable[[], object]) -> Callable[[], object]:
        # One stream for all: cuBLAS keeps a workspace for every stream that it has seen (32 MiB of it on Hopper).
        self._capturing = self._capturing or torch.cuda.Stream()
        try:
            return _captured(call, self._capturing)
        except RuntimeError as error:
            raise ModelError(
                f"a CUDA graph can't be captured: {first_line(error)}",
                "the model waits for the device or copies to the host; measure it without --cuda-graph",
            ) from error

    def l2_flush(self) -> Callable[[], object]:
        buffer = torch.empty(2 * self.facts().l2_bytes, dtype=torch.uint8, device="cuda")
        return buffer.zero_

    def measure_memory(self, reference: str) -> MeasuredMemory:
        from cnnprof.measure.memory_run import measure_reference

        return measure_reference(reference, device="cuda", initialise=False)


def anchor_on(cuda: Cuda) -> Callable[[], object]:
    """Work of fixed size on the device, a millisecond or so: as long after as before, or its clock moved."""
    with torch.random.fork_rng(devices=[]):
        work = nn.Linear(_ANCHOR_SIDE, _ANCHOR_SIDE, bias=False)
        given = cuda.put(torch.rand(_ANCHOR_SIDE, _ANCHOR_SIDE))
    module = cuda.put(work.eval())

    def run() -> None:
        with torch.inference_mode():
            for _ in range(_ANCHOR_RUNS):
                module(given)

    return run


def _captured(call: Callable[[], object], stream: torch.cuda.Stream) -> Callable[[], object]:
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # the first runs take memory and choose algorithms, which a capture may not
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph.replay


def _driver() -> str:
    try:
        found = driver_in(Path("/proc/driver/nvidia/version").read_text("utf-8", errors="replace"))
    except OSError:
        found = None
    return found or _asked_driver() or "unknown"


def _asked_driver() -> str | None:
    """What the driver's own tool says, where the system doesn't."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), None)
