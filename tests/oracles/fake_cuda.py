"""A CUDA device on a clock of its own: implements cnnprof.measure.cuda.Cuda without a GPU.

Modules that are put on it become meta tensors, so nothing is computed; every ATen call costs the host some time and
puts at most one kernel into a queue, which the device works off in order. Times are whole nanoseconds and follow from
the few constants below, so that tests can work them out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.errors import ModelError
from cnnprof.measure.clock import MachineState
from cnnprof.measure.cuda import CudaFacts
from cnnprof.measure.gpu_trace import CALL, TraceEvent
from cnnprof.measure.memory_record import MeasuredMemory

HOST_NS = 6_000  # what launching a kernel costs the host
VIEW_NS = 1_000  # a call without a kernel
PROFILER_NS = 2_000  # more, for every launch, while a profiler looks
RANGE_NS = 15_000  # more, for every range of a call
GRAPH_NS = 8_000  # launching a whole CUDA graph
GRAPH_GAP_NS = 1_000  # between two kernels of one
FLUSH_NS = 500_000
FACTS = CudaFacts(
    name="NVIDIA Fake H100 80GB", driver="550.54.15", cuda="13.0", cudnn="91002", capability="9.0", multiprocessors=132,
    memory_bytes=80 * 10**9, l2_bytes=50 * 2**20, tf32=("conv",),
)  # fmt: skip
_NO_KERNEL = (
    *("view", "reshape", "permute", "transpose", "expand", "flatten", "split", "chunk", "select", "slice", "detach"),
    *("alias", "as_strided", "empty", "unsqueeze", "squeeze", "t.default", "contiguous"),
)


def kernel_of(func: Any, args: tuple[Any, ...]) -> tuple[str, int] | None:
    """(name, nanoseconds) of the kernel of one ATen call: 2 µs and 1 byte/ps, a convolution or gemm at 20 TFLOP/s."""
    name = str(func).removeprefix("aten.")
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    listed = [t for a in args if isinstance(a, (list, tuple)) for t in a if isinstance(t, torch.Tensor)]
    memory_ns = 4 * sum(t.numel() for t in (*tensors, *listed)) // 1000
    if name.startswith(("convolution", "conv2d")):
        x, weight = tensors[0], tensors[1]
        stride = args[3] if len(args) > 3 else (1, 1)
        flops = 2 * x.numel() // x.shape[1] * weight.numel() // (stride[0] * stride[-1])
        return "void sm90_conv_fprop(float const*, int)", 2_000 + max(memory_ns, flops // 20_000)
    if any(word in name for word in ("addmm", "linear", "mm.default", "matmul")):
        rows, weight = (tensors[1], tensors[2]) if "addmm" in name else (tensors[0], tensors[1])
        flops = 2 * rows.numel() * (weight.numel() // rows.shape[-1])
        return "sm90_gemm", 2_000 + max(memory_ns, flops // 20_000)
    if name.startswith(_NO_KERNEL):
        return None
    return ("bn_inference" if "batch_norm" in name else "elementwise"), 2_000 + memory_ns


class FakeCuda:
    """``kernels=False``: the profiler sees none; ``captures=False``: nothing can be captured; ``memory``: peaks by
    reference."""

    on_hardware = False

    def __init__(
        self, *, kernels: bool = True, captures: bool = True, memory: Mapping[str, MeasuredMemory] | None = None
    ) -> None:
        self.sees_kernels, self.captures, self.memory = kernels, captures, dict(memory or {})
        self.host_ns, self.free_ns = 1_000_000, 0
        self.pending: tuple[str, int] | None = None
        self.launched: list[tuple[str, int]] | None = None  # while something is captured
        self.trace_of: list[TraceEvent] | None = None
        self._ids = 0
        self.events, self.profiler = FakeEvents(self), FakeProfiler(self)

    def launch(self, name: str, duration_ns: int, host_ns: int = HOST_NS) -> None:
        if self.launched is not None:
            self.launched.append((name, duration_ns))
            return
        at = self.host_ns
        self.host_ns += host_ns + (PROFILER_NS if self.trace_of is not None else 0)
        began = max(self.host_ns, self.free_ns)
        self.free_ns = began + duration_ns
        if self.trace_of is not None:
            self._ids += 1
            self.trace_of.append(
                TraceEvent(
                    name="cudaLaunchKernel", kind="launch", start_ns=at, duration_ns=host_ns, correlation=self._ids
                )
            )
            if self.sees_kernels:
                self.trace_of.append(
                    TraceEvent(name=name, kind="kernel", start_ns=began, duration_ns=duration_ns, correlation=self._ids)
                )

    def wait(self) -> int:
        self.host_ns = max(self.host_ns, self.free_ns)
        return self.host_ns

    # -- cnnprof.measure.cuda.Cuda ------------------------------------------------------------------------------

    def host_s(self) -> float:
        return self.host_ns * 1e-9

    def facts(self) -> CudaFacts:
        return FACTS

    def put(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to("meta")
        if isinstance(value, nn.Module):
            value.to("meta")
            if not getattr(value, "on_fake_cuda", False):
                value.on_fake_cuda = True
                plain = value.forward

                def forward(*args: Any, **kwargs: Any) -> Any:
                    with _Kernels(self):
                        return plain(*args, **kwargs)

                value.forward = forward
        return value

    def capture(self, call: Callable[[], object]) -> Callable[[], object]:
        if not self.captures:
            raise ModelError("a CUDA graph can't be captured: fake", "measure it without")
        self.launched = kernels = []
        try:
            call()
        finally:
            self.launched = None

        def replay() -> None:
            self.host_ns += GRAPH_NS
            self.free_ns = max(self.host_ns, self.free_ns)
            self.free_ns += sum(duration for _, duration in kernels) + GRAPH_GAP_NS * max(0, len(kernels) - 1)

        return replay

    def l2_flush(self) -> Callable[[], object]:
        return lambda: self.launch("flush", FLUSH_NS)

    def measure_memory(self, reference: str) -> MeasuredMemory:
        return self.memory[reference]


class _Kernels(TorchDispatchMode):
    """Launches what each call runs, inside the call's range where there's one."""

    def __init__(self, device: FakeCuda) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = self._device
        device.pending = kernel_of(func, args)
        if device.pending is None and device.launched is None:
            device.host_ns += VIEW_NS
        result = func(*args, **(kwargs or {}))
        if device.pending is not None:
            device.launch(*device.pending)
            device.pending = None
        return result


class QuietHost:
    """Stands in for the host's clock: nobody else there."""

    def switches(self) -> int:
        return 0

    def machine(self) -> MachineState:
        return MachineState(wall_s=0.0, steal_s=0.0, busy_s=0.0, throttles=0, frequency_hz=3e9, load=0.0, cores=16)


class FakeEvents:
    def __init__(self, device: FakeCuda) -> None:
        self._device = device

    def record(self) -> int:
        return self._device.wait()

    def elapsed_s(self, earlier: int, later: int) -> float:
        return (later - earlier) * 1e-9


class FakeProfiler:
    def __init__(self, device: FakeCuda) -> None:
        self._device = device

    def trace(self, run: Callable[[], object]) -> list[TraceEvent]:
        self._device.trace_of = events = []
        try:
            run()
            self.synchronize()
        finally:
            self._device.trace_of = None
        return events

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        device = self._device
        began = device.host_ns
        if name.startswith(CALL):
            device.host_ns += RANGE_NS
            if device.pending is not None:
                device.launch(*device.pending)
                device.pending = None
        yield
        if device.trace_of is not None:
            device.trace_of.append(
                TraceEvent(name=name, kind="range", start_ns=began, duration_ns=device.host_ns - began)
            )

    def synchronize(self) -> None:
        self._device.wait()
