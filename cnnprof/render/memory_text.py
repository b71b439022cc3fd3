"""The memory analysis as text, 80 columns: the peak, a sparkline of the run, what is alive, what would help."""

from __future__ import annotations

from cnnprof.analyses.memory.fit import Fitted
from cnnprof.analyses.memory.result import MemoryResult, Moment, compact
from cnnprof.measure.memory_record import Comparison, MeasuredMemory
from cnnprof.render.quantities import nbytes, percent, plain, shape

__all__ = ["memory_text", "sparkline"]

WIDTH = 80
_BARS = "▁▂▃▄▅▆▇█"
_SPARK = 76


def memory_text(
    title: str,
    result: MemoryResult,
    *,
    top: int = 10,
    measured: MeasuredMemory | None = None,
    comparison: Comparison | None = None,
) -> str:
    """The whole report; ``title`` names the model and its inputs."""
    sections = [
        [_cut(plain(title), WIDTH), *_peak(result)],
        _timeline(result),
        _alive(result, top),
        _savings(result),
        _reordered(result),
        _fit(result),
        _measured(measured, comparison),
        _warnings(result),
    ]
    return "\n\n".join("\n".join(_cut(line, WIDTH) for line in lines) for lines in sections if lines) + "\n"


def sparkline(values: tuple[int, ...], columns: int = _SPARK) -> str:
    """One block a column, each its bucket's maximum, from the least (lowest block) to the most (full block)."""
    buckets = compact(values, columns)["live_bytes"]
    if not buckets:
        return ""
    low, high = min(buckets), max(buckets)
    steps = len(_BARS) - 1
    return "".join(_BARS[(value - low) * steps // (high - low) if high > low else steps] for value in buckets)


def _peak(result: MemoryResult) -> list[str]:
    count = len(result.op_names)
    rows = [
        ("Peak", result.peak_bytes, f"{_where(result.peak, count)}"),
        ("  weights and buffers", result.parameter_bytes + result.buffer_bytes + result.constant_bytes, ""),
    ]
    if result.mode == "training":
        rows += [
            ("  optimizer state", result.optimizer_state_bytes, ""),
            ("  saved for backward", result.saved_for_backward_bytes, "in all, at the end of forward"),
            ("  gradients", result.gradient_bytes, "in all, at the end of backward"),
        ]
    rows.append(("  activations", result.peak_activation_bytes, "at the peak, inputs and gradients included"))
    if result.framework_peak is not None:
        rows.append(("Peak as torch frees", result.framework_peak.nbytes, _where(result.framework_peak, count)))
    if result.arena is not None:
        arena = result.arena
        rows.append(
            (
                "Planned arena",
                arena.nbytes,
                f"lower bound {nbytes(arena.lower_bound_bytes)} (+{100 * arena.overhead:.1f} %), weights apart",
            )
        )
    what_if = ", ".join(f"{key} {value}" for key, value in result.what_if.to_dict().items() if key != "checkpointed")
    lines = [_cut(f"{name:<22}{nbytes(size):>10}  {note}".rstrip(), WIDTH) for name, size, note in rows]
    return [*([f"What if: {what_if}"] if what_if else []), *lines]


def _where(moment: Moment, count: int) -> str:
    if moment.op is None or moment.index is None:
        return "before any op"
    phase = "" if moment.phase == "forward" else f"{moment.phase}, "
    place = f" ({phase}op {moment.index + 1} of {count})"
    return f"at {_cut(plain(moment.op), WIDTH - 37 - len(place), keep_end=True)}{place}"


def _timeline(result: MemoryResult) -> list[str]:
    live = result.live_bytes
    if len(live) < 2:
        return []
    line = compact(live, _SPARK)
    per = line["ops_per_point"]
    ends = f"{nbytes(min(live))} to {nbytes(max(live))}"
    phases = "" if result.mode != "training" else "; then backward"
    return [f"Alive over the run ({ends}; {per} op{'s' if per > 1 else ''} a column{phases})", sparkline(live)]


def _alive(result: MemoryResult, top: int) -> list[str]:
    rows = result.alive_at_peak
    lines = [f"Alive at the peak, largest first ({len(rows)} in all)"]
    for tensor in rows[:top]:
        size, share = nbytes(tensor.nbytes), percent(tensor.nbytes, result.peak_bytes)
        name = _cut(plain(tensor.name), 30, keep_end=True)
        lines.append(_cut(f"{size:>10} {share:>7}  {tensor.category.value:<18} {name} {shape(tensor.shape)}", WIDTH))
    rest = sum(tensor.nbytes for tensor in rows[top:])
    if rest:
        lines.append(f"{nbytes(rest):>10} {percent(rest, result.peak_bytes):>7}  {len(rows) - top} more")
    return lines


def _savings(result: MemoryResult) -> list[str]:
    if not result.savings:
        return []
    lines = ["What would lower the peak (each alone)"]
    for row in result.savings[:8]:
        share = percent(row.saving_bytes, result.peak_bytes)
        lines.append(_cut(f"{nbytes(row.saving_bytes):>10} {share:>7}  {plain(row.what)}: {plain(row.detail)}", WIDTH))
    return lines


def _reordered(result: MemoryResult) -> list[str]:
    if result.reordered is None:
        return []
    found = result.reordered
    if found.peak_bytes >= result.peak_bytes:
        return ["Execution order: no better one found (heuristic)"]
    return [f"Execution order: {nbytes(found.peak_bytes)}, {found.method} (heuristic; the order is in the JSON)"]


def _fit(result: MemoryResult) -> list[str]:
    if result.fit is None:
        return []
    lines = [f"Fits into {nbytes(result.fit.budget_bytes)}"]
    for name, found in (("batch", result.fit.batch), ("square side", result.fit.side)):
        if found is not None:
            lines.append(_cut(f"  largest {name:<12} {_fitted(found)}", WIDTH))
    return lines


def _fitted(found: Fitted) -> str:
    least = "at least " if found.at_least else ""
    peak = f", peak {nbytes(found.peak_bytes)}" if found.peak_bytes is not None else ""
    beyond = f"; the next needs {nbytes(found.next_peak_bytes)}" if found.next_peak_bytes is not None else ""
    reason = f"; {plain(found.reason)}" if found.reason else ""
    return f"{least}{found.value}{peak}{beyond}{reason}"


def _measured(measured: MeasuredMemory | None, comparison: Comparison | None) -> list[str]:
    if measured is None or comparison is None:
        return []
    lines = [
        f"Measured on {measured.device}: {measured.method}",
        f"  tensors        {nbytes(measured.peak_bytes):>10}  predicted {nbytes(comparison.predicted_peak_bytes)} "
        f"({100 * comparison.error:+.2f} %)",
    ]
    if measured.allocator_peak_bytes is not None and measured.workspace_bytes is not None:
        lines.append(
            f"  with workspace {nbytes(measured.allocator_peak_bytes):>10}  "
            f"kernels' own buffers add {nbytes(measured.workspace_bytes)}, not predicted"
        )
    if measured.samples and comparison.aligned:
        lines.append(f"  {sparkline(tuple(sample.live_bytes for sample in measured.samples))}")
        lines.append(f"  {comparison.aligned} of {comparison.ops} ops aligned; biggest differences:")
        lines += [
            _cut(
                f"  {'+' if row.bytes_more > 0 else '-'}{nbytes(abs(row.bytes_more)):>10} measured at {plain(row.op)}",
                WIDTH,
            )
            for row in comparison.differences[:5]
        ] or ["  none"]
    return lines


def _warnings(result: MemoryResult) -> list[str]:
    if result.complete:
        return []
    names = ", ".join(plain(name) for name in result.unsized[:3])
    return [_cut(f"Sizes unknown of {len(result.unsized)} tensors ({names}): all figures are lower bounds", WIDTH)]


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if keep_end else f"{text[: width - 1]}…"
