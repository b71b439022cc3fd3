"""Profiles by the digest of what they follow from, in the user's cache folder.

Content-addressed: nothing is ever stale, only unused, and the least recently used entries go. A damaged entry is
a miss; a cache that can't be written is no error (read-only home folders are common in CI).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from cnnprof.errors import SchemaError
from cnnprof.profile import Profile

__all__ = ["ProfileCache", "cache_folder"]

_MOST = 4000  # entries kept


def cache_folder() -> Path:
    """``$CNNPROF_CACHE_DIR``, or ``cnnprof`` in the platform's cache folder."""
    if own := os.environ.get("CNNPROF_CACHE_DIR"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "cnnprof" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/cnnprof"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnnprof"


class ProfileCache:
    """``folder`` None: the user's."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (folder or cache_folder()) / "profiles"

    def get(self, key: str) -> Profile | None:
        path = self._path(key)
        try:
            profile = Profile.from_json(path.read_bytes(), origin=str(path))
            os.utime(path)
        except (OSError, SchemaError):
            return None
        return profile

    def put(self, key: str, text: str) -> None:
        """Store a Profile's JSON."""
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)

    def prune(self) -> None:
        """Keep the most recently used entries."""
        with contextlib.suppress(OSError):
            entries = sorted(self._folder.glob("*/*.json"), key=lambda path: -path.stat().st_mtime)
            for path in entries[_MOST:]:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key[2:]}.json"
