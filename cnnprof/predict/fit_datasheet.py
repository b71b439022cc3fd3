"""Fits the default class efficiencies on a published table: ``python -m cnnprof.predict.fit_datasheet``.

Half of the models (:func:`~cnnprof.predict.published.halves`) are fitted on, the other half gives the errors and
intervals that the file states. Shares of a peak are bounded by what is physical; a weak prior pulls classes that the
totals say nothing about towards common values. Needs scipy (which comes with scikit-learn).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnprof.devices.catalogue import catalogue
from cnnprof.devices.device import Device
from cnnprof.devices.efficiency import Efficiency, Share
from cnnprof.predict.kernels import CLASSES
from cnnprof.predict.published import (
    Errors,
    Flags,
    Floats,
    KernelTable,
    PublishedRow,
    errors_of,
    halves,
    log_linear,
    log_seconds,
    pack,
    read_rows,
    trace_kernels,
)
from cnnprof.predict.scale import bits_of

__all__ = ["FitResult", "fit", "kernel_seconds", "log_totals"]

_SPLIT = "fitted on every other model in alphabetical order, beginning with the first"
_WIDTH_CLASSES = ("conv_pointwise", "conv_dense", "conv_stem", "conv_grouped", "conv_transpose", "gemm")
_PRIOR = {"compute": 0.5, "memory": 0.8, "half": 16.0, "exponent": 2.0, "stream": 0.6}
# Caches let a CPU's kernels pass its memory bandwidth; on a GPU at large batch they don't. Clocks may exceed the
# rated boost a little.
_BOUNDS = {
    "gpu": {
        "compute": (0.02, 1.2),
        "memory": (0.05, 1.1),
        "half": (0.5, 256.0),
        "exponent": (1.05, 8.0),
        "stream": (0.05, 1.0),
    },
    "cpu": {
        "compute": (0.02, 1.2),
        "memory": (0.05, 8.0),
        "half": (0.5, 256.0),
        "exponent": (1.05, 8.0),
        "stream": (0.05, 1.0),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """A fit with its errors on the half that was held out, beside the log-linear baseline's."""

    efficiency: Efficiency
    held_out: Errors
    baseline: Errors


def kernel_seconds(table: KernelTable, device: Device, efficiency: Efficiency) -> Floats:
    """Seconds per sample of every kernel: the roofline of :mod:`cnnprof.predict.datasheet`, vectorised."""
    from cnnprof.predict.datasheet import rates_of

    rates = [rates_of(cls, device, efficiency, efficiency.dtype) for cls in CLASSES]

    def column(name: str) -> Floats:
        return np.array([getattr(r, name) for r in rates])[table.cls]

    work = _Work(table, bits_of(efficiency.dtype) / 32.0)
    u = work.width(column("half_in"), column("half_out"))
    moving = work.activations / column("bytes_per_s") + work.weights / column("weight_bytes_per_s")
    running = _norm(work.flops / (column("flops_per_s") * u), moving, efficiency.exponent)
    floor = column("overhead_s") / table.batch
    return np.maximum(floor, running) if device.kind == "gpu" else floor + running


def log_totals(table: KernelTable, device: Device, efficiency: Efficiency, models: int) -> Floats:
    """log(seconds per sample) of every model."""
    single = kernel_seconds(table, device, efficiency)
    return np.log(_sums(table, single, models))


def _sums(table: KernelTable, single: Floats, models: int) -> Floats:
    """Σ count · value over the kernels of each model."""
    return np.bincount(table.model, weights=table.count * single, minlength=models).astype(np.float64)


class _Work:
    """Per sample: FLOPs, bytes of activations and of weights (read once a batch), and the width factor."""

    def __init__(self, table: KernelTable, width: float) -> None:
        columns = table.columns
        self.flops = columns["flops"]
        activations = columns["bytes_in"] + columns["bytes_out"]
        self.activations = activations * width
        self.weights = columns["bytes_weights"] / table.batch * width
        self._in, self._out = columns["channels_in"], columns["channels_out"]

    def width(self, half_in: Floats, half_out: Floats) -> Floats:
        return np.asarray(self._in / (self._in + half_in) * self._out / (self._out + half_out))


