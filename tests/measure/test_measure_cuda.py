"""Latency on CUDA through a fake device: layer times, flushing, graphs, profiles; and what happens without a device."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_clock import FakeClock
from fake_cuda import FACTS, FLUSH_NS, GRAPH_GAP_NS, GRAPH_NS, HOST_NS, FakeCuda, QuietHost
from rich.console import Console
from torch import nn

from cnnprof.api import load
from cnnprof.errors import DeviceError, ModelError, UsageError
from cnnprof.frontends.torch.trace import trace
from cnnprof.ir import Graph
from cnnprof.measure.cuda import CudaClock, graph_replay_s, median_s
from cnnprof.measure.gpu_trace import CALL, PASS, TraceEvent, passes_of
from cnnprof.measure.profiler_torch import TorchProfiler, event_of, kernel_layer_times, profiled
from cnnprof.measure.run import l2_flush_for, measure, runner_for
from cnnprof.measure.runner_torch import TorchRunner
from cnnprof.measure.session import Plan, run_session
from cnnprof.render.latency_text import print_measurement

QUICK = Plan(visits=3, samples=3, seconds=0.0, warm_up_runs=3)
NS = 1e-9


class Small(nn.Module):
    """A convolution of 8 to 16 channels, a batch norm, an activation in place, a view, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(16 * 20 * 12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.act(self.norm(self.conv(x))), 1))


# Of 1x8x20x12, by hand. Convolution: 2·240·(16·8·9) = 552 960 FLOP at 20 000/ns = 27 ns; 4·(1920 + 1152) B at 1000/ns
# = 12 ns. Norm: 4·(3840 + 4·16) = 15 ns. ReLU: 4·3840 = 15 ns. Linear: 4·(3840 + 38400 + 10) = 169 ns against
# 2·3840·10/20 000 = 3. Each has 2000 ns more.
KERNELS_NS = {"conv": 2027, "norm": 2015, "act": 2015, "head": 2169}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnprof.measure.cuda.SystemClock", QuietHost)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(Small().eval(), [(1, 8, 20, 12)])


def runner(graph: Graph, cuda: FakeCuda, **options: Any) -> TorchRunner:
    return TorchRunner("small", graph, device="cuda", module=Small(), cuda=cuda, **options)


def names(graph: Graph) -> dict[str, str]:
    """conv, norm, act, head -> op name."""
    kinds = {"conv": "conv", "batch_norm": "norm", "relu": "act", "linear": "head"}
    return {kinds[op.kind]: op.name for op in graph.ops if op.kind in kinds}


def test_layers_are_kernel_times_and_the_rest_is_the_gap(graph: Graph) -> None:
    made = runner(graph, FakeCuda())
    try:
        result = measure(made, graph, plan=QUICK)
    finally:
        made.close()
    # The host launches every 6 µs (and a view in 1 µs), kernels take 2: the last begins when its launch is done.
    expected = (4 * HOST_NS + 1000 + KERNELS_NS["head"]) * NS
    assert result.statistics.latency_s == pytest.approx(expected)
    op = names(graph)
    assert result.attribution is not None
    spent = result.attribution.seconds
    assert {key: spent[op[key]] for key in KERNELS_NS} == pytest.approx({k: v * NS for k, v in KERNELS_NS.items()})
    assert result.attribution.between_layers_s == pytest.approx(
        result.statistics.latency_s - sum(KERNELS_NS.values()) * NS
    )
    document = result.to_dict()
    assert document["by_layer"][op["conv"]]["kernels"] == ["sm90_conv_fprop"]
    gpu = document["gpu"]
    assert gpu["kernels"] == 4 and gpu["kernel_s"] == pytest.approx(8226 * NS)
    assert gpu["busy_share"] == pytest.approx(8226 * NS / result.statistics.latency_s)
    assert gpu["graph_s"] == pytest.approx((GRAPH_NS + 8226 + 3 * GRAPH_GAP_NS) * NS)
    assert gpu["host_bound"] is True  # 28 µs against 19 µs
    assert (result.title, result.versions["driver"]) == (FACTS.name, "550.54.15")


