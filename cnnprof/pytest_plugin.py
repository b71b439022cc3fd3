"""pytest plugin: budgets in a test suite.

    def test_cost(assert_within_budget):
        assert_within_budget(make_model(), (torch.zeros(1, 3, 224, 224),), macs="5G", parameters="30M")

    def test_growth(assert_within_budget):
        assert_within_budget("model.onnx", max_increase={"macs": "2%", "parameters": 0})

Keywords are the keys of a budget in cnnprof.toml. Relative limits compare with ``cnnprof-baseline.json`` beside the
test file; ``pytest --cnnprof-update`` writes it. :func:`assert_within_budget` is also a plain function, for absolute
limits outside of a fixture. Loading this plugin imports nothing of cnnprof's analyses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cnnprof.gate.verdict import Verdict

__all__ = ["assert_within_budget"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cnnprof-update``."""
    group = parser.getgroup("cnnprof")
    group.addoption(
        "--cnnprof-update",
        action="store_true",
        help="write what the models cost now as the baseline of relative limits",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an update by several processes: they would write one file at once."""
    if config.getoption("--cnnprof-update") and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--cnnprof-update: runs in one process; leave -n out")


def assert_within_budget(model: Any, inputs: Any = (), **limits: Any) -> Verdict:
    """Raise AssertionError with the whole explanation unless ``model`` keeps its budget.

    ``model`` is a ``torch.nn.Module`` with its ``inputs``, a path, a reference, a Graph or a Profile.
    Returns the verdict. Raises :class:`~cnnprof.errors.CnnprofError` for wrong limits or an unreadable model.
    """
    __tracebackhide__ = True
    return _assert(model, inputs, limits, name="assert_within_budget", store=None, update=False)


@pytest.fixture(name="assert_within_budget")
def _fixture(request: pytest.FixtureRequest) -> Callable[..., Verdict]:
    """``assert_within_budget(model, inputs=(), **limits)``; relative limits use the baseline beside the test file."""
    store = Path(request.path).parent / "cnnprof-baseline.json"
    update = bool(request.config.getoption("--cnnprof-update"))
    calls = 0

    def assert_within(model: Any, inputs: Any = (), **limits: Any) -> Verdict:
        __tracebackhide__ = True
        nonlocal calls
        calls += 1
        name = f"{request.path.name}::{request.node.name}" + (f" ({calls})" if calls > 1 else "")
        return _assert(model, inputs, limits, name=name, store=store, update=update)

    return assert_within


def _assert(model: Any, inputs: Any, limits: dict[str, Any], *, name: str, store: Path | None, update: bool) -> Verdict:
    __tracebackhide__ = True
    from cnnprof.gate.baseline import Baseline, entry_of, read_baseline, write_baseline
    from cnnprof.gate.verdict import Report
    from cnnprof.gate.within import budget_of, profile_for, within
    from cnnprof.render.gate_text import to_text

    budget = budget_of(name, limits)
    profile = profile_for(model, inputs, budget)
    entry = None
    if store is not None and budget.needs_baseline:
        baseline = read_baseline(store) or Baseline()
        if update:
            entry = entry_of(profile)
            baseline = Baseline({**baseline.entries, (name, profile.name): entry})
            write_baseline(store, baseline)
        else:
            entry = baseline.get(name, profile.name)
    verdict = within(profile, budget, entry)
    report = Report(verdicts=(verdict,))
    if report.exit_code:
        text = to_text(report, every=True).replace("cnnprof baseline update", "pytest --cnnprof-update")
        raise AssertionError(text.rstrip())
    return verdict