def _norm(a: Floats, b: Floats, exponent: float) -> Floats:
    large, small = np.maximum(a, b), np.minimum(a, b)
    ratio = np.divide(small, large, out=np.zeros_like(large), where=large > 0)
    return np.asarray(large * (1.0 + ratio**exponent) ** (1.0 / exponent))


def fit(
    rows: Sequence[PublishedRow], table: KernelTable, device: Device, *, dtype: str, runner: str, source: str,
    fitted: Flags | None = None, strength: float = 0.05,
) -> FitResult:  # fmt: skip
    """Fit on ``fitted`` (default: :func:`halves`); errors and intervals from the rest."""
    from scipy.optimize import least_squares  # type: ignore[import-untyped]

    chosen = halves(rows) if fitted is None else fitted
    y = log_seconds(rows)
    present = [cls for cls in CLASSES if (table.cls == CLASSES.index(cls)).any()]
    layout = _Layout(present, device.kind)

    slices = [(cls, np.flatnonzero(table.cls == CLASSES.index(cls))) for cls in present]

    def seconds_of(theta: Floats) -> tuple[Floats, Floats]:
        efficiency = layout.efficiency(theta, device, dtype, runner, source)
        single = kernel_seconds(table, device, efficiency)
        return single, _sums(table, single, len(rows))

    def residuals(theta: Floats) -> Floats:
        return np.concatenate([(np.log(seconds_of(theta)[1]) - y)[chosen], strength * (theta - layout.start)])

    def jacobian(theta: Floats) -> Floats:
        # A class's parameters move only its own kernels: differences over those rows alone, many times cheaper.
        single, totals = seconds_of(theta)
        columns = np.zeros((len(rows), len(theta)))
        step = 1e-5
        for index in range(len(theta)):
            moved = theta.copy()
            moved[index] += step
            efficiency = layout.efficiency(moved, device, dtype, runner, source)
            for cls, where in slices:
                if layout.touches(index, cls):
                    change = kernel_seconds(table.some(where), device, efficiency) - single[where]
                    columns[:, index] += np.bincount(
                        table.model[where], weights=table.count[where] * change, minlength=len(rows)
                    )
        columns /= step * totals[:, None]
        return np.vstack([columns[chosen], strength * np.eye(len(theta))])

    found = least_squares(
        residuals,
        layout.start,
        jac=jacobian,
        bounds=(layout.low, layout.high),
        loss="soft_l1",
        f_scale=0.1,
        max_nfev=40,
    )
    efficiency = layout.efficiency(found.x, device, dtype, runner, source)
    predicted = log_totals(table, device, efficiency, len(rows))
    held = ~chosen
    errors = errors_of(predicted[held], y[held])
    baseline = errors_of(log_linear(rows, chosen)[held], y[held])
    missed = (y - predicted)[held]
    weights = _concentration(table, device, efficiency, len(rows))[held]
    final = Efficiency(
        fitted_on=source,
        device=device.name,
        runner=runner,
        dtype=dtype,
        exponent=efficiency.exponent,
        weight_stream=efficiency.weight_stream,
        classes=efficiency.classes,
        network_log_quantiles={
            "80": (float(np.quantile(missed, 0.10)), float(np.quantile(missed, 0.90))),
            "90": (float(np.quantile(missed, 0.05)), float(np.quantile(missed, 0.95))),
        },
        layer_log_sd=_layer_sd(missed, weights),
        held_out={
            "fit": errors.to_dict(),
            "log_linear": baseline.to_dict(),
            "split": _SPLIT,
        },
    )
    return FitResult(efficiency=final, held_out=errors, baseline=baseline)


