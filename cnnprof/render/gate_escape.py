"""Names from models made safe for Markdown tables, GitHub's workflow commands and XML."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePath

from cnnprof.render.quantities import plain

__all__ = ["cell", "command_data", "command_property", "within", "xml_text"]

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")
_MENTION = re.compile(r"@(?=\w)")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def cell(text: str, most: int = 400) -> str:
    """Text of a Markdown table's cell: no markup, no HTML, no line break, nobody is mentioned; at most
    ``most`` characters of it."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    safe = _MARKUP.sub(r"\\\1", plain(short)).replace("&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")
    return _MENTION.sub("@\u200b", safe)


def command_data(text: str) -> str:
    """The message of a GitHub workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """A property of a GitHub workflow command."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")


def xml_text(text: str) -> str:
    """Characters that XML 1.0 can hold; others are shown escaped."""
    return _NOT_XML.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def within(folder: str, path: str) -> str:
    """A path below ``folder`` as a path from the repository's root, with forward slashes; absolute ones stay."""
    text = PurePath(path).as_posix()
    return text if not folder or PurePath(path).is_absolute() else posixpath.normpath(f"{folder}/{text}")
