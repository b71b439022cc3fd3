"""Published latency tables as data to fit on: throughput by model, and the kernels of each model.

The tables are timm's ``results/`` (huggingface/pytorch-image-models): one row a model with image size, batch, samples
per second, GMACs and Mactivations. The kernels come from tracing the same models (:func:`trace_kernels`) and are kept
in one compressed file, so that fitting needs neither torch nor timm.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnprof.predict.kernels import CLASSES, Kernel

__all__ = [
    "Errors",
    "KernelTable",
    "PublishedRow",
    "errors_of",
    "halves",
    "log_linear",
    "pack",
    "read_rows",
    "trace_kernels",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_FIELDS = (
    "flops",
    "bytes_in",
    "bytes_weights",
    "bytes_out",
    "channels_in",
    "channels_out",
    "groups",
    "positions",
    "taps",
    "stride",
)


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One measured model: seconds per sample at ``batch``, and the two columns that naive fits use."""

    model: str
    img_size: int
    batch: int
    seconds_per_sample: float
    gmacs: float
    macts: float

    @property
    def key(self) -> str:
        return f"{self.model}@{self.img_size}"


def read_rows(path: Path) -> list[PublishedRow]:
    """The rows of a table with columns model, img_size, batch, samples_per_sec, gmacs, macts; '#' starts a comment."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return [
        PublishedRow(
            model=row["model"],
            img_size=int(row["img_size"]),
            batch=int(row["batch"]),
            seconds_per_sample=1.0 / float(row["samples_per_sec"]),
            gmacs=float(row["gmacs"]),
            macts=float(row["macts"]),
        )
        for row in csv.DictReader(lines)
    ]


def halves(rows: Sequence[PublishedRow]) -> Flags:
    """True for the half to fit on: every other model in alphabetical order, starting with the first."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].model, rows[i].img_size))
    chosen = np.zeros(len(rows), dtype=np.bool_)
    chosen[order[::2]] = True
    return chosen


def log_linear(rows: Sequence[PublishedRow], fitted: Flags) -> Floats:
    """The baseline: log t = a + b·log(GMACs) + c·log(Mactivations), least squares on ``fitted``; log t of all rows.

    The tables round to 0.01, so 0.01 is added to each.
    """
    x = np.array([[1.0, np.log(r.gmacs + 0.01), np.log(r.macts + 0.01)] for r in rows])
    y = log_seconds(rows)
    weights = np.linalg.lstsq(x[fitted], y[fitted], rcond=None)[0]
    return np.asarray(x @ weights)


def log_seconds(rows: Sequence[PublishedRow]) -> Floats:
    return np.log([r.seconds_per_sample for r in rows])


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of predictions: |predicted / measured − 1|, and Spearman's rank correlation."""

    models: int
    median: float
    mean: float
    within_10: float
    worst: float
    rank_correlation: float

    def to_dict(self) -> dict[str, float]:
        return {name: round(float(getattr(self, name)), 4) for name in self.__slots__}


def errors_of(log_predicted: Floats, log_measured: Floats) -> Errors:
    relative = np.abs(np.exp(log_predicted - log_measured) - 1.0)
    return Errors(
        models=len(relative),
        median=float(np.median(relative)),
        mean=float(relative.mean()),
        within_10=float((relative < 0.10).mean()),
        worst=float(relative.max()),
        rank_correlation=_spearman(log_predicted, log_measured),
    )


def _spearman(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2.0)[inverse])


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Kernels of many models, column by column: ``model[i]`` is the row of the model that kernel i belongs to,
    ``count[i]`` how often it runs there, at batch 1 and 4 bytes an element; ``batch`` is the row's, one per kernel."""

    model: npt.NDArray[np.int64]
    count: Floats
    cls: npt.NDArray[np.int64]
    columns: Mapping[str, Floats]
    batch: Floats

    @classmethod
    def read(cls, path: Path, rows: Sequence[PublishedRow], runner: str) -> KernelTable:
        """The kernels of ``rows`` under ``runner``. Raises KeyError naming a model that the file lacks."""
        document = json.loads(gzip.decompress(path.read_bytes()))
        kernels = np.array([row[1:] for row in document["kernels"]], dtype=np.float64)
        classes = np.array([CLASSES.index(document["classes"][row[0]]) for row in document["kernels"]])
        model: list[int] = []
        ids: list[int] = []
        counts: list[int] = []
        for index, row in enumerate(rows):
            for kernel, count in document["models"][row.key][runner]:
                model.append(index)
                ids.append(kernel)
                counts.append(count)
        chosen = np.array(ids)
        return cls(
            model=np.array(model),
            count=np.array(counts, dtype=np.float64),
            cls=classes[chosen],
            columns={name: kernels[chosen, i] for i, name in enumerate(document["fields"])},
            batch=np.array([rows[m].batch for m in model], dtype=np.float64),
        )

    def some(self, where: npt.NDArray[np.int64]) -> KernelTable:
        """The kernels at ``where`` alone."""
        return KernelTable(
            self.model[where], self.count[where], self.cls[where],
            {name: values[where] for name, values in self.columns.items()}, self.batch[where],
        )  # fmt: skip


def pack(models: Mapping[str, Mapping[str, Iterable[Kernel]]]) -> bytes:
    """The compressed file :meth:`KernelTable.read` reads: kernels that many models share stand once."""
    ids: dict[tuple[Any, ...], int] = {}
    packed: dict[str, dict[str, list[list[int]]]] = {}
    for key, runners in models.items():
        packed[key] = {}
        for runner, kernels in runners.items():
            counts: dict[int, int] = {}
            for kernel in kernels:
                values = (CLASSES.index(kernel.cls), *(int(getattr(kernel, name)) for name in _FIELDS))
                identity = ids.setdefault(values, len(ids))
                counts[identity] = counts.get(identity, 0) + 1
            packed[key][runner] = [[i, n] for i, n in sorted(counts.items())]
    document = {"classes": list(CLASSES), "fields": list(_FIELDS), "kernels": [list(k) for k in ids], "models": packed}
    return gzip.compress(json.dumps(document, separators=(",", ":"), sort_keys=True).encode(), mtime=0)


def trace_kernels(rows: Iterable[PublishedRow], runners: Sequence[str]) -> dict[str, dict[str, tuple[Kernel, ...]]]:
    """Trace every model of ``rows`` (timm must be installed) and lower it for each runner."""
    from cnnprof.analyses.complexity import complexity
    from cnnprof.frontends.inputs import InputSpec
    from cnnprof.frontends.sources import load_graph
    from cnnprof.predict.lower import lower

    found: dict[str, dict[str, tuple[Kernel, ...]]] = {}
    for row in rows:
        if row.key not in found:
            graph = load_graph(f"timm:{row.model}", inputs=[InputSpec((1, 3, row.img_size, row.img_size))])
            costs = complexity(graph)
            found[row.key] = {runner: lower(graph, runner, costs) for runner in runners}
    return found
