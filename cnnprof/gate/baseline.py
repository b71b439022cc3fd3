"""The committed baseline: what each budget's models cost when the team last agreed to it.

``cnnprof-baseline.json`` is small, sorted, and one line per layer, so that a pull request shows what moved.
Schema 1: ``{schema, cnnprof, budgets: {BUDGET: {MODEL: {inputs, metrics, layers}}}}``; ``layers`` holds only those
that cost MACs or hold parameters.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cnnprof import __version__
from cnnprof.errors import SchemaError, UsageError
from cnnprof.gate.metrics import METRICS, Missing
from cnnprof.gate.nodes import LayerNode, nodes_of, nodes_to_rows, rows_to_nodes
from cnnprof.profile import Profile

__all__ = [
    "Baseline",
    "BaselineEntry",
    "entry_of",
    "inputs_text",
    "parse_baseline",
    "read_baseline",
    "write_baseline",
]

SCHEMA = "cnnprof.baseline/1"
_HINT = "write it again with: cnnprof baseline update"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """One model under one budget. ``inputs`` as text ("x=float32:1x3x224x224"), ``metrics`` by key."""

    inputs: tuple[str, ...]
    metrics: Mapping[str, float]
    layers: tuple[LayerNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Baseline:
    """Entries by (budget, model)."""

    entries: Mapping[tuple[str, str], BaselineEntry] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, budget: str, model: str) -> BaselineEntry | None:
        return self.entries.get((budget, model))

    def to_json(self) -> str:
        """Sorted, one line per layer, a newline at the end."""
        budgets: dict[str, dict[str, BaselineEntry]] = {}
        for (budget, model), entry in self.entries.items():
            budgets.setdefault(budget, {})[model] = entry
        lines = ["{", f' "cnnprof": {_json(__version__)},', f' "schema": {_json(SCHEMA)},', ' "budgets": {']
        for budget_index, (budget, models) in enumerate(sorted(budgets.items())):
            lines.append(f"  {_json(budget)}: {{")
            for model_index, (model, entry) in enumerate(sorted(models.items())):
                lines += [
                    f"   {_json(model)}: {{",
                    *_entry_lines(entry),
                    "   }" + _comma(model_index, models),
                ]
            lines.append("  }" + _comma(budget_index, budgets))
        return "\n".join([*lines, " }", "}", ""])


def entry_of(profile: Profile) -> BaselineEntry:
    """What a profile leaves in the baseline: every metric that it holds."""
    values = {key: metric.read(profile) for key, metric in METRICS.items()}
    return BaselineEntry(
        inputs=inputs_text(profile),
        metrics={key: value for key, value in values.items() if not isinstance(value, Missing)},
        layers=rows_to_nodes(nodes_to_rows(nodes_of(profile))),
    )


def inputs_text(profile: Profile) -> tuple[str, ...]:
    """The profile's inputs, as ``--input`` writes them."""
    return tuple(
        f"{tensor['name']}={tensor['dtype']}:" + ("x".join(map(str, tensor.get("shape") or ())) or "scalar")
        for tensor in profile.inputs
    )


def read_baseline(path: Path) -> Baseline | None:
    """None if there is no file. Raises :class:`SchemaError` for another schema or a damaged file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror or error}", "check the path") from None
    return parse_baseline(text, origin=str(path))


def parse_baseline(text: bytes | str, *, origin: str) -> Baseline:
    """Read a baseline's JSON. Raises :class:`SchemaError`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{origin}: not JSON ({error})", _HINT) from None
    if not isinstance(document, dict) or "schema" not in document:
        raise SchemaError(f"{origin}: not a cnnprof baseline (no schema)", _HINT)
    if document["schema"] != SCHEMA:
        raise SchemaError(f"{origin}: expected schema {SCHEMA}, got {document['schema']!r}", _HINT)
    try:
        return Baseline(
            {
                (budget, model): BaselineEntry(
                    inputs=tuple(map(str, entry["inputs"])),
                    metrics={key: _number(value) for key, value in entry["metrics"].items()},
                    layers=rows_to_nodes(entry["layers"]),
                )
                for budget, models in document["budgets"].items()
                for model, entry in models.items()
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{origin}: the baseline is damaged ({error!r})", _HINT) from None


def write_baseline(path: Path, baseline: Baseline) -> bool:
    """Write the file whole or not at all; False if it already says exactly this."""
    text = baseline.to_json()
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path}: can't write ({error.strerror or error})", "choose another file") from None
    return True


def _entry_lines(entry: BaselineEntry) -> list[str]:
    metrics = sorted(entry.metrics.items())
    rows = nodes_to_rows(entry.layers)
    return [
        f'    "inputs": {_json(list(entry.inputs))},',
        '    "metrics": {',
        *(f"     {_json(key)}: {_json(value)}{_comma(i, metrics)}" for i, (key, value) in enumerate(metrics)),
        "    },",
        '    "layers": [',
        *(f"     {_json(row)}{_comma(i, rows)}" for i, row in enumerate(rows)),
        "    ]",
    ]


def _comma(index: int, whole: Any) -> str:
    return "," if index < len(whole) - 1 else ""


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {value!r}")
    return value
