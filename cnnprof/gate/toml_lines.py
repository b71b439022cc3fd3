"""In which line of a TOML text does a key stand? tomllib parses but doesn't say.

The text is one that tomllib has accepted, so this scanner only has to find keys and skip values:
strings in their four forms, arrays, inline tables (whose keys it records too) and everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = ["KeyPath", "line_of", "toml_lines"]

KeyPath = tuple[str | int, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPE = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[btnfr"\\])')
_SIMPLE = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def toml_lines(text: str) -> Mapping[KeyPath, int]:
    """Key path -> line, from 1. Elements of arrays of tables are paths with their index; a table that has no
    header of its own stands where the first key below it does."""
    found = list(_Scanner(text).scan())
    lines: dict[KeyPath, int] = {}
    for path, line in found:
        for length in range(1, len(path)):
            lines.setdefault(path[:length], line)
    return lines | dict(reversed(found))


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of ``path``, or of the nearest table around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._counts: dict[KeyPath, int] = {}

    def scan(self) -> Iterator[tuple[KeyPath, int]]:
        table: KeyPath = ()
        while self._skip_blank():
            if self._text[self._at] == "[":
                many = self._text.startswith("[[", self._at)
                line = self._line()
                self._at += 2 if many else 1
                table = self._absolute(self._key())
                self._at = self._text.index("]", self._at) + (2 if many else 1)
                if many:
                    self._counts[table] = self._counts.get(table, -1) + 1
                    yield table, line
                    table = (*table, self._counts[table])
                yield table, line
            else:
                yield from self._pair(table)

    def _absolute(self, key: KeyPath) -> KeyPath:
        """``[a.b]`` below ``[[a]]`` means the last element of a."""
        path: KeyPath = ()
        for index, part in enumerate(key):
            path = (*path, part)
            if path in self._counts and index < len(key) - 1:
                path = (*path, self._counts[path])
        return path

    def _pair(self, table: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        line = self._line()
        key = (*table, *self._key())
        yield key, line
        self._at = self._text.index("=", self._at) + 1
        yield from self._value(key)

    def _value(self, key: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        self._skip_blank()
        char = self._text[self._at]
        if char in "\"'":
            self._string()
        elif char == "[":
            self._at += 1
            index = 0
            while self._skip_blank() and self._text[self._at] != "]":
                path = (*key, index)
                yield path, self._line()
                yield from self._value(path)
                index += 1
                self._skip_blank()
                if self._text[self._at] == ",":
                    self._at += 1
            self._at += 1
        elif char == "{":
            self._at += 1
            while self._skip_blank() and self._text[self._at] != "}":
                yield from self._pair(key)
                self._skip_blank()
                if self._text[self._at] == ",":
                    self._at += 1
            self._at += 1
        else:
            end = re.compile(r"[,\]}\n#]").search(self._text, self._at)
            self._at = end.start() if end else len(self._text)

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip_spaces()
            if self._text[self._at] in "\"'":
                parts.append(self._string())
            else:
                match = _BARE.match(self._text, self._at)
                if match is None:  # not a key: the caller's text was not TOML after all
                    return tuple(parts)
                parts.append(match[0])
                self._at = match.end()
            self._skip_spaces()
            if self._at >= len(self._text) or self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _string(self) -> str:
        quote = self._text[self._at]
        mark = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        start = self._at = self._at + len(mark)
        while not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        body = self._text[start : self._at]
        self._at += len(mark)
        while len(mark) == 3 and self._text.startswith(quote, self._at):  # quotes right before the end
            self._at += 1
        return _ESCAPE.sub(_unescape, body) if quote == '"' else body

    def _skip_spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1

    def _skip_blank(self) -> bool:
        """Over spaces, newlines and comments; False at the end of the text."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "#":
                newline = self._text.find("\n", self._at)
                self._at = len(self._text) if newline < 0 else newline
            elif char in " \t\n\r\ufeff":
                self._at += 1
            else:
                return True
        return False

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if code[0] in "uU" else _SIMPLE[code]
