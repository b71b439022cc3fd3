"""The table of samples that a calibration takes, and its CSV: one row a kernel, one a network's total."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cnnprof.errors import SchemaError
from cnnprof.measure.contention import CONTENDED
from cnnprof.measure.statistics import quantile
from cnnprof.predict.kernels import Kernel

__all__ = ["NetSample", "calm_level_s", "from_csv", "quiet_level_s", "to_csv"]

_KERNEL_FIELDS = tuple(f.name for f in fields(Kernel) if f.name not in ("name", "ops", "known"))
_TYPES = {f.name: str(f.type) for f in fields(Kernel)}
_READ: Mapping[str, Callable[[str], Any]] = {"str": str, "float": float, "int": int, "bool": "True".__eq__}
_LATER = ("fed_by",)  # fields that older tables haven't got
_QUIET_SHARE = 0.03  # of the looks at the cache, the share from below whose level is the quiet one
_FEEDING = ("host_s", "calls")  # at the end, of networks whose calls were counted, or that a host feeds to a device
_COLUMNS = ("network", "total_s", "sum_s", "disturbed", "stream_s", "seconds", "ops", *_KERNEL_FIELDS)
_OLDER = tuple(name for name in _COLUMNS if name not in _LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSample:
    """One synthetic network: its index in the suite, the un-instrumented total (CPU seconds for one thread), the
    share of disturbed runs, and its kernels with the seconds each took in place; ``stream_s`` is what copying memory
    took around it (0 where nobody looked). ``calls`` is how many modules it called (0 where nobody counted). On a
    device that a host feeds, ``host_s`` is what issuing each kernel took the host (none where nobody looked)."""

    network: int
    total_s: float
    disturbed: float
    kernels: tuple[Kernel, ...]
    seconds: tuple[float, ...]
    stream_s: float = 0.0
    host_s: tuple[float, ...] = ()
    calls: int = 0

    @property
    def sum_s(self) -> float:
        return sum(self.seconds)


def quiet_level_s(samples: Sequence[NetSample]) -> float:
    """What copying takes while no neighbour uses the cache, as nearly as was seen; 0 where nobody looked. It isn't the
    least: its own scatter is some percent."""
    return quantile([sample.stream_s for sample in samples], _QUIET_SHARE) if samples else 0.0


def calm_level_s(samples: Sequence[NetSample]) -> float:
    """What copying takes around most of ``samples``, but at most half of the way to where it counts as contended: the
    level to expect while nobody else uses the cache, 0 where nobody looked."""
    usual_s = quantile([sample.stream_s for sample in samples], 0.5) if samples else 0.0
    return min(usual_s, (1.0 + 0.5 * CONTENDED) * quiet_level_s(samples))


def to_csv(samples: Sequence[NetSample]) -> str:
    """Every kernel of every network, with its features and time."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fed = any(sample.host_s or sample.calls for sample in samples)
    writer.writerow((*_COLUMNS, *_FEEDING) if fed else _COLUMNS)
    for sample in samples:
        hosts = sample.host_s or ("",) * len(sample.kernels)
        for kernel, seconds, host in zip(sample.kernels, sample.seconds, hosts, strict=True):
            features = [getattr(kernel, name) for name in _KERNEL_FIELDS]
            own = (sample.total_s, sample.sum_s, sample.disturbed, sample.stream_s, seconds)
            feeding = (host, sample.calls) if fed else ()
            writer.writerow([sample.network, *map(repr, own), len(kernel.ops), *features, *feeding])
    return out.getvalue()


def from_csv(text: str, *, origin: str) -> tuple[NetSample, ...]:
    """What :func:`to_csv` wrote. Raises :class:`SchemaError` if it isn't that."""
    rows = list(csv.reader(io.StringIO(text)))
    columns = tuple(rows[0]) if rows else ()
    if columns not in [(*kernels, *feeding) for kernels in (_COLUMNS, _OLDER) for feeding in ((), _FEEDING)]:
        raise SchemaError(f"{origin}: not a table of samples", "calibrate anew, without --resume or --extend")
    try:
        nets: dict[int, list[dict[str, str]]] = {}
        for row in rows[1:]:
            nets.setdefault(int(row[0]), []).append(dict(zip(columns, row, strict=True)))
        return tuple(_net(index, lines) for index, lines in nets.items())
    except (ValueError, IndexError) as error:
        raise SchemaError(
            f"{origin}: a damaged table of samples ({error})", "calibrate anew, without --resume or --extend"
        ) from None


def _net(index: int, rows: Sequence[Mapping[str, str]]) -> NetSample:
    return NetSample(
        network=index,
        total_s=float(rows[0]["total_s"]),
        disturbed=float(rows[0]["disturbed"]),
        stream_s=float(rows[0]["stream_s"]),
        kernels=tuple(_kernel(row) for row in rows),
        seconds=tuple(float(row["seconds"]) for row in rows),
        host_s=tuple(float(row["host_s"]) for row in rows if row.get("host_s")),
        calls=int(rows[0].get("calls", 0)),
    )


def _kernel(row: Mapping[str, str]) -> Kernel:
    values: dict[str, Any] = {name: _READ[_TYPES[name]](row[name]) for name in _KERNEL_FIELDS if name in row}
    return Kernel(name="", ops=("",) * int(row["ops"]), **values)