def test_the_terminal_says_who_is_the_limit(graph: Graph) -> None:
    made = runner(graph, FakeCuda())
    result = measure(made, graph, plan=QUICK)
    made.close()
    console = Console(width=120, record=True, file=io.StringIO())
    print_measurement(console, "small", result.to_dict(), top=3)
    # 24 + 1 + 2.169 µs end to end; the kernels' 8.226 are 30 % of it, 18.943 are left.
    assert (
        "GPU: 4 kernels, 8.23 µs in all, busy 30%, idle 18.9 µs, as a CUDA graph 19.2 µs: the host is the limit"
        in console.export_text()
    )


def test_a_cuda_graph_is_not_bound_by_the_host(graph: Graph) -> None:
    made = runner(graph, FakeCuda(), cuda_graph=True)
    try:
        result = measure(made, graph, plan=QUICK)
    finally:
        made.close()
    assert result.statistics.latency_s == pytest.approx(19226 * NS)  # 8 launching, 8.226 of kernels, 3 gaps
    assert result.gpu is not None and not result.gpu.host_bound
    assert result.attribution is not None
    assert result.attribution.seconds[names(graph)["conv"]] == pytest.approx(2027 * NS)


def test_what_can_not_be_captured(graph: Graph) -> None:
    cuda = FakeCuda(captures=False)
    with pytest.raises(ModelError, match="can't be captured"):
        runner(graph, cuda, cuda_graph=True)
    made = runner(graph, cuda)
    result = measure(made, graph, plan=QUICK)
    made.close()
    assert result.gpu is not None and result.gpu.totals.graph_s is None
    assert graph_replay_s(cuda, lambda: None) is None


def test_no_kernels_seen_is_said(graph: Graph) -> None:
    made = runner(graph, FakeCuda(kernels=False))
    result = measure(made, graph, plan=QUICK)
    made.close()
    assert result.attribution is None and result.gpu is None and result.latency_s is not None
    assert any("the profiler saw no kernels" in warning for warning in result.warnings)


def test_plain_passes_replace_the_annotated_one(graph: Graph) -> None:
    """Ranges cost the host 15 µs a call: only the first pass has them, and it isn't what is kept."""
    cuda = FakeCuda()
    module, x = cuda.put(Small().eval()), cuda.put(torch.rand(1, 8, 20, 12))

    def run() -> None:
        with torch.no_grad():
            module(x)

    found = profiled(graph, cuda.profiler, plain=run, watched=run, passes=3)
    assert len(found.passes) == 3 and len(found.owners) == found.passes[0].kernels[-1].call + 1  # type: ignore[operator]
    assert all(kernel.call is not None for one in found.passes for kernel in one.kernels)
    # Four launches of 8 µs under the profiler, three calls without a kernel (the norm's empty, a view, a transpose)
    # of 1 µs, and the last kernel.
    assert {one.duration_ns for one in found.passes} == {4 * 8000 + 3 * 1000 + KERNELS_NS["head"]}
    alone = profiled(graph, cuda.profiler, plain=run, watched=None, passes=2)
    assert len(alone.passes) == 2 and alone.owners == [] and alone.passes[0].kernels[0].call is None
    times = kernel_layer_times(graph, alone)  # of no call: no layer has a time, least of all zero
    assert times.seconds == {} and times.gpu is not None and times.gpu.kernel_s == pytest.approx(8226 * NS)


def test_the_cache_is_flushed_outside_of_the_time(graph: Graph) -> None:
    cuda = FakeCuda()
    made = runner(graph, cuda)
    plain = measure(made, graph, plan=QUICK, layers=False)
    began = cuda.wait()
    flushed = measure(made, graph, plan=QUICK, layers=False, flush_l2=cuda.l2_flush())
    made.close()
    assert flushed.statistics.latency_s == pytest.approx(plain.statistics.latency_s)
    assert cuda.wait() - began > 12 * FLUSH_NS  # 9 samples and 3 to warm up
    assert flushed.to_dict()["flushed_l2"] is True and "flushed_l2" not in plain.to_dict()


