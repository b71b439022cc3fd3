"""An accuracy record with every part a page has to show, made with the measuring side's own report."""

from __future__ import annotations

from typing import Any

from cnnprof.measure.accuracy import Compared, report

GATES = [
    {"name": "coherence", "value": 0.997, "low": 0.97, "high": 1.03, "passed": True},
    {"name": "drift", "value": 0.0785, "low": None, "high": 0.05, "passed": False},
]


def compared(model: str, measured_s: float, predicted_s: float, **changes: Any) -> Compared:
    """Its interval is ±12 % of the prediction; measured again 2 % slower; two layers of 60 and 40 %, then of
    60.3 and 39.7 %."""
    values: dict[str, Any] = {
        "low_s": predicted_s * 0.88, "high_s": predicted_s * 1.12, "half_width": 0.01, "quiet": True,
        "again_s": measured_s * 1.02,
        "baselines": {"flops_at_peak": measured_s * 0.5, "roofline_at_peaks": measured_s * 0.75},
        "measured_layers": {"a/conv": 0.6 * measured_s, "b/linear": 0.4 * measured_s},
        "layer_looks": ({"a/conv": 0.6, "b/linear": 0.4}, {"a/conv": 0.603, "b/linear": 0.397}),
        "predicted_layers": {"a/conv": 0.5 * predicted_s, "b/linear": 0.5 * predicted_s},
        "classes": {"a/conv": "conv_dense", "b/linear": "gemm"},
        "features": {"b/linear": {"bound": "memory", "flops_per_byte": 0.5, "inside": False}},
    }  # fmt: skip
    return Compared(model=model, measured_s=measured_s, predicted_s=predicted_s, **{**values, **changes})


def record(*rows: Compared, **changes: Any) -> dict[str, Any]:
    """By default three quiet networks off by +4, −20 and +6 %, one too noisy, one that failed; torch, one thread."""
    rows = rows or (
        compared("torchvision:fast", 0.010, 0.0104), compared("timm:slow", 0.100, 0.080),
        compared("timm:middle", 0.040, 0.0424),
        compared("timm:restless", 0.020, 0.030, quiet=False, reasons=("the anchor workload drifted by 9%",)),
    )  # fmt: skip
    about = {
        "device": "bench-1", "hardware": {"processor": "Some CPU", "cores": "2", "system": "Linux", "machine": "x86_64"},
        "versions": {"torch": "2.14.1", "python": "3.11.7", "cnnprof": "0.1.0"}, "runner": "torch", "threads": 1,
        "batch": 1, "calibration": {"gates": GATES, "networks": 157, "samples": 12353, "seed": 0, "budget_s": 60.0},
        "coincidence": {"kernels": 200, "in_calibration": 10, "share": 0.05},
        "failed": {"timm:odd": "needs 9 GiB of memory"}, "interrupted": False,
    }  # fmt: skip
    return report(rows, {**about, **changes})


def crowd(count: int = 40) -> dict[str, Any]:
    """As many networks as a real run has, 8 to 400 ms, errors of −25 to +25 %, every eighth too noisy."""
    rows = []
    for at in range(count):
        measured = 0.008 * 50 ** (at / (count - 1))
        error = ((at * 7919) % 51 - 25) / 100
        noisy = at % 8 == 7
        reasons = ("the anchor workload drifted by 7%",) if noisy else ()
        rows.append(
            compared(f"timm:network_{at}_of_many", measured, measured * (1 + error), quiet=not noisy, reasons=reasons)
        )
    return record(*rows)


def gpu_record(*, right: bool = True) -> dict[str, Any]:
    """What ``make gpu-check`` writes: eager runs without layers, the same as CUDA graphs, timing, memory."""
    timing = {
        "name": "matmul", "flops": 137_438_953_472, "events_by_hand_s": 0.0031,
        "events_alone_s": 0.00315, "session_s": 0.0032,
        "session_half_width": 0.004, "session_over_events": 1.016, "kernel_s": 0.003, "kernels_over_events": 0.97,
        "flops_per_s": 4.43e13, "peak_flops_per_s": 6.7e13, "share_of_peak": 0.66, "tf32": False,
        "failed": [] if right else ["session agrees with events"], "passed": right,
    }  # fmt: skip
    memory = {"model": "torchvision:resnet18", "predicted_bytes": 55_000_000, "allocated_bytes": 64_000_000,
              "requested_bytes": 63_000_000, "held_by_libraries_bytes": 8_519_680, "error": -0.14, "error_of_tensors": -0.0086}  # fmt: skip
    hardware = {"processor": "NVIDIA Some GPU", "capability": "9.0", "memory_bytes": str(80 << 30), "host": "Some CPU"}
    about = {
        "hardware": hardware,
        "versions": {"torch": "2.14.1", "cuda": "13.0", "driver": "550.54"},
        "coincidence": {},
    }
    bare: dict[str, Any] = {"measured_layers": {}, "predicted_layers": {}, "layer_looks": None}
    eager = record(*(compared(f"timm:n{i}", 0.001 * i, 0.00105 * i, **bare) for i in range(1, 9)), **about)
    graph = record(
        *(compared(f"timm:n{i}", 0.0005 * i, 0.00051 * i) for i in range(1, 9)), runner="torch-cuda-graph", **about
    )
    check = {
        "schema": "cnnprof.gpu-check/1", "limit_s": 450.0, "spent_s": 440.0, "timing": [timing], "timing_passed": right,
        "memory": {"models": [memory], "median_error": 0.0086, "worst_error": 0.0086}, "skipped": ["timm:n9: no time left"],
    }  # fmt: skip
    return {**eager, "cuda_graph": graph, "gpu_check": check}
