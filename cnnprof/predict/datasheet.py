"""Prediction without calibration: the datasheet's roofline at the default efficiencies of the device's kind.

Such a prediction is marked ``datasheet``. Its interval comes from the models held out when the efficiencies were
fitted; on any other device than the one they were fitted on it is twice as wide (in logarithms), because nothing
here has been measured on it.
"""

from __future__ import annotations

import math

from cnnprof.devices.device import Device
from cnnprof.devices.efficiency import Efficiency, default_efficiency
from cnnprof.ir import Graph
from cnnprof.predict.kernels import MATRIX_CLASSES, Kernel
from cnnprof.predict.lower import lower
from cnnprof.predict.prediction import Interval, LayerPrediction, Prediction
from cnnprof.predict.roofline import Parts, Rates, roofline
from cnnprof.predict.scale import at

__all__ = ["predict_datasheet", "rates_of"]

_OTHER_DEVICE = 2.0
# Assumption: a view costs an eager runner part of its dispatch and no launch; a calibration measures it.
_VIEW_SHARE = 0.3
_Z = {"80": 1.2816, "90": 1.6449}


def rates_of(cls: str, device: Device, efficiency: Efficiency, dtype: str, *, compute_share: float = 1.0) -> Rates:
    """What kernels of ``cls`` reach on ``device``. ``compute_share`` is the share of the cores in use."""
    share = efficiency.classes.get(cls) or efficiency.classes["other"]
    peak = device.peak_flops_per_s(dtype, matrix=cls in MATRIX_CLASSES) * compute_share
    overhead = device.launch_overhead_s
    if cls == "view":
        overhead = 0.0 if efficiency.runner == "fused" else overhead * _VIEW_SHARE
    return Rates(
        flops_per_s=peak * share.compute,
        bytes_per_s=device.bandwidth_bytes_per_s * share.memory,
        overhead_s=overhead,
        weight_bytes_per_s=device.bandwidth_bytes_per_s * efficiency.weight_stream,
        half_in=share.half_in,
        half_out=share.half_out,
        exponent=efficiency.exponent,
        overlapped=device.kind == "gpu",
    )


def predict_datasheet(
    graph: Graph,
    device: Device,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    runner: str | None = None,
    threads: int | None = None,
) -> Prediction:
    """Latency of ``graph`` on ``device``; see :func:`cnnprof.predict.predict`."""
    efficiency = default_efficiency(device.kind)
    dtype = dtype or "float32"
    kernels, samples = at(graph, lower(graph, runner or efficiency.runner), batch=batch, dtype=dtype)
    used = 1.0 if threads is None or not device.cores else min(1.0, threads / device.cores)
    peak = device.peak_flops_per_s(dtype, matrix=True) * used
    wide = 1.0 if device.name == efficiency.device and dtype == efficiency.dtype else _OTHER_DEVICE
    layers = []
    for kernel in kernels:
        parts = roofline(kernel, rates_of(kernel.cls, device, efficiency, dtype, compute_share=used))
        layers.append(_layer(kernel, parts, efficiency.layer_log_sd * wide, peak, device.bandwidth_bytes_per_s))
    total = sum(layer.time.latency_s for layer in layers)
    ends = {
        level: [total * math.exp(edge * wide) for edge in edges]
        for level, edges in efficiency.network_log_quantiles.items()
    }
    return Prediction(
        device=device.name,
        title=device.title,
        kind=device.kind,
        mode="datasheet",
        runner=runner or efficiency.runner,
        dtype=dtype,
        batch=samples,
        threads=threads,
        layers=tuple(layers),
        total=Interval(
            latency_s=total,
            low80_s=ends["80"][0],
            high80_s=ends["80"][1],
            low90_s=ends["90"][0],
            high90_s=ends["90"][1],
        ),
        peak_flops_per_s=peak,
        bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
        warnings=tuple(_warnings(device, efficiency, kernels, wide)),
    )


def _layer(kernel: Kernel, parts: Parts, log_sd: float, peak: float, bandwidth: float) -> LayerPrediction:
    time = parts.latency_s
    intensity = kernel.intensity
    return LayerPrediction(
        layers=kernel.ops,
        cls=kernel.cls,
        time=Interval(
            latency_s=time,
            low80_s=time * math.exp(-_Z["80"] * log_sd),
            high80_s=time * math.exp(_Z["80"] * log_sd),
            low90_s=time * math.exp(-_Z["90"] * log_sd),
            high90_s=time * math.exp(_Z["90"] * log_sd),
        ),
        bound=parts.bound,
        flops_per_s=kernel.flops / time if time else 0.0,
        attainable_flops_per_s=None if intensity is None else min(peak, bandwidth * intensity),
        intensity=intensity,
    )


def _warnings(device: Device, efficiency: Efficiency, kernels: tuple[Kernel, ...], wide: float) -> list[str]:
    found = []
    if wide > 1.0:
        found.append(
            f"efficiencies were fitted on {efficiency.device} ({efficiency.dtype}); for {device.name} the interval is "
            "an estimate: calibrate on the device to replace it"
        )
    unknown = [kernel.name for kernel in kernels if not kernel.known]
    if unknown:
        found.append(
            f"{len(unknown)} layers have no known work, first {unknown[0]}: "
            "only their memory traffic is in the prediction"
        )
    return found
