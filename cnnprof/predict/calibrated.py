"""Prediction with a calibrated profile: per class roofline × learned residual, then α·(Σ − δ·ops).

A kernel's class and path have their own fit where the calibration saw enough of them, else the class has, else the
nearest thing there is, which is flagged. What lies outside the calibrated range is flagged and its interval widened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnnprof.devices.calibrated import CalibratedDevice
from cnnprof.errors import SchemaError
from cnnprof.ir import Graph
from cnnprof.predict.features import apart_s, as_fitted, row_of
from cnnprof.predict.heap import with_mapped
from cnnprof.predict.kernels import Kernel
from cnnprof.predict.lower import lower
from cnnprof.predict.prediction import Interval, LayerPrediction, Prediction
from cnnprof.predict.queue import in_queue
from cnnprof.predict.ranges import OUTSIDE_WIDER, is_inside, widening
from cnnprof.predict.residual import evaluate
from cnnprof.predict.roofline import Rates, roofline
from cnnprof.predict.scale import at, batch_of
from cnnprof.predict.spread import effective_kernels, spread_of
from cnnprof.predict.whole import Whole

__all__ = [
    "kernel_times",
    "predict_calibrated",
    "rates_from",
]

_UNSEEN = 0.5  # log-spread of a class that was never measured


def rates_from(fit: Mapping[str, Any]) -> Rates:
    """The three constants of a class's roofline."""
    return Rates(
        flops_per_s=float(fit["flops_per_s"]),
        bytes_per_s=float(fit["bytes_per_s"]),
        overhead_s=float(fit["overhead_s"]),
        exponent=float(fit["exponent"]),
    )


def kernel_times(device: CalibratedDevice, kernels: Sequence[Kernel]) -> list[tuple[float, str | None]]:
    """(seconds, key of the fit used) of each kernel; the key is None where nothing like it was calibrated."""
    classes, total = device.data["classes"], device.data["total"]
    keys = [_key(kernel, classes) for kernel in kernels]
    times: list[tuple[float, str | None]] = [(0.0, None)] * len(kernels)
    for key in set(keys):
        where = [index for index, own in enumerate(keys) if own == key]
        fit = classes[key] if key is not None else _typical(classes)
        rows = np.array([row_of(kernels[index]) for index in where], dtype=np.float64)
        low, high = fit["clip"]
        residual = np.clip(evaluate(fit["forests"], rows), low, high)
        for place, index in enumerate(where):
            base = roofline(kernels[index], rates_from(fit)).latency_s
            times[index] = (base * math.exp(float(residual[place])) + apart_s(kernels[index], total), key)
    return times


def _key(kernel: Kernel, classes: Mapping[str, Any]) -> str | None:
    for key in (kernel.key, kernel.cls, *_RELATIVES.get(kernel.cls, ())):
        if key in classes:
            return key
    return None


_RELATIVES: Mapping[str, tuple[str, ...]] = {
    "conv_transpose": ("conv_dense",), "conv_stem": ("conv_dense",), "conv_grouped": ("conv_dense",),
    "matmul": ("gemm",), "attention": ("gemm",), "recurrent": ("gemm",), "softmax": ("activation_exp",),
    "gather": ("copy",), "resize": ("copy",), "concat": ("copy",), "other": ("binary", "activation"),
    "norm": ("reduce",), "copy": ("concat",), "activation_exp": ("activation",), "activation": ("activation_exp",),
}  # fmt: skip


def _typical(classes: Mapping[str, Any]) -> Mapping[str, Any]:
    """For a class that nothing is like: the slowest memory rate and the largest overhead that were calibrated."""
    if not classes:
        raise SchemaError("device profile: no classes", "calibrate again: cnnprof calibrate")
    rates = [rates_from(fit) for fit in classes.values()]
    return {
        "flops_per_s": min(r.flops_per_s for r in rates), "bytes_per_s": min(r.bytes_per_s for r in rates),
        "overhead_s": max(r.overhead_s for r in rates), "exponent": 4.0, "forests": [], "clip": [0.0, 0.0],
    }  # fmt: skip


def predict_calibrated(graph: Graph, device: CalibratedDevice, *, batch: int | None = None) -> Prediction:
    """Latency of ``graph`` on the machine and runner that ``device`` was calibrated on."""
    lowering = str(device.data.get("lowering", device.runner))
    kernels, samples = at(graph, lower(graph, lowering), batch=batch, dtype=device.dtype)
    try:
        if lowering == "torch" and device.data["total"].get("mapped_s_per_byte"):
            kernels = with_mapped(graph, kernels, batch=samples / batch_of(graph))
        fitted = as_fitted(kernels, int(device.data.get("kernel_model", 1)))
        return _predict(device, fitted, samples, graph.module_calls)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise SchemaError(f"{device.name}: the device profile is damaged ({error})", "calibrate again") from None


