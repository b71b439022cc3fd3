"""The two sides of a diff: saved profiles, models, or git revisions of a model file (``main:net.onnx``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cnnprof.errors import CnnprofError, ModelError, UsageError
from cnnprof.gate.git import commit_of, file_at, split_revision
from cnnprof.gate.job import Job
from cnnprof.gate.runner import Result
from cnnprof.profile import Profile

__all__ = ["profiles_of"]


def profiles_of(
    references: Sequence[str],
    run: Callable[[Sequence[Job]], Mapping[str, Result]],
    *,
    cwd: Path,
    inputs: tuple[str, ...] = (),
    batch: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> list[Profile]:
    """The profile of each reference. Raises the first :class:`CnnprofError` of any."""
    with TemporaryDirectory(prefix="cnnprof-") as folder:
        jobs = []
        for index, reference in enumerate(references):
            if reference == "-":
                raise UsageError("diff -: standard input can't be compared", "save it to a file first")
            root, path = str(cwd), reference
            at = split_revision(reference, cwd)
            if at is not None:
                root = str(Path(folder, str(index)))
                path = Path(at[1]).name
                _place(Path(root, path), at, cwd)
            jobs.append(
                Job(
                    reference=path,
                    shown=reference,
                    root=root,
                    inputs=inputs,
                    batch=batch,
                    kwargs=kwargs or {},
                )
            )
        results = run(jobs)
    profiles = []
    for job in jobs:
        result = results[job.key]
        if isinstance(result, CnnprofError):
            raise result
        profiles.append(result.with_sections(model={**result.model, "name": job.shown}))
    return profiles


def _place(path: Path, at: tuple[str, str], cwd: Path) -> None:
    revision, name = at
    content = file_at(cwd, commit_of(cwd, revision), cwd / name)
    if content is None:
        raise ModelError(f"{revision}:{name}: no such file at that revision", "see: git log --all -- " + name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
