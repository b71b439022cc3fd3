"""Options that ``check`` and ``baseline`` share, and what they mean to the gate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from cnnprof.gate.config import Config
    from cnnprof.gate.job import Job
    from cnnprof.gate.runner import Progress, Result

__all__ = ["config_of", "run_options", "runner"]

F = TypeVar("F", bound=Callable[..., Any])


def run_options(function: F) -> F:
    """``--config --budget --no-cache --jobs --timeout --quiet``."""
    decorators = (
        click.option(
            "-c", "--config", "config", metavar="FILE",
            help="Budgets (default: pyproject.toml and cnnprof.toml of this folder or one above).",
        ),
        click.option("--budget", "names", multiple=True, metavar="NAME", help="Only this budget. Repeatable."),
        click.option("--no-cache", "no_cache", is_flag=True, help="Analyse again what the cache holds."),
        click.option(
            "-j", "--jobs", "processes", type=click.IntRange(min=1), help="Processes (default: one per core)."
        ),
        click.option(
            "--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True,
            metavar="SECONDS", help="For one model.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress on standard error."),
    )  # fmt: skip
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def config_of(path: str | None) -> Config:
    """The project's config; one without budgets where there is no file. Raises UsageError."""
    from cnnprof.gate.config import BASELINE_FILE, Config, load_config

    cwd = Path.cwd()
    config = load_config(None if path is None else Path(path), cwd=cwd)
    return config or Config(budgets=(), root=cwd, baseline=cwd / BASELINE_FILE)


def runner(options: Mapping[str, Any]) -> Callable[[Sequence[Job]], Mapping[str, Result]]:
    """Jobs to results, as the options say."""
    from cnnprof.gate.cache import ProfileCache
    from cnnprof.gate.runner import run_jobs

    quiet = bool(options["quiet"])

    def run(jobs: Sequence[Job]) -> Mapping[str, Result]:
        results = run_jobs(
            jobs,
            cache=None if options["no_cache"] else ProfileCache(),
            processes=options["processes"],
            timeout_s=options["timeout_s"],
            progress=_silent if quiet else _progress,
        )
        if not quiet and sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)
        return results

    return run


def _silent(_: Progress) -> None:
    return None


def _progress(progress: Progress) -> None:
    """One line that rewrites itself on a terminal; in a log, a line per model that was analysed."""
    from cnnprof.render.quantities import plain

    text = f"[{progress.done}/{progress.total}] {plain(progress.shown)}"
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text[:100]}", nl=False, err=True)
    elif not progress.cached:
        click.echo(text + (": failed" if progress.failed else ""), err=True)