def _predict(device: CalibratedDevice, kernels: Sequence[Kernel], samples: int, module_calls: int | None) -> Prediction:
    total_fit = device.data["total"]
    times = kernel_times(device, kernels)
    ranges = device.data["range"]
    inside = [
        key is not None and is_inside(kernel, ranges.get(key)) for kernel, (_, key) in zip(kernels, times, strict=True)
    ]
    around = 0.0
    if "queue" in total_fit:
        corrected = in_queue(kernels, [seconds for seconds, _ in times], total_fit["queue"], module_calls)
    else:
        fit = Whole.of(total_fit)
        corrected = fit.kernels_s(np.array([seconds for seconds, _ in times])).tolist()
        if module_calls is not None:  # δ holds one an op
            around = fit.call_s * (module_calls - len(kernels))
    total = max(sum(corrected) + around, 0.25 * sum(seconds for seconds, _ in times))
    spread = spread_of(total_fit, effective_kernels(np.array(corrected)), total, samples)
    roof = device.data["roof"]
    layers = [
        _layer(device, kernel, seconds, raw, key, ok, roof)
        for kernel, seconds, (raw, key), ok in zip(kernels, corrected, times, inside, strict=True)
    ]
    if "queue" in total_fit:  # what mostly waits for the host is bound by it
        layers = [
            replace(layer, bound="overhead") if layer.time.latency_s > 2.0 * raw else layer
            for layer, (raw, _) in zip(layers, times, strict=True)
        ]
    whole = sum(layer.time.latency_s for layer in layers) or 1.0
    outside = sum(layer.time.latency_s for layer, ok in zip(layers, inside, strict=True) if not ok) / whole
    warnings = []
    if outside > 0.05:
        strange = [layer for layer in layers if not layer.inside]
        worst = max(strange, key=lambda layer: layer.time.latency_s)
        warnings.append(
            f"{outside:.0%} of the predicted time lies outside the calibrated range, most of it {worst.name} "
            f"({worst.cls}); its interval is widened"
        )
    return Prediction(
        device=device.name,
        title=device.title,
        kind=device.kind,
        mode="calibrated",
        runner=device.runner,
        dtype=device.dtype,
        batch=samples,
        threads=device.threads,
        layers=tuple(layers),
        total=_interval(
            total,
            total_fit["log_quantiles"],
            widening(outside, _wider(total_fit)) * spread,
            float(total_fit.get("spread_sessions", 0.0)),
        ),
        peak_flops_per_s=float(roof["flops_per_s"]),
        bandwidth_bytes_per_s=float(roof["bytes_per_s"]),
        degraded=tuple(str(gate["name"]) for gate in device.failed_gates),
        warnings=tuple(warnings),
    )


def _layer(
    device: CalibratedDevice,
    kernel: Kernel,
    seconds: float,
    raw: float,
    key: str | None,
    inside: bool,
    roof: Mapping[str, Any],
) -> LayerPrediction:
    classes = device.data["classes"]
    fit = classes[key] if key is not None else _typical(classes)
    wide = 1.0 if inside else _wider(device.data["total"])
    quantiles = fit.get("log_quantiles") or {"80": [-_UNSEEN, _UNSEEN], "90": [-1.3 * _UNSEEN, 1.3 * _UNSEEN]}
    intensity = kernel.intensity
    return LayerPrediction(
        layers=kernel.ops,
        cls=kernel.cls,
        time=_interval(seconds, quantiles, wide),
        bound=roofline(kernel, rates_from(fit)).bound,
        flops_per_s=kernel.flops / raw if raw else 0.0,
        attainable_flops_per_s=None
        if intensity is None
        else min(float(roof["flops_per_s"]), float(roof["bytes_per_s"]) * intensity),
        intensity=intensity,
        inside=inside,
    )


def _wider(total_fit: Mapping[str, Any]) -> float:
    return float(total_fit.get("outside_wider", OUTSIDE_WIDER))


_NORMAL = {"80": 1.2816, "90": 1.6449}  # how many deviations to either side hold so much of a normal law


def _interval(
    seconds: float, quantiles: Mapping[str, Sequence[float]], wide: float, deviation: float = 0.0
) -> Interval:
    """``quantiles`` of a logarithm, ``wide`` times as far, and beside them what has that ``deviation`` by itself."""
    ends = {
        level: [
            seconds * math.exp(math.copysign(math.hypot(float(edge) * wide, _NORMAL[level] * deviation), float(edge)))
            for edge in quantiles[level]
        ]
        for level in ("80", "90")
    }
    return Interval(
        latency_s=seconds, low80_s=ends["80"][0], high80_s=ends["80"][1], low90_s=ends["90"][0], high90_s=ends["90"][1]
    )
