"""How close the predicted memory comes: every torchvision classification model, predicted and measured.

``python -m cnnprof.measure.memory_accuracy`` traces each model at batch 1 and 8, for inference and for a training step
with SGD, then really runs it on the CPU and writes ``reports/memory-accuracy.json`` and ``.md``. Models whose
predicted peak is above ``--limit`` are listed, not run. Weights are zeros: memory doesn't depend on values.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnprof.analyses.memory import memory
from cnnprof.analyses.memory.fit import parse_bytes
from cnnprof.errors import CnnprofError
from cnnprof.frontends.inputs import InputSpec
from cnnprof.frontends.torch.references import load_reference
from cnnprof.measure.memory_record import Comparison, compare
from cnnprof.measure.memory_run import measure_reference

__all__ = ["Case", "Row", "main", "markdown", "run_cases", "summary"]

WITHIN = 0.05
NEVER_BEYOND = 0.15
_MIB = 2**20
_SIDES = {"inception_v3": 299}  # its auxiliary head needs it


@dataclass(frozen=True, slots=True, order=True)
class Case:
    model: str
    batch: int
    training: bool

    @property
    def mode(self) -> str:
        return "training" if self.training else "inference"

    @property
    def options(self) -> dict[str, Any]:
        side = _SIDES.get(self.model, 224)
        return {
            "inputs": (InputSpec((self.batch, 3, side, side)),),
            "training": self.training,
            "optimizer": "sgd" if self.training else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case. ``skipped`` says why it wasn't measured; the measured fields are then None.

    ``convention_bytes``: the peak by last reader; ``predicted_bytes``: as the framework holds memory.
    ``allocator_bytes`` includes kernels' own buffers, which aren't predicted (None: not looked at).
    """

    case: Case
    predicted_bytes: int | None
    convention_bytes: int | None
    measured_bytes: int | None = None
    allocator_bytes: int | None = None
    comparison: Comparison | None = None
    skipped: str | None = None

    @property
    def error(self) -> float | None:
        return None if self.comparison is None else self.comparison.error

    def to_dict(self) -> dict[str, Any]:
        data = {
            "model": self.case.model,
            "batch": self.case.batch,
            "mode": self.case.mode,
            "predicted_bytes": self.predicted_bytes,
            "last_reader_bytes": self.convention_bytes,
            "measured_bytes": self.measured_bytes,
            "allocator_bytes": self.allocator_bytes,
            "error": self.error,
            "skipped": self.skipped,
            "differences": [d.to_dict() for d in self.comparison.differences[:3]] if self.comparison else None,
        }
        return {key: value for key, value in data.items() if value is not None}


def run_cases(cases: Sequence[Case], limit_bytes: int, *, workspace_up_to_bytes: int) -> Iterator[Row]:
    """Predict and measure each case, those with the least arithmetic first."""
    for case in sorted(cases, key=_arithmetic):
        yield _run_case(case, limit_bytes, workspace_up_to_bytes)
        gc.collect()


def _arithmetic(case: Case) -> float:
    """Roughly what the case computes, by torchvision's published GFLOPS."""
    from torchvision.models import get_model_weights

    weights = next(iter(get_model_weights(case.model)), None)
    gflops = 1.0 if weights is None else float(weights.meta.get("_ops", 1.0))
    return gflops * case.batch * (3 if case.training else 1)


