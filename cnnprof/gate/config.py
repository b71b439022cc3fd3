"""Finds and reads budgets: ``[tool.cnnprof.budgets.NAME]`` in pyproject.toml, ``[budgets.NAME]`` in cnnprof.toml.

Both files of a folder count together. Every error is a :class:`UsageError` that names file, line and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnprof.errors import UsageError
from cnnprof.gate.budget import Budget, Origin
from cnnprof.gate.flatten import Flat, flatten, known_keys, nearest
from cnnprof.gate.presets import PRESETS
from cnnprof.gate.rules import budget_from
from cnnprof.gate.toml_lines import KeyPath, line_of, toml_lines

__all__ = ["BASELINE_FILE", "Config", "find_config", "load_config"]

CONFIG_FILE = "cnnprof.toml"
BASELINE_FILE = "cnnprof-baseline.json"
_TOP_KEYS = ("budgets", "presets", "baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every budget of a project; ``root`` is the folder its paths start from."""

    budgets: tuple[Budget, ...]
    root: Path
    baseline: Path
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    label: str
    tree: Mapping[str, Any]
    prefix: KeyPath
    lines: Mapping[KeyPath, int]

    def origin(self, path: KeyPath) -> Origin:
        whole = (*self.prefix, *path)
        key = ".".join(_quoted(part) for part in path)
        return Origin(key, self.label, line_of(self.lines, whole))


