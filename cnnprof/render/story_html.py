"""The story page: how each idea changed time and space complexity, with our own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnnprof.render.html import render
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import nbytes, si
from cnnprof.render.views.story import story

__all__ = ["story_page"]


def story_page(
    *,
    lang: str = "en",
    root: str | None = None,
    home: str | None = None,
    nav: Sequence[tuple[str, str]] = (),
    pages: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """``pages``: name in the zoo -> (title, href) of that network's page, to link examples to."""
    return render(
        "story.html.j2",
        Translator(lang),
        root=root,
        home=home,
        ideas=story(),
        nav=nav,
        pages=pages or {},
        value_text=_text,
    )


def _text(value: float, unit: str) -> str:
    if unit == "bytes":
        return nbytes(value)
    if unit == "side":
        return f"{value:g}×{value:g}"
    if unit == "ratio":
        return f"{value:.1f}"
    return si(value)
