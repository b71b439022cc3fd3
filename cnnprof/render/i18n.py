"""Labels, captions and the story in the reader's language; numbers and layer names stay as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from markupsafe import Markup, escape

from cnnprof.errors import UsageError
from cnnprof.render.assets import templates_folder

__all__ = ["LANGUAGES", "Translator", "catalogue"]

LANGUAGES = ("en", "zh-CN")


@cache
def catalogue(lang: str) -> Mapping[str, str]:
    """key -> text. Raises :class:`UsageError` for a language there is none for."""
    if lang not in LANGUAGES:
        raise UsageError(f"--lang {lang}: expected one of {', '.join(LANGUAGES)}")
    text = (templates_folder() / "i18n" / f"{lang}.json").read_text(encoding="utf-8")
    return MappingProxyType(json.loads(text))


class Translator:
    """``t("key", count=3)``: plain text; with count 1, ``key.one`` where there is one. ``t.html("key", ...)``: the
    text's own ``**bold**`` and `` `code` `` become markup; everything filled in is escaped."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self._texts = catalogue(lang)

    def __call__(self, key: str, **values: object) -> str:
        if values.get("count") == 1 and f"{key}.one" in self._texts:
            key = f"{key}.one"
        return self._texts[key].format(**values) if values else self._texts[key]

    def has(self, key: str) -> bool:
        return key in self._texts

    def html(self, key: str, **values: object) -> Markup:
        text = str(escape(self._texts[key]))
        for mark, tag in (("**", "b"), ("`", "code")):
            pieces = text.split(mark)
            text = pieces[0] + "".join(
                f"<{tag}>{piece}" if i % 2 == 0 else f"</{tag}>{piece}" for i, piece in enumerate(pieces[1:])
            )
        return Markup(text).format(**values) if values else Markup(text)  # noqa: S704 - our own texts