def find_config(start: Path) -> Path | None:
    """The nearest folder, from ``start`` up to the repository's root, whose files hold budgets."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / CONFIG_FILE).is_file() or _has_section(folder / "pyproject.toml"):
            return folder
        if (folder / ".git").exists():
            return None
    return None


def load_config(place: Path | None, *, cwd: Path) -> Config | None:
    """Read the config of ``place`` (a file or folder; None searches from ``cwd`` upwards).

    None if there is none to be found. Raises :class:`UsageError`.
    """
    if place is None:
        place = find_config(cwd)
        if place is None:
            return None
    if place.is_dir():
        paths = [p for p in (place / "pyproject.toml", place / CONFIG_FILE) if p.is_file()]
        root = place
    elif place.is_file():
        paths, root = [place], place.parent
    else:
        raise UsageError(f"{place}: no such config file", "give --config FILE, or run where cnnprof.toml is")
    files = [_read(path, cwd) for path in paths]
    return _assemble(files, root)


def _assemble(files: list[_File], root: Path) -> Config:
    named: dict[str, dict[str, tuple[_File, Mapping[str, Any]]]] = {"budgets": {}, "presets": {}}
    baseline, baseline_origin = BASELINE_FILE, None
    for file in files:
        for key in file.tree:
            if key not in _TOP_KEYS:
                raise UsageError(f"{file.origin((key,))}: unknown key", nearest(key, _TOP_KEYS))
        for room, found in named.items():
            for name, table in _tables(file, room).items():
                if name in found:
                    other = found[name][0].origin((room, name))
                    raise UsageError(
                        f"{file.origin((room, name))}: this name is given twice (also at {other.place})",
                        "rename one of them",
                    )
                found[name] = (file, table)
        if "baseline" in file.tree:
            origin = file.origin(("baseline",))
            if baseline_origin is not None:
                raise UsageError(f"{origin}: given twice (also at {baseline_origin.place})", "leave one of them out")
            if not isinstance(file.tree["baseline"], str) or not file.tree["baseline"]:
                raise UsageError(f"{origin}: expected a path", f'e.g. baseline = "{BASELINE_FILE}"')
            baseline, baseline_origin = file.tree["baseline"], origin
    known = _Names(named["budgets"], named["presets"])
    budgets = tuple(_budget(name, known, root) for name in named["budgets"])
    for name in named["presets"]:
        known.flat("presets", name, ())
    return Config(budgets=budgets, root=root, baseline=root / baseline, files=tuple(file.label for file in files))


@dataclass(frozen=True, slots=True)
class _Names:
    budgets: Mapping[str, tuple[_File, Mapping[str, Any]]]
    presets: Mapping[str, tuple[_File, Mapping[str, Any]]]

    def flat(self, room: str, name: str, chain: tuple[str, ...]) -> Flat:
        """The table with everything it extends beneath it: what is written nearer wins."""
        file, table = getattr(self, room)[name]
        own = flatten(table, lambda path: file.origin((room, name, *path)), preset=room == "presets")
        label = f"{room}.{name}"
        if label in chain:
            raise UsageError(
                f"{own[('extends',)][1]}: extends itself ({' -> '.join((*chain, label))})", "break the circle"
            )
        if ("extends",) not in own:
            return own
        value, origin = own[("extends",)]
        parents = [value] if isinstance(value, str) else value
        if not isinstance(parents, list):
            raise UsageError(f"{origin}: expected a name or a list of names", 'e.g. extends = "mobile"')
        merged: Flat = {}
        for parent in parents:
            merged |= self._parent(parent, origin, (*chain, label))
        # A budget's identity is its own; only limits are inherited.
        merged = {path: entry for path, entry in merged.items() if path[0] not in ("model", "extends")}
        return merged | own

    def _parent(self, name: object, origin: Origin, chain: tuple[str, ...]) -> Flat:
        if not isinstance(name, str):
            raise UsageError(f"{origin}: expected a name or a list of names", 'e.g. extends = "mobile"')
        if name in self.presets:
            return self.flat("presets", name, chain)
        if name in PRESETS:
            return flatten(PRESETS[name], lambda path: Origin(f"preset {name}: {'.'.join(map(str, path))}"))
        if name in self.budgets:
            return self.flat("budgets", name, chain)
        raise UsageError(
            f"{origin}: no preset or budget {name!r}",
            nearest(name, (*self.presets, *PRESETS, *self.budgets)),
        )


def _budget(name: str, known: _Names, root: Path) -> Budget:
    file, _ = known.budgets[name]
    return budget_from(name, known.flat("budgets", name, ()), origin=file.origin(("budgets", name)), root=str(root))


def _tables(file: _File, room: str) -> Mapping[str, Mapping[str, Any]]:
    tables = file.tree.get(room, {})
    if not isinstance(tables, dict):
        raise UsageError(f"{file.origin((room,))}: expected tables", f"write [{room}.NAME]")
    for name, table in tables.items():
        if not isinstance(table, dict):
            hint = f"write [{room}.NAME] and its keys below"
            if name in known_keys():
                hint = f"{name} belongs in a named table: [{room}.NAME]"
            raise UsageError(f"{file.origin((room, name))}: expected a table", hint)
    return tables


def _read(path: Path, cwd: Path) -> _File:
    label = _label(path, cwd)
    try:
        # tomllib reads no byte order mark, which Windows editors write.
        text = path.read_bytes().decode("utf-8-sig")
        tree = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{label}: {error.strerror or error}", "check the path") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{label}: not UTF-8 (byte {error.start})", "save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _syntax(label, path, error) from None
    lines = toml_lines(text)
    if path.name == "pyproject.toml":
        section = tree.get("tool", {})
        section = section.get("cnnprof", {}) if isinstance(section, dict) else {}
        return _File(label, section if isinstance(section, dict) else {}, ("tool", "cnnprof"), lines)
    return _File(label, tree, (), lines)


def _syntax(label: str, path: Path, error: Exception) -> UsageError:
    """tomllib's message with the line in front and the key that stands there."""
    match = re.search(r"\(at line (\d+), column \d+\)", str(error))
    text = path.read_bytes().decode("utf-8-sig").splitlines()
    if match is None:
        return UsageError(f"{label}: not TOML: {error}", "check the file's last lines")
    number = int(match[1])
    stands = text[number - 1].strip() if number <= len(text) else ""
    reason = str(error)[: match.start()].strip()
    if "overwrite" in reason or "declare" in reason or "already" in reason or "twice" in reason:
        reason = f"given twice ({reason})"
    return UsageError(f"{label}:{number}: {stands.split('=')[0].strip()}: {reason}", "correct this line")


def _has_section(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        tool = tomllib.loads(path.read_bytes().decode("utf-8-sig")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        # A damaged file is reported if it mentions the tool, and passed over if it's none of our business.
        return b"tool.cnnprof" in path.read_bytes()
    return isinstance(tool, dict) and isinstance(tool.get("cnnprof"), dict)


def _label(path: Path, cwd: Path) -> str:
    try:
        return path.resolve().relative_to(cwd.resolve()).as_posix()
    except ValueError:
        return str(path)


def _quoted(part: str | int) -> str:
    text = str(part)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else f'"{text}"'
