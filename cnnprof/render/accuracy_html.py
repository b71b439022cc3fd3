"""The page of prediction against measurement: a pure function of a saved accuracy record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cnnprof.errors import SchemaError
from cnnprof.render.charts.accuracy import LISTED, errors_chart, scatter_chart
from cnnprof.render.html import render
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import signed
from cnnprof.render.views.accuracy import accuracy_view
from cnnprof.render.views.accuracy_figures import Target
from cnnprof.render.views.accuracy_gpu import gpu_view

__all__ = ["AccuracyLink", "accuracy_link", "accuracy_page"]

_CARDS = ("mean", "within_10", "rank_correlation", "coverage_90", "layers_median_error", "noise_floor")


_DAMAGE = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError)


@contextmanager
def _whole(origin: str) -> Iterator[None]:
    """What breaks on a record while its page is made is that file's fault, and said in one line."""
    try:
        yield
    except _DAMAGE as error:
        raise SchemaError(
            f"{origin}: the accuracy record is damaged ({type(error).__name__}: {error})",
            "make it again with: cnnprof verify -o FILE",
        ) from error


def accuracy_page(
    record: Mapping[str, Any],
    *,
    origin: str = "accuracy record",
    lang: str = "en",
    root: str | None = None,
    home: str | None = None,
    nav: Sequence[tuple[str, str]] = (),
    data_links: Sequence[tuple[str, str]] = (),
) -> str:
    """``record`` as read by :func:`~cnnprof.render.views.accuracy_record.accuracy_record`; ``nav`` are (label, href)
    of sister pages, ``data_links`` of the data beside it. Raises :class:`SchemaError` for a damaged record."""
    t = Translator(lang)
    with _whole(origin):
        view, gpu = accuracy_view(record), gpu_view(record)
        return render(
            "accuracy.html.j2",
            t,
            root=root,
            home=home,
            nav=nav,
            data_links=data_links,
            view=view,
            gpu=gpu,
            cards=[row for key in _CARDS if (row := view.figure(key)) is not None],
            scatter=scatter_chart(view, t),
            errors=errors_chart(view, t),
            graph_errors=None if gpu is None or gpu.graph is None else errors_chart(gpu.graph, t),
            errors_left=max(0, len(view.networks) - LISTED),
            text=figure_text,
            target_text=target_text,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLink:
    """What an index says of a record and where its page is; ``mean`` is None where nothing could be judged."""

    href: str
    title: str
    runner: str
    threads: int
    batch: int | None
    networks: int
    mean: str | None
    met: int
    targets: int
    degraded: bool


def accuracy_link(record: Mapping[str, Any], *, origin: str, href: str) -> AccuracyLink:
    """Raises :class:`SchemaError` for a damaged record."""
    with _whole(origin):
        view = accuracy_view(record)
    mean = view.figure("mean")
    return AccuracyLink(
        href=href,
        title=view.title,
        runner=view.runner,
        threads=view.threads,
        batch=view.batch,
        networks=len(view.networks),
        mean=None if mean is None else figure_text(mean.value, mean.unit),
        met=view.met,
        targets=view.targets,
        degraded=bool(view.failed_gates),
    )


def figure_text(value: float | None, unit: str) -> str:
    """A figure as it's read: shares in per cent, with one digit below 10 %."""
    if value is None:
        return "–"
    if unit == "signed":
        return signed(value)
    if unit == "share":
        return f"{100 * value:.0f} %" if value >= 0.995 or value == 0 else f"{100 * value:.1f} %"
    if unit == "count":
        return f"{value:g}"
    if unit == "times":
        return f"{value:.1f}×"
    return f"{value:.4f}" if unit == "rank" else f"{value:.3f}"


def target_text(target: Target, unit: str) -> str:
    """``≤ 4 %``, ``≥ 95 %``, ``87 % to 95 %``: limits without digits that say nothing."""
    low, high = (None if end is None else _limit(end, unit) for end in (target.low, target.high))
    if low is not None and high is not None:
        return f"{low} – {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}" if high is not None else ""


def _limit(value: float, unit: str) -> str:
    return f"{100 * value:g} %" if unit in ("share", "signed") else f"{value:g}"
