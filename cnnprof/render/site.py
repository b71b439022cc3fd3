"""A site of reports: what stands in which file, as a mapping from path to text. Writing it is the caller's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnprof.profile import Profile
from cnnprof.render import flat
from cnnprof.render.accuracy_html import AccuracyLink
from cnnprof.render.assets import script, style
from cnnprof.render.compare_html import compare_page
from cnnprof.render.html import model_page, render
from cnnprof.render.i18n import Translator
from cnnprof.render.views.compare import Subject, compare_rows, told_apart
from cnnprof.render.views.published import published_of

__all__ = ["Model", "index_page", "model_files", "models_of", "site"]

_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})


@dataclass(frozen=True, kw_only=True)
class Model:
    """A profile and the file name, without ending, that its pages and data have."""

    profile: Profile
    slug: str


def models_of(profiles: Iterable[Profile]) -> tuple[Model, ...]:
    """File names from model names: plain ASCII, unique whatever the file system does with case. Two models of
    one name become ``name`` and ``name-2``."""
    taken: set[str] = set()
    models = []
    for profile in profiles:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", profile.name).strip("-.")[:80] or "model"
        if base.lower().partition(".")[0] in _RESERVED:
            base = f"model-{base}"
        slug, number = base, 1
        while slug.lower() in taken:
            number += 1
            slug = f"{base}-{number}"
        taken.add(slug.lower())
        models.append(Model(profile=profile, slug=slug))
    return tuple(models)


def model_files(model: Model, *, lang: str = "en", data: bool = True) -> dict[str, str]:
    """A model's page, its layers as CSV, and (with ``data``) its profile as JSON."""
    links = [("CSV", f"../data/{model.slug}.csv")]
    files = {f"data/{model.slug}.csv": flat.to_csv(model.profile)}
    if data:
        links.insert(0, ("JSON", f"../data/{model.slug}.json"))
        files[f"data/{model.slug}.json"] = model.profile.to_json()
    files[f"models/{model.slug}.html"] = model_page(
        model.profile,
        lang=lang,
        root="../",
        home="../index.html",
        data_links=links,
        published=published_of(model.profile),
    )
    return files


def site(
    profiles: Iterable[Profile],
    *,
    lang: str = "en",
    title: str = "",
    extra_nav: Sequence[tuple[str, str]] = (),
    data: bool = True,
) -> dict[str, str]:
    """Index, a page per model, compare page (from two models on), shared files, JSON and CSV beside.

    ``extra_nav``: (label, href) of further pages beside the index. ``data=False`` leaves the JSON out.
    """
    models = models_of(profiles)
    t = Translator(lang)
    files = {"report.css": style(), "report.js": script()}
    for model in models:
        files |= model_files(model, lang=lang, data=data)
    subjects = [
        Subject(profile=model.profile, published=published_of(model.profile), href=f"models/{model.slug}.html")
        for model in models
    ]
    nav = [*_nav(t, compare=len(models) > 1), *extra_nav]
    if len(models) > 1:
        files["compare.html"] = compare_page(
            subjects, lang=lang, root="", home="index.html", nav=[(t("index.nav"), "index.html"), *extra_nav]
        )
    files["index.html"] = index_page(subjects, t, title=title, nav=nav)
    return files


def _nav(t: Translator, *, compare: bool) -> list[tuple[str, str]]:
    return [(t("compare.title"), "compare.html")] if compare else []


def index_page(
    subjects: Sequence[Subject],
    t: Translator,
    *,
    title: str,
    nav: Sequence[tuple[str, str]],
    accuracy: Sequence[AccuracyLink] = (),
) -> str:
    """The site's first page: every model in a table, and the way to the other pages."""
    rows = compare_rows(told_apart(subjects))
    context: Mapping[str, object] = {
        "title": title or t("index.title"),
        "rows": rows,
        "subjects": subjects,
        "nav": [*nav, (t("index.accuracy"), "#accuracy")] if accuracy else nav,
        "accuracy": accuracy,
        "with_year": any(row.year for row in rows),
        "with_top1": any(row.top1_percent for row in rows),
        "with_latency": any(row.latency_s for row in rows),
        "with_published": any(row.published_macs or row.published_parameters for row in rows),
    }
    return render("index.html.j2", t, root="", home="index.html", **context)
