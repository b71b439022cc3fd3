"""Where relative rules find what a model cost before: the committed baseline file, or git history."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cnnprof.errors import CnnprofError, SchemaError, UsageError
from cnnprof.gate.baseline import BaselineEntry, entry_of, read_baseline
from cnnprof.gate.git import Commit, commit_of, commits_of, export_tree, file_at, toplevel
from cnnprof.gate.job import Job
from cnnprof.gate.plan import Target
from cnnprof.gate.runner import Result

__all__ = ["Before", "from_file", "from_revision", "since"]

Run = Callable[[Sequence[Job]], Mapping[str, Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """One target's past: an entry, or that the model is new, or the problem that hides it."""

    entry: BaselineEntry | None = None
    new: bool = False
    problem: CnnprofError | None = None


def from_file(path: Path, targets: Sequence[Target], *, needed: bool) -> list[Before]:
    """From the committed file. A damaged or old one is every relative rule's problem, not a crash; ``needed``
    False (no relative rule) passes over it."""
    try:
        baseline = read_baseline(path)
    except SchemaError as error:
        return [Before(problem=error if needed else None) for _ in targets]
    if baseline is None:
        missing = UsageError(f"no baseline: {path.name} doesn't exist", _HINT)
        return [Before(problem=missing) for _ in targets]
    return [Before(entry=baseline.get(target.budget.name, target.model)) for target in targets]


_HINT = "run: cnnprof baseline update (and commit the file), or use --baseline-ref origin/main"


def from_revision(revision: str, targets: Sequence[Target], run: Run) -> list[Before]:
    """From git: the models as they were at ``revision``, analysed now with the same inputs.

    Model files are taken alone; code references get the whole tree of that revision; a library's model has no
    history. A file that wasn't there is a new model. Raises :class:`UsageError` (no repository, no such revision).
    """
    if not targets:
        return []
    commit = commit_of(Path(targets[0].job.root), revision)
    with TemporaryDirectory(prefix="cnnprof-") as folder:
        past = _Past(commit, Path(folder))
        jobs: list[Job | Before] = []
        for target in targets:
            try:
                jobs.append(past.job(target.job))
            except CnnprofError as error:
                jobs.append(Before(problem=error))
        results = run([job for job in jobs if isinstance(job, Job)])
    before = []
    for job in jobs:
        if isinstance(job, Before):
            before.append(job)
            continue
        result = results[job.key]
        if isinstance(result, CnnprofError):
            text = f"{job.shown} at {revision}: {result.message}"
            before.append(Before(problem=UsageError(text, result.hint)))
        else:
            before.append(Before(entry=entry_of(result)))
    return before


def since(target: Target, run: Run, broken: Callable[[Result], bool], most: int = 20) -> Commit | None:
    """The commit from which on ``broken`` holds for the model's file, looking back over its last ``most`` commits.

    None where git can't tell: no repository, no commit of the file, a model that is code, or one that is
    only broken in the work tree.
    """
    path = Path(target.job.root, target.job.reference)
    if not path.is_file() or path.suffix == ".py":
        return None
    try:
        commits = commits_of(path, most)
    except CnnprofError:
        return None
    with TemporaryDirectory(prefix="cnnprof-") as folder:
        jobs: list[Job | Before] = []
        for commit in commits:
            try:
                jobs.append(_Past(commit.id, Path(folder, commit.id)).job(target.job))
            except CnnprofError as error:
                jobs.append(Before(problem=error))
        results = run([job for job in jobs if isinstance(job, Job)])
    found = None
    for commit, job in zip(commits, jobs, strict=True):
        if isinstance(job, Before) or not broken(results[job.key]):
            return found
        found = commit
    return None if found is None else dataclasses.replace(found, earlier=True)


class _Past:
    """A revision's files, unpacked as they're asked for."""

    def __init__(self, commit: str, folder: Path) -> None:
        self._commit = commit
        self._folder = folder
        self._exported = False

    def job(self, job: Job) -> Job | Before:
        root = toplevel(Path(job.root)).resolve()
        below = Path(job.root).resolve().relative_to(root)
        place = self._folder / below
        now = Path(job.root, job.reference)
        if _is_code(job.reference):
            if not self._exported:
                export_tree(root, self._commit, self._folder)
                self._exported = True
            return dataclasses.replace(job, root=str(place))
        if ":" in job.reference and not now.exists():
            return job
        content = file_at(root, self._commit, now)
        if content is None:
            return Before(new=True)
        old = place / job.reference
        old.parent.mkdir(parents=True, exist_ok=True)
        old.write_bytes(content)
        return dataclasses.replace(job, root=str(place))


def _is_code(reference: str) -> bool:
    head, colon, tail = reference.rpartition(":")
    return bool(colon) and tail.isidentifier() and head not in ("torchvision", "timm", "zoo")
