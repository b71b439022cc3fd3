"""The committed gallery: the zoo's networks as a site, with the story in both languages.

Pages are made in parallel processes; each file is a pure function of the zoo, the counting and the templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cnnprof.measure.hardware import usable_cores
from cnnprof.profile import Profile
from cnnprof.render.accuracy_html import AccuracyLink, accuracy_link, accuracy_page
from cnnprof.render.assets import script, style
from cnnprof.render.compare_html import compare_page
from cnnprof.render.i18n import Translator
from cnnprof.render.site import index_page, model_files, models_of
from cnnprof.render.story_html import story_page
from cnnprof.render.views.accuracy_record import accuracy_record, is_accuracy_record
from cnnprof.render.views.compare import Subject
from cnnprof.render.views.published import published_of

__all__ = ["LIMIT_BYTES", "gallery", "references", "stale"]

LIMIT_BYTES = 12_000_000
# Sizes between two that have pages: they stand in the comparison without one, or the gallery would be too large.
_BETWEEN = frozenset({"efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "resnet101", "densenet169"})
_STORIES = {"en": "evolution.html", "zh-CN": "evolution.zh-CN.html"}
Progress = Callable[[str], None]


def references() -> tuple[str, ...]:
    """Every network of the zoo, in the order of the story."""
    from cnnprof.zoo.catalogue import entries

    return tuple(f"zoo:{entry.name}" for entry in entries())


def gallery(
    names: Sequence[str],
    *,
    records: Mapping[str, bytes] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Path -> text of every file. ``progress`` is called with each network's reference once it's done.

    ``records``: path -> bytes of the JSON files in the gallery's ``accuracy`` folder; each accuracy record gets a
    page beside it. Raises :class:`~cnnprof.errors.SchemaError` for one of another schema version.
    """
    pages_of_records, links = accuracy_files(records or {})
    files = {"report.css": style(), "report.js": script(), **pages_of_records}
    profiles = []
    workers = max(1, min(jobs or usable_cores(), len(names)))
    # Spawned, not forked: torch's and the chart converter's threads don't survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for name, (text, made) in zip(names, pool.map(_make, names), strict=True):
            profiles.append(Profile.from_json(text, origin=name))
            files |= made
            if progress is not None:
                progress(name)
    models = models_of(profiles)
    t = Translator("en")
    subjects = [
        Subject(
            profile=m.profile,
            published=published_of(m.profile),
            href=path if (path := f"models/{m.slug}.html") in files else None,
        )
        for m in models
    ]
    story, all_models = (t("story.nav"), _STORIES["en"]), (t("index.nav"), "index.html")
    comparison = (t("compare.title"), "compare.html")
    chinese = (Translator("zh-CN")("story.nav"), _STORIES["zh-CN"])
    files["compare.html"] = compare_page(subjects, root="", home="index.html", nav=[all_models, story])
    by_year = sorted(subjects, key=lambda s: (s.published.year if s.published else None) or 0)
    files["index.html"] = index_page(
        by_year, t, title=t("gallery.title"), nav=[story, comparison, chinese], accuracy=links
    )
    pages = {str(s.profile.model["reference"]).removeprefix("zoo:"): (s.name, s.href) for s in subjects if s.href}
    for lang, path in _STORIES.items():
        other = {"en": "中文", "zh-CN": "English"}[lang]
        switch = (other, _STORIES["zh-CN" if lang == "en" else "en"])
        nav = [(Translator(lang)("index.nav"), "index.html"), switch]
        files[path] = story_page(lang=lang, root="", home="index.html", nav=nav, pages=pages)
    return files


def accuracy_files(records: Mapping[str, bytes]) -> tuple[dict[str, str], list[AccuracyLink]]:
    """(path -> page, what the index says of each) of the accuracy records among ``records``, ordered by path."""
    files: dict[str, str] = {}
    links = []
    for path, text in sorted(records.items()):
        if not is_accuracy_record(text):
            continue
        record = accuracy_record(text, origin=path)
        page = f"{path.removesuffix('.json')}.html"
        files[page] = accuracy_page(
            record,
            origin=path,
            root="../",
            home="../index.html",
            nav=[(Translator("en")("index.nav"), "../index.html")],
            data_links=[("JSON", path.rpartition("/")[2])],
        )
        links.append(accuracy_link(record, origin=path, href=page))
    return files, links


def _make(reference: str) -> tuple[str, dict[str, str]]:
    """In a worker: (profile as JSON, the files of its page). The zoo's names are unique, so is the file's."""
    import cnnprof

    profile = cnnprof.analyze(reference)
    (model,) = models_of([profile])
    if reference.removeprefix("zoo:") in _BETWEEN:
        return profile.to_json(), {}
    return profile.to_json(), model_files(model, data=False)


def stale(folder: Path, files: dict[str, str]) -> list[str]:
    """What differs between ``folder`` and ``files``: "missing: ...", "outdated: ...", "left over: ..."."""
    found = []
    for path, text in sorted(files.items()):
        target = folder / path
        if not target.is_file():
            found.append(f"missing: {path}")
        elif target.read_bytes() != text.encode():
            found.append(f"outdated: {path}")
    for below, kind in (("models", "*.*"), ("data", "*.*"), ("accuracy", "*.html")):
        for target in sorted((folder / below).glob(kind)):
            path = f"{below}/{target.name}"
            if path not in files:
                found.append(f"left over: {path}")
    return found