def test_flushing_is_for_torch_on_cuda() -> None:
    for device, name in (("cpu", "torch"), ("cuda", "onnxruntime")):
        with pytest.raises(UsageError, match="--flush-l2"):
            l2_flush_for(SimpleNamespace(device=device, name=name))  # type: ignore[arg-type]


def test_something_before_every_run_is_not_timed() -> None:
    clock, order = FakeClock(), []

    def before() -> None:
        order.append("before")
        clock.spend(0.5)

    def run() -> None:
        order.append("run")
        clock.spend(0.010)

    session = run_session({"a": run}, clock, QUICK, before=before)
    assert order == ["before", "run"] * (len(order) // 2) and len(order) == 2 * 12
    assert {round(s.wall_s, 9) for visit in session.visits["a"] for s in visit} == {0.010}


def test_the_clock_counts_no_idle_time_to_a_sample() -> None:
    cuda = FakeCuda()
    clock = CudaClock(cuda.events)
    cuda.host_ns += 10**9  # a second in which nothing is measured
    assert median_s(cuda, lambda: cuda.launch("k", 10_000)) == pytest.approx(16e-6)
    session = run_session({"a": lambda: cuda.launch("k", 10_000)}, clock, QUICK)
    assert {round(s.cpu_s * 1e9) for visit in session.visits["a"] for s in visit} == {16_000}
    assert clock.machine().frequency_hz is None


def test_a_model_that_fails_on_the_device_is_one_line(graph: Graph) -> None:
    class Full(FakeCuda):
        def put(self, value: Any) -> Any:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    with pytest.raises(ModelError, match=r"small: its run failed: RuntimeError: CUDA out of memory.*smaller --batch"):
        runner(graph, Full())


# -- torch's profiler, really: the host's half ---------------------------------------------------------------


class HostProfiler(TorchProfiler):
    """The real one where there's no device to look at."""

    activities = (torch.profiler.ProfilerActivity.CPU,)

    def synchronize(self) -> None:
        pass


def test_ranges_and_operators_of_a_real_trace(graph: Graph) -> None:
    """Real host events; a kernel is added for every operator that does the work, linked to it as kineto links them."""
    work = {
        "aten::thnn_conv2d",
        "aten::mkldnn_convolution",
        "aten::native_batch_norm",
        "aten::clamp_min_",
        "aten::addmm",
    }

    class WithKernels(HostProfiler):
        def trace(self, run: Callable[[], object]) -> list[TraceEvent]:
            events = list(super().trace(run))
            seen = [e for e in events if e.kind == "op" and e.name in work]
            # Under a dispatch mode an operator stands around itself: the inner one launches.
            seen = [
                e
                for e in seen
                if not any(
                    o is not e and o.name == e.name and e.start_ns <= o.start_ns and o.end_ns <= e.end_ns for o in seen
                )
            ]
            end = max(e.end_ns for e in events)
            added = [
                TraceEvent(name=e.name, kind="kernel", start_ns=end + i, duration_ns=10 + i % 4, correlation=10**6 + i,
                           linked=e.correlation)
                for i, e in enumerate(seen)
            ]  # fmt: skip
            return [*events, *added]

    module, x = Small().eval(), torch.rand(1, 8, 20, 12)

    def run() -> None:
        with torch.no_grad():
            module(x)

    found = profiled(graph, WithKernels(), plain=run, watched=run, passes=2)
    assert len(found.passes) == 2
    op = names(graph)
    owners = [tuple(name for name, _ in found.owners[k.call]) for k in found.passes[0].kernels]  # type: ignore[index]
    assert owners == [(op["conv"],), (op["norm"],), (op["act"],), (op["head"],)]


def kineto(name: str, activity: str | None, *, host: bool, annotation: bool = False, linked: int = 0) -> Any:
    values = {
        "name": name, "start_ns": 5, "duration_ns": 7, "correlation_id": 3, "linked_correlation_id": linked,
        "is_user_annotation": annotation,
        "device_type": torch.autograd.DeviceType.CPU if host else torch.autograd.DeviceType.CUDA,
    }  # fmt: skip
    if activity is not None:
        values["activity_type"] = activity
    return SimpleNamespace(**{key: (lambda value=value: value) for key, value in values.items()})


@pytest.mark.parametrize("said", [True, False])
def test_kinds_of_events(said: bool) -> None:
    """With the activity said (torch 2.8 on) and without: the same kinds."""
    rows = [
        ("cnnprof.call#1", "user_annotation", "range", {"host": True, "annotation": True}),
        ("cnnprof.call#1", "gpu_user_annotation", None, {"host": False, "annotation": True}),
        ("aten::relu", "cpu_op", "op", {"host": True}),
        ("cudaLaunchKernel", "cuda_runtime", "launch", {"host": True, "linked": 4}),
        ("cuLaunchKernelEx", "cuda_driver", "launch", {"host": True, "linked": 4}),
        ("relu_kernel", "kernel", "kernel", {"host": False, "linked": 4}),
        ("Memcpy HtoD (Pinned -> Device)", "gpu_memcpy", "kernel", {"host": False, "linked": 4}),
        ("Memset (Device)", "gpu_memset", "kernel", {"host": False}),
    ]
    for name, activity, kind, options in rows:
        made = event_of(kineto(name, activity if said else None, **options))
        assert (None if made is None else made.kind) == kind, (name, said)
    assert event_of(kineto("Activity Buffer Request", "overhead", host=True)) is None
    made = event_of(kineto("k", "kernel", host=False, linked=4))
    assert made == TraceEvent(name="k", kind="kernel", start_ns=5, duration_ns=7, correlation=3, linked=4)


# -- without a device, and with one -----------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
@pytest.mark.parametrize(
    "arguments",
    [
        ("measure", "torchvision:squeezenet1_1", "--device", "cuda"),
        ("measure", "torchvision:squeezenet1_1", "--device", "cuda", "--flush-l2", "--cuda-graph"),
        ("calibrate", "--device", "cuda", "--budget", "15s"),
        ("memory", "torchvision:squeezenet1_1", "--measure", "--device", "cuda"),
    ],
)
def test_commands_without_a_device_are_one_line(cnnprof: Any, arguments: tuple[str, ...]) -> None:
    done = cnnprof(*arguments)
    assert done.returncode == 4 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "cuda" in done.stderr


def test_cuda_graphs_are_torchs(light_resnet50: str) -> None:
    with pytest.raises(UsageError, match="--cuda-graph"):
        runner_for(
            light_resnet50, load(light_resnet50), runner="onnxruntime", device="cuda", threads=1, options={},
            cuda_graph=True,
        )  # fmt: skip


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_really_on_cuda(graph: Graph) -> None:
    made = TorchRunner("small", graph, device="cuda", module=Small())
    try:
        result = measure(made, graph, plan=QUICK)
    finally:
        made.close()
    assert result.gpu is not None and result.gpu.totals.kernels >= 4 and result.gpu.totals.graph_s is not None
    assert result.attribution is not None
    assert all(result.attribution.seconds[name] > 0 for name in names(graph).values())
    assert result.gpu.totals.busy_s <= result.statistics.latency_s


@pytest.mark.gpu
@needs_gpu
def test_timing_is_right_on_cuda() -> None:
    """In processes of their own, as ``make gpu-check`` asks: other tests here have used the profiler."""
    from cnnprof.measure.gpu_check_parts import apart, check_work

    for name in ("matmul", "conv"):
        found = apart(check_work, name, {})
        assert found["passed"], found


@pytest.mark.gpu
@needs_gpu
def test_a_trace_of_cuda_has_launches_and_kernels() -> None:
    profiler = TorchProfiler()
    x = torch.rand(64, 64, device="cuda")

    def run() -> None:
        with profiler.range(f"{PASS}0"), profiler.range(f"{CALL}0"):
            x @ x

    (found,) = passes_of(profiler.trace(run))
    assert [kernel.call for kernel in found.kernels] == [0]


def test_no_device_is_a_device_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("says what happens without a CUDA device")
    from cnnprof.measure.cuda_torch import TorchCuda

    with pytest.raises(DeviceError, match="torch sees no CUDA device"):
        TorchCuda()
