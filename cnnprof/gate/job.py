"""One analysis that the gate needs, and its key in the cache."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnprof import __version__

__all__ = ["Job", "cache_key", "content_digest"]

_LIBRARIES = ("torchvision", "timm")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``reference`` as the front ends read it; relative paths start from ``root``, which is also where code
    is imported from. ``shown`` is what messages and baselines call the model."""

    reference: str
    shown: str
    root: str
    inputs: tuple[str, ...] = ()
    batch: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    device: str | None = None

    @property
    def key(self) -> str:
        """Everything a worker needs, as one line of JSON: equal keys are equal jobs."""
        return json.dumps(
            {
                "reference": self.reference,
                "root": self.root,
                "inputs": list(self.inputs),
                "batch": self.batch,
                "kwargs": dict(self.kwargs),
                "sections": list(self.sections),
                "device": self.device,
            },
            sort_keys=True,
        )


def cache_key(job: Job) -> str | None:
    """A digest of everything the Profile follows from; None where that isn't known (the user's own code)."""
    content = content_digest(job)
    if content is None:
        return None
    parts = [job.key if content.startswith("library") else _without_root(job), content, _tool_digest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_digest(job: Job) -> str | None:
    """The model file's bytes, or the library's version for ``torchvision:NAME``."""
    path = Path(job.root, job.reference)
    if path.is_file() and not job.reference.endswith(".py"):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        extra = _versions("torch") if path.suffix in (".pt2", ".pt", ".pth") else ""
        return f"file {digest.hexdigest()} {extra}"
    library, colon, _ = job.reference.partition(":")
    if colon and library in _LIBRARIES:
        return f"library {_versions(library, 'torch')}"
    return f"zoo {_versions('torch')}" if library == "zoo" and colon else None


def _without_root(job: Job) -> str:
    # A file's Profile depends on its bytes and its name, not on where the repository is checked out.
    document = json.loads(job.key)
    del document["root"]
    document["device_digest"] = None if job.device is None else _device_digest(job)
    return json.dumps(document, sort_keys=True)


def _device_digest(job: Job) -> str | None:
    path = Path(job.root, job.device or "")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _versions(*packages: str) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} none")
    return ", ".join(found)


@functools.cache
def _tool_digest() -> str:
    """cnnprof's version and its files' sizes and times: a changed rule in a working copy must not meet old
    results."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(__version__.encode())
    for path in sorted(p for suffix in ("*.py", "*.toml") for p in root.rglob(suffix)):
        stat = path.stat()
        digest.update(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