def _run_case(case: Case, limit_bytes: int, workspace_up_to_bytes: int) -> Row:
    reference = f"torchvision:{case.model}"
    try:
        graph = load_reference(reference, **case.options)
    except CnnprofError as error:
        return Row(case=case, predicted_bytes=None, convention_bytes=None, skipped=f"not traced: {error.message}")
    result = memory(graph, advise=False)
    predicted = (result.framework_peak or result.peak).nbytes
    row = Row(case=case, predicted_bytes=predicted, convention_bytes=result.peak_bytes)
    if predicted > limit_bytes:
        reason = f"predicted peak of {predicted / 2**30:.1f} GiB is above the limit of {limit_bytes / 2**30:.1f} GiB"
        return replace(row, skipped=reason)
    try:
        workspace = predicted <= workspace_up_to_bytes
        measured = measure_reference(reference, initialise=False, workspace=workspace, **case.options)
    except CnnprofError as error:
        return replace(row, skipped=f"not measured: {error.message}")
    return replace(
        row,
        measured_bytes=measured.peak_bytes,
        allocator_bytes=measured.allocator_peak_bytes,
        comparison=compare(result, [op.op_type for op in graph.ops], measured),
    )


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts and the largest error of the measured rows."""
    errors = [abs(row.error) for row in rows if row.error is not None]
    return {
        "measured": len(errors),
        "skipped": sum(1 for row in rows if row.skipped),
        "within_5_percent": sum(error <= WITHIN for error in errors),
        "largest_error": max(errors, default=0.0),
        "passes": bool(errors)
        and sum(error <= WITHIN for error in errors) >= 0.95 * len(errors)
        and max(errors) <= NEVER_BEYOND,
    }


def markdown(rows: Sequence[Row], versions: str) -> str:
    total = summary(rows)
    lines = [
        "# Predicted against measured peak memory",
        "",
        f"torchvision's classification models on the CPU, {versions}, 224x224 (inception_v3: 299x299), "
        "inference and one training step with SGD.",
        "Predicted from a trace on meta tensors, without running; measured at the dispatcher while really running: "
        "the most that all storages take together, weights included.",
        "*Allocator* also has what kernels take for themselves and give back (oneDNN's reordered copies), "
        "which isn't predicted.",
        "",
        f"Measured {total['measured']}, within 5 %: {total['within_5_percent']}, "
        f"largest error {100 * total['largest_error']:.2f} %, not run {total['skipped']}.",
        "",
        "| model | mode | batch | predicted MiB | measured MiB | error | by last reader MiB | allocator MiB |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_table_row(row) for row in sorted(rows, key=lambda row: row.case) if row.error is not None]
    far = [row for row in rows if row.error is not None and abs(row.error) > WITHIN]
    lines += ["", "## Differences above 5 %", ""]
    for row in far:
        places = "; ".join(
            f"{d.op} ({d.op_type}): {d.bytes_more / _MIB:+.1f} MiB measured"
            for d in (row.comparison.differences[:3] if row.comparison else ())
        )
        lines.append(f"- {row.case.model}, {row.case.mode}, batch {row.case.batch}: {places}")
    lines += [] if far else ["None."]
    lines += ["", "## Not run", ""]
    skipped = [row for row in rows if row.skipped]
    lines += [f"- {r.case.model}, {r.case.mode}, batch {r.case.batch}: {r.skipped}" for r in skipped] or ["None."]
    return "\n".join(lines) + "\n"


def _table_row(row: Row) -> str:
    sizes = [row.predicted_bytes, row.measured_bytes, row.convention_bytes, row.allocator_bytes]
    predicted, measured, convention, allocator = ("" if s is None else f"{s / _MIB:.1f}" for s in sizes)
    error = "" if row.error is None else f"{100 * row.error:+.2f} %"
    case = row.case
    return (
        f"| {case.model} | {case.mode} | {case.batch} | {predicted} | {measured} | {error} | {convention} "
        f"| {allocator} |"
    )


def _write(folder: Path, rows: Sequence[Row], versions: str) -> None:
    data = {"versions": versions, "summary": summary(rows), "rows": [row.to_dict() for row in rows]}
    texts = {
        "memory-accuracy.json": json.dumps(data, indent=1, sort_keys=True) + "\n",
        "memory-accuracy.md": markdown(rows, versions),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(folder / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if it passes (95 % within 5 %, none beyond 15 %), else 1."""
    import torch
    import torchvision

    parser = argparse.ArgumentParser(prog="memory_accuracy", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", help="torchvision names (default: all classification models)")
    parser.add_argument("--limit", default="10GiB", help="don't run what is predicted above this")
    parser.add_argument("--workspace-up-to", default="1GiB", help="look at the allocator too up to this peak")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args(arguments)
    names = options.models or torchvision.models.list_models(module=torchvision.models)
    cases = [Case(name, batch, training) for name in names for batch in options.batches for training in (False, True)]
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    rows: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, workspace = parse_bytes(options.limit), parse_bytes(options.workspace_up_to)
        for row in run_cases(cases, limit, workspace_up_to_bytes=workspace):
            rows.append(row)
            error = row.skipped or f"{100 * (row.error or 0):+.2f} %"
            sys.stderr.write(f"{len(rows)}/{len(cases)} {row.case.model} {row.case.mode} {row.case.batch}: {error}\n")
            _write(options.reports, rows, versions)
    total = summary(rows)
    sys.stdout.write(
        f"{total['within_5_percent']} of {total['measured']} within 5 %, "
        f"largest error {100 * total['largest_error']:.2f} %, {total['skipped']} not run\n"
    )
    return 0 if total["passes"] else 1


if __name__ == "__main__":
    sys.exit(main())
