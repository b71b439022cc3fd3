"""A process that analyses models: ``python -m cnnprof.gate.worker``. One job a line in, one answer a line out.

A process of its own, so that models are analysed in parallel, an interpreter that a model's code or a
native parser kills takes nothing with it, and torch is only loaded where a model needs it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from cnnprof.errors import CnnprofError

__all__ = ["main"]


def main() -> None:
    """Answer jobs until standard input ends. What a model's code prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"profile": _analyse(job)}
    except CnnprofError as error:
        return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    except RecursionError:
        return {"message": f"{job['reference']}: nested too deeply", "hint": None, "exit_code": 3}
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        hint = f"see the traceback with: cnnprof --debug analyze {job['reference']}"
        return {"message": f"{job['reference']}: internal error: {text}", "hint": hint, "exit_code": 3}


def _analyse(job: dict[str, Any]) -> str:
    from pathlib import Path

    os.chdir(job["root"])
    if job["root"] not in sys.path:
        sys.path.insert(0, job["root"])
    reference = job["reference"]
    if reference.lower().endswith(".json"):
        from cnnprof.errors import ModelError
        from cnnprof.profile import Profile

        try:
            text = Path(reference).read_bytes()
        except OSError as error:
            raise ModelError(f"{reference}: {error.strerror or error}", "check the path") from None
        return Profile.from_json(text, origin=reference).to_json()
    from cnnprof.api import load, profile_graph

    graph = load(reference, inputs=tuple(job["inputs"]), batch=job["batch"], kwargs=job["kwargs"] or None)
    profile = profile_graph(graph, sections=tuple(job["sections"]))
    if job["device"] is not None:
        from cnnprof.gate.latency import with_prediction

        profile = with_prediction(graph, profile, job["device"])
    return profile.to_json()


if __name__ == "__main__":
    main()
