"""Old versions of models from git: one file by ``git cat-file``, code by ``git archive`` of the whole tree."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cnnprof.errors import DependencyError, UsageError

__all__ = ["Commit", "commit_of", "commits_of", "export_tree", "file_at", "split_revision", "toplevel"]

_POINTER = b"version https://git-lfs.github.com/spec/"


def toplevel(folder: Path) -> Path:
    """The repository's root. Raises :class:`UsageError` outside of one."""
    done = _git(folder, "rev-parse", "--show-toplevel")
    if done.returncode:
        raise UsageError(f"{folder}: not in a git repository", "run inside one, or commit a baseline instead")
    return Path(done.stdout.decode().rstrip("\n"))


def commit_of(folder: Path, revision: str) -> str:
    """The full commit id of a revision. Raises :class:`UsageError` if git doesn't know it."""
    toplevel(folder)
    done = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode:
        raise UsageError(
            f"git revision {revision!r}: not in this repository",
            "fetch it first (in CI: git fetch --depth=1 origin main, or checkout with fetch-depth: 0)",
        )
    return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True)
class Commit:
    """``earlier``: perhaps even before this one, the oldest that was looked at."""

    id: str
    date: str
    subject: str
    earlier: bool = False

    def __str__(self) -> str:
        return f"{self.id[:10]} {self.date} {self.subject}" + (" (or earlier)" if self.earlier else "")


def commits_of(path: Path, most: int) -> list[Commit]:
    """The commits that touched a file, newest first."""
    root = toplevel(path.parent)
    done = _git(root, "log", f"-{most}", "--format=%H%x00%as%x00%s", "--", str(path.resolve()))
    rows = [line.split("\0") for line in done.stdout.decode(errors="replace").splitlines()]
    return [Commit(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def file_at(folder: Path, revision: str, path: Path) -> bytes | None:
    """A file's bytes at a revision, None if it wasn't there. ``path`` is in the work tree (it need not
    exist now). Raises :class:`UsageError` for a Git LFS pointer whose content isn't here."""
    root = toplevel(folder)
    try:
        inside = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise UsageError(f"{path}: outside the repository {root}", "give a file that git tracks") from None
    done = _git(root, "cat-file", "blob", f"{revision}:{inside}")
    if done.returncode:
        return None
    if not done.stdout.startswith(_POINTER):
        return done.stdout
    smudged = _git(root, "lfs", "smudge", data=done.stdout)
    if smudged.returncode or smudged.stdout.startswith(_POINTER):
        raise UsageError(
            f"{revision}:{inside}: a Git LFS pointer, its content isn't here",
            f"git lfs fetch origin {revision}, or commit the model's skeleton (cnnprof strip)",
        )
    return smudged.stdout


def export_tree(folder: Path, revision: str, target: Path) -> None:
    """The whole tree of a revision, unpacked into ``target``."""
    done = _git(toplevel(folder), "archive", "--format=tar", revision)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"git archive {revision}: {reason}", "check the revision")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")


def split_revision(reference: str, folder: Path) -> tuple[str, str] | None:
    """``main:models/net.onnx`` -> (revision, path) if git knows both and no such file exists; else None."""
    revision, colon, path = reference.partition(":")
    if not colon or not revision or not path or revision.startswith("-") or Path(folder, reference).exists():
        return None
    done = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return (revision, path) if done.returncode == 0 else None


def _git(folder: Path, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 - the arguments are a list, no shell reads them
            ["git", *arguments],  # noqa: S607 - the user's git, from the PATH
            cwd=folder,
            input=data,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise DependencyError("git: not installed", "install git, or commit a baseline instead") from None
