"""Predictions, measurements and devices as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnprof.render.quantities import plain, seconds, threads

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_devices", "print_measurement", "print_prediction"]

_ROOM_FOR_NAMES = 0.5  # of a line, in a list of devices


def print_prediction(console: Console, name: str, section: Mapping[str, Any], *, top: int) -> None:
    """End to end with its interval, what bounds it, and the ``top`` kernels by predicted time."""
    device = section["device"]
    console.print(f"{plain(name)} on {plain(device['title'])}: {_how(section)}")
    console.print(
        f"  {seconds(section['latency_s'])} a batch of {section['batch']}"
        f"  (90 %: {seconds(section['low_s'])} to {seconds(section['high_s'])})"
        f"  {section.get('throughput_per_s', 0.0):,.1f} samples/s"
    )
    bounds = ", ".join(f"{name} {share:.0%}" for name, share in section["bound_shares"].items())
    console.print(f"  bound by: {bounds}" if bounds else "  nothing to run")
    if section["mode"] == "calibrated":
        console.print(f"  inside the calibrated range: {section['inside_share']:.0%} of the time")
    rows = sorted(section["by_layer"].items(), key=lambda item: -item[1]["latency_s"])[:top]
    if rows:
        console.print(_layer_table(rows, section))
    for warning in (*(f"degraded: {gate}" for gate in section["degraded"]), *section["warnings"]):
        console.print(f"note: {plain(warning)}")


def _how(section: Mapping[str, Any]) -> str:
    on = f", {threads(section['threads'])}" if "threads" in section else ""
    return f"{section['mode']} prediction, {section['runner']}, {section['dtype']}{on}"


def _layer_table(rows: list[tuple[str, Mapping[str, Any]]], section: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("class", "time", "share", "90 %", "bound", "of roof"):
        table.add_column(heading, justify="left" if heading in ("class", "bound") else "right", no_wrap=True)
    whole = section["latency_s"] or 1.0
    for name, row in rows:
        roof = row.get("attainable_flops_per_s")
        table.add_row(
            plain(name) + (f" +{len(row['fused'])}" if "fused" in row else ""),
            row["class"],
            seconds(row["latency_s"]),
            f"{row['latency_s'] / whole:.1%}",
            _width(row),
            row["bound"],
            f"{row['flops_per_s'] / roof:.0%}" if roof else "",
        )
    return table


def _width(row: Mapping[str, Any]) -> str:
    """An interval as its half-width: ±20 %."""
    middle = row["latency_s"]
    return f"±{(row['high_s'] - row['low_s']) / 2 / middle:.0%}" if middle else ""


def print_measurement(console: Console, name: str, section: Mapping[str, Any], *, top: int) -> None:
    """End to end with its statistics and verdict, and the ``top`` layers by measured time."""
    device, statistics = section["device"], section["statistics"]
    console.print(
        f"{plain(name)} on {plain(device['title'])}: measured, {section['runner']}, "
        f"{threads(section['threads'])}, batch {section['batch']}"
    )
    if section.get("latency_s") is None:
        console.print(f"  too noisy to say: {plain('; '.join(section['noise']['reasons']))}")
        console.print(
            f"  what was seen (not a result): minimum {seconds(statistics['minimum_s'])}, "
            f"median {seconds(statistics['median_s'])}, {statistics['samples']} samples"
        )
    else:
        console.print(
            f"  {seconds(section['latency_s'])}  (95 %: {seconds(section['low_s'])} to {seconds(section['high_s'])}; "
            f"{section['statistic']})"
        )
        console.print(
            f"  wall: minimum {seconds(statistics['minimum_s'])}, quartiles {seconds(statistics['quartile1_s'])} "
            f"{seconds(statistics['median_s'])} {seconds(statistics['quartile3_s'])}; {statistics['samples']} samples, "
            f"{statistics['disturbed_share']:.0%} disturbed"
        )
    if "gpu" in section:
        console.print(f"  {_on_the_gpu(section['gpu'])}")
    rows = sorted(section.get("by_layer", {}).items(), key=lambda item: -item[1]["latency_s"])[:top]
    if rows:
        whole = sum(row["latency_s"] for row in section["by_layer"].values()) + section["between_layers_s"]
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("layer", overflow="fold")
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("share", justify="right", no_wrap=True)
        for layer, row in rows:
            extra = f" +{len(row['fused'])}" if row.get("fused") else ""
            table.add_row(plain(layer) + extra, seconds(row["latency_s"]), f"{row['latency_s'] / whole:.1%}")
        between = section["between_layers_s"]
        table.add_row("between layers", seconds(between) if between >= 0 else "0 s", f"{between / whole:.1%}")
        console.print(table)
    for warning in section.get("warnings", ()):
        console.print(f"note: {plain(warning)}")


def _on_the_gpu(gpu: Mapping[str, Any]) -> str:
    graph = f", as a CUDA graph {seconds(gpu['graph_s'])}" if "graph_s" in gpu else ""
    return (
        f"GPU: {gpu['kernels']} kernels, {seconds(gpu['kernel_s'])} in all, busy {gpu['busy_share']:.0%}, "
        f"idle {seconds(gpu['launch_gap_s'])}{graph}: {'the host' if gpu['host_bound'] else 'the GPU'} is the limit"
    )


def print_devices(console: Console, rows: Sequence[Mapping[str, str]]) -> None:
    """A device: name, kind of knowledge, runner, what it is. On one line; on two where the longest name leaves the
    rest no room."""
    from rich.padding import Padding
    from rich.table import Table

    if max((len(row["name"]) for row in rows), default=0) > _ROOM_FOR_NAMES * console.width:
        for row in rows:
            console.print(plain(row["name"]), style="bold", highlight=False, soft_wrap=True)
            rest = (plain(row[key]) for key in ("from", "runner", "device") if row[key])
            console.print(Padding("; ".join(rest), (0, 0, 0, 4)), highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "from", "runner", "device"):
        # A name is there to be copied: never in two pieces.
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for row in rows:
        table.add_row(*(plain(row[key]) for key in ("name", "from", "runner", "device")))
    console.print(table)
