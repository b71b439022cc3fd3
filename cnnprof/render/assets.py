"""Where the templates lie, and the style sheet and script they come with."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from cnnprof.errors import DependencyError

__all__ = ["POLICY_SITE", "policy_single", "script", "style", "templates_folder"]

_REST = "img-src data:; base-uri 'none'; form-action 'none'"
POLICY_SITE = f"default-src 'none'; style-src 'self'; script-src 'self'; {_REST}"


@cache
def templates_folder() -> Path:
    """``cnnprof/templates`` in an installed wheel, ``templates`` at the repository's top in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "templates", package.parent / "templates"):
        if (folder / "model.html.j2").is_file():
            return folder
    raise DependencyError("the report templates are not installed", "reinstall cnnprof")


@cache
def style() -> str:
    return (templates_folder() / "static" / "report.css").read_text(encoding="utf-8")


@cache
def script() -> str:
    return (templates_folder() / "static" / "report.js").read_text(encoding="utf-8")


def policy_single() -> str:
    """The policy of a self-contained page: nothing is loaded, and only our two inline blocks may run, by hash."""
    return f"default-src 'none'; style-src {_hash(style())}; script-src {_hash(script())}; {_REST}"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
