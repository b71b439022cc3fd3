"""``cnnprof calibrate``: learn once what this machine and runner do, to predict from then on."""

from __future__ import annotations

from typing import Any

import click

from cnnprof.cli.interrupt import kill_keeps

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof calibrate
  cnnprof calibrate --threads 4 --budget 240s --name my-laptop
  cnnprof calibrate --runner onnxruntime
  cnnprof calibrate --resume
  cnnprof calibrate --extend --budget 240s
  cnnprof predict model.onnx --device my-laptop
"""
_BUDGETS = ("15s", "60s", "240s")


@click.command("calibrate", epilog=_EPILOG, short_help="Learn what this machine and runner do.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--runner", type=click.Choice(["torch", "onnxruntime"]), default="torch", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--budget", type=click.Choice(_BUDGETS), default="60s", show_default=True,
              help="Quiet time to measure; a busy host can take three times that (four, with several "
                   "threads). Fitting comes on top. On a CPU 240s measures every network twice.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same networks.")
@click.option("--name", metavar="NAME", help="The profile's name (default: processor, runner, version, threads).")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted calibration has measured.")
@click.option(
    "--extend",
    is_flag=True,
    help="Go on with a finished calibration: further networks, of its seed, and one fit of all. At another "
    "hour the machine is in another mood; several average out.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")
@kill_keeps
def command(
    *, device: str, runner: str, threads: int, budget: str, seed: int, name: str | None, resume: bool, extend: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Measure synthetic networks on this machine and keep what they teach as a profile to predict with.

    Gates say whether the run is good; a profile that failed one is kept but marked degraded. Ctrl-C fits what was
    measured so far. Exit code 0 also for a degraded profile: it says so.
    """
    from cnnprof.measure.calibrate import calibrate, summary

    seconds = float(budget.removesuffix("s"))
    with click.progressbar(length=1000, label="measuring", file=_stderr(quiet)) as bar:
        result = calibrate(
            runner=runner, device=device, threads=threads, budget_s=seconds, seed=seed, name=name, resume=resume,
            extend=extend, progress=lambda share, _count: bar.update(max(0, int(1000 * share) - bar.pos)),
        )  # fmt: skip
    found = summary(result)
    click.echo(f"{found['name']}: {found['networks']} networks, {found['samples']} samples, {found['classes']} fits")
    calls = f" + {found['call_s'] * 1e6:.1f} µs a further module call" if found["call_s"] else ""
    click.echo(f"  end to end = {found['alpha']:.3f} · (sum − {found['delta_s'] * 1e6:.1f} µs an op){calls}")
    for gate in found["gates"]:
        click.echo(f"  {_gate(gate)}")
    if found["interrupted"]:
        click.echo("  interrupted: fitted on what was measured")
    if result.profile.degraded:
        click.echo("degraded: calibrate again on a quiet machine", err=True)
    click.echo(f"predict with: cnnprof predict MODEL --device {found['name']}")
    if result.graph is not None:
        click.echo(f"and as a CUDA graph: cnnprof predict MODEL --device {result.graph.name}")


def _gate(gate: dict[str, Any]) -> str:
    value = "not measured" if gate["value"] is None else f"{gate['value']:.3g}"
    low = "" if gate["low"] is None else f"at least {gate['low']}"
    high = "" if gate["high"] is None else f"at most {gate['high']}"
    return (
        f"{'passed' if gate['passed'] else 'FAILED'}  {gate['name']}: {value} ({', '.join(filter(None, (low, high)))})"
    )


def _stderr(quiet: bool) -> Any:
    import io
    import sys

    return io.StringIO() if quiet or not sys.stderr.isatty() else sys.stderr