class _Layout:
    """Where each parameter stands in the optimiser's vector; all are logarithms."""

    def __init__(self, classes: Sequence[str], kind: str) -> None:
        self.classes = tuple(classes)
        self.wide = tuple(cls for cls in classes if cls in _WIDTH_CLASSES)
        kinds = ["compute"] * len(self.classes) + ["memory"] * len(self.classes) + ["half"] * (2 * len(self.wide))
        kinds += ["stream", "exponent"]
        self._owner = (*self.classes, *self.classes, *self.wide, *self.wide, None, None)
        self.start = np.log([_PRIOR[name] for name in kinds])
        self.low = np.log([_BOUNDS[kind][name][0] for name in kinds])
        self.high = np.log([_BOUNDS[kind][name][1] for name in kinds])

    def touches(self, index: int, cls: str) -> bool:
        """True if parameter ``index`` moves kernels of ``cls``; the last two move all."""
        return self._owner[index] in (None, cls)

    def efficiency(self, theta: Floats, device: Device, dtype: str, runner: str, source: str) -> Efficiency:
        values = np.exp(theta)
        count, wide = len(self.classes), len(self.wide)
        halves_in = dict(zip(self.wide, values[2 * count : 2 * count + wide], strict=True))
        halves_out = dict(zip(self.wide, values[2 * count + wide : 2 * count + 2 * wide], strict=True))
        shares = {
            cls: Share(
                compute=float(values[i]),
                memory=float(values[count + i]),
                half_in=float(halves_in.get(cls, 0.0)),
                half_out=float(halves_out.get(cls, 0.0)),
            )
            for i, cls in enumerate(self.classes)
        }
        for cls in CLASSES:  # what the table never ran: its nearest relative, else the prior
            like = _RELATIVES.get(cls, "other")
            shares.setdefault(cls, shares.get(like) or Share(_PRIOR["compute"], _PRIOR["memory"], 0.0, 0.0))
        return Efficiency(
            fitted_on=source, device=device.name, runner=runner, dtype=dtype, exponent=float(values[-1]),
            weight_stream=float(values[-2]),
            classes=shares, network_log_quantiles={}, layer_log_sd=0.0, held_out={},
        )  # fmt: skip


_RELATIVES = {
    "conv_transpose": "conv_dense", "conv_grouped": "conv_dense", "attention": "matmul", "matmul": "gemm",
    "recurrent": "gemm", "gather": "copy", "resize": "copy", "softmax": "activation_exp", "copy": "concat",
    "activation_exp": "activation", "norm_batch": "norm", "pool": "reduce",
}  # fmt: skip


def _concentration(table: KernelTable, device: Device, efficiency: Efficiency, models: int) -> Floats:
    """Σ w² per model, w the kernels' shares of its time: 1 for one kernel, 1/n for n equal ones."""
    time = kernel_seconds(table, device, efficiency)
    squares = np.bincount(table.model, weights=table.count * time**2, minlength=models)
    sums = np.bincount(table.model, weights=table.count * time, minlength=models)
    return np.asarray(squares / sums**2)


def _layer_sd(missed: Floats, concentration: Floats) -> float:
    """The spread s of single kernels, if independent errors of that size over a common part made the networks':
    least squares of missed² = common + s²·Σw², no less than the networks' own spread."""
    x = np.column_stack([np.ones_like(concentration), concentration])
    slope = float(np.linalg.lstsq(x, (missed - missed.mean()) ** 2, rcond=None)[0][1])
    return max(float(np.std(missed)), slope**0.5 if slope > 0 else 0.0)


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m cnnprof.predict.fit_datasheet", description=__doc__)
    parser.add_argument("table", type=Path, help="CSV: model, img_size, batch, samples_per_sec, gmacs, macts")
    parser.add_argument("--kernels", type=Path, required=True, help="compressed kernels (made if absent; needs timm)")
    parser.add_argument("--device", required=True, help="the catalogue's name of the table's device")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runner", default="torch", help="lowering: torch or fused")
    parser.add_argument("--source", required=True, help="where the table was published")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    rows = read_rows(options.table)
    if not options.kernels.exists():
        options.kernels.write_bytes(pack(trace_kernels(rows, ("torch", "fused"))))
    table = KernelTable.read(options.kernels, rows, options.runner)
    result = fit(
        rows, table, catalogue()[options.device], dtype=options.dtype, runner=options.runner, source=options.source
    )
    text: dict[str, Any] = result.efficiency.to_dict()
    options.output.write_text(json.dumps(text, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stderr.write(f"held out: {result.held_out.to_dict()}\nlog-linear: {result.baseline.to_dict()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
