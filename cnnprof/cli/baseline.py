"""``cnnprof baseline``: write and show what the models cost now, to commit beside the budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnnprof.cli.gate_options import config_of, run_options, runner

__all__ = ["command"]

_EPILOG = """\b
Examples:
  cnnprof baseline update                    then commit cnnprof-baseline.json
  cnnprof baseline update --budget mobile
  cnnprof baseline update --allow-increase   even if a ratcheted limit rises
  cnnprof baseline show
"""


@click.group("baseline", epilog=_EPILOG, short_help="Write or show the committed baseline.")
def command() -> None:
    """The committed baseline: what every budget's models cost, for relative limits (max_increase, ratchet)."""


@command.command("update", epilog=_EPILOG)
@run_options
@click.option("--baseline", metavar="FILE", help="The file to write (default: beside the config).")
@click.option("--allow-increase", is_flag=True, help="Let ratcheted limits go up.")
def update(**options: Any) -> int:
    """Analyse every budget's models and write the baseline: small, sorted, one line per layer.

    Nothing is written if a model can't be analysed (exit 3) or a ratcheted limit would go up (exit 1).
    """
    from cnnprof.errors import UsageError
    from cnnprof.gate.baseline import Baseline, write_baseline
    from cnnprof.gate.metrics import METRICS
    from cnnprof.gate.plan import choose, select
    from cnnprof.gate.quantity import exact_text
    from cnnprof.gate.run import measure, raised
    from cnnprof.render.quantities import plain

    config = config_of(options["config"])
    if not config.budgets:
        raise UsageError("baseline update: no budget found", "write [budgets.NAME] in cnnprof.toml")
    from cnnprof.gate.plan import Flags

    targets = choose(select(config.budgets, options["names"]), (), Flags(), cwd=Path.cwd())
    path = Path(options["baseline"]) if options["baseline"] else config.baseline
    old = _old(path)
    fresh, failures = measure(targets, runner(options))
    for failure in failures:
        click.echo(f"error: {plain(failure.model)}: {plain(failure.message)}", err=True)
    if failures:
        click.echo(f"{path}: not written", err=True)
        return max(failure.exit_code for failure in failures)
    ups = [] if options["allow_increase"] else raised(targets, old, fresh)
    for target, metric, before, after in ups:
        dimension = METRICS[metric].dimension
        click.echo(
            f"fail: {plain(target.model)} ({plain(target.budget.name)}): ratchet.{metric} would go up from "
            f"{exact_text(before, dimension)} to {exact_text(after, dimension)}",
            err=True,
        )
    if ups:
        click.echo(f"{path}: not written; accept it with --allow-increase", err=True)
        return 1
    entries = dict(fresh.entries)
    if options["names"]:  # the budgets that were not asked for stay as they are
        entries = {key: e for key, e in old.entries.items() if key[0] not in options["names"]} | entries
    written = write_baseline(path, Baseline(entries))
    count = len(fresh.entries)
    word = "written" if written else "unchanged"
    click.echo(f"{path}: {word}, {count} {'entry' if count == 1 else 'entries'}")
    return 0


@command.command("show", epilog=_EPILOG)
@click.option("-c", "--config", metavar="FILE", help="As for check.")
@click.option("--baseline", metavar="FILE", help="The file to show (default: beside the config).")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(config: str | None, baseline: str | None, form: str) -> int:
    """What the baseline says, per budget and model."""
    from cnnprof.errors import UsageError
    from cnnprof.gate.baseline import read_baseline
    from cnnprof.gate.metrics import METRICS
    from cnnprof.gate.quantity import show as shown
    from cnnprof.render.quantities import plain

    path = Path(baseline) if baseline else config_of(config).baseline
    found = read_baseline(path)
    if found is None:
        raise UsageError(f"{path}: no such file", "write it with: cnnprof baseline update")
    if form == "json":
        click.echo(found.to_json(), nl=False)
        return 0
    for (budget, model), entry in sorted(found.entries.items()):
        click.echo(f"{plain(budget)} · {plain(model)}  ({', '.join(map(plain, entry.inputs))})")
        for key, value in sorted(entry.metrics.items()):
            metric = METRICS.get(key)
            click.echo(f"  {plain(key):22} {value if metric is None else shown(value, metric.dimension)}")
    return 0


def _old(path: Path) -> Any:
    """What stands there now; one of another schema is replaced, which is what update is for."""
    from cnnprof.errors import SchemaError
    from cnnprof.gate.baseline import Baseline, read_baseline

    try:
        return read_baseline(path) or Baseline()
    except SchemaError as error:
        click.echo(f"note: {error.message}: replaced", err=True)
        return Baseline()
