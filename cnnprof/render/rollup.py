"""A Profile's layers as rows of a table: one per layer, or summed up by scope to a depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cnnprof.profile import Layer, Profile

__all__ = ["SORT_KEYS", "Row", "Selection", "best_depth", "layer_rows", "rolled_rows", "select"]

ROWS_AT_A_GLANCE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. ``layers`` ops stand behind it, ``unknown`` of which have no known cost."""

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    parameter_bytes: int
    macs: int
    flops: int
    transcendentals: int
    activation_elements: int
    activation_bytes: int
    bytes_moved: int
    layers: int
    unknown: int
    formula: str = ""

    @property
    def memory_bytes(self) -> int:
        return self.parameter_bytes + self.activation_bytes

    @property
    def silent(self) -> bool:
        """True for a row that costs nothing and holds nothing: layout ops, activations taken apart."""
        return not (self.unknown or self.macs or self.parameters)


SORT_KEYS: dict[str, Callable[[Row], int | str]] = {
    "macs": lambda row: -row.macs,
    "flops": lambda row: -row.flops,
    "params": lambda row: -row.parameters,
    "activations": lambda row: -row.activation_elements,
    "memory": lambda row: -row.memory_bytes,
    "name": lambda row: row.name,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows to show, and the sum of those left out (None if none are)."""

    rows: tuple[Row, ...]
    rest: Row | None


def layer_rows(layers: Iterable[Layer]) -> tuple[Row, ...]:
    """One row a layer, in execution order."""
    return tuple(_row(layer) for layer in layers)


def rolled_rows(profile: Profile, depth: int) -> tuple[Row, ...]:
    """Rows summed by the first ``depth`` parts of their scope, in order of first execution.

    Layers outside any scope stay rows of their own. ``depth`` 0 is one row, the whole model.
    """
    groups: dict[str, list[Row]] = {}
    for layer in profile.layers:
        key = "/".join(layer.scope.split("/")[:depth]) if layer.scope else layer.name
        groups.setdefault(key if depth else profile.name, []).append(_row(layer))
    return tuple(rows[0] if len(rows) == 1 else _sum(name, rows) for name, rows in groups.items())


def best_depth(profile: Profile) -> int | None:
    """The deepest roll-up that a screen can show, or None if the layers themselves fit or have no scopes."""
    if len(profile.layers) <= ROWS_AT_A_GLANCE:
        return None
    scopes = [layer.scope for layer in profile.layers]
    if sum(1 for scope in scopes if scope) < len(scopes) / 2:
        return None
    deepest = max(scope.count("/") + 1 for scope in scopes)
    best = 1
    for depth in range(1, deepest + 1):
        if len({"/".join(scope.split("/")[:depth]) for scope in scopes}) <= ROWS_AT_A_GLANCE:
            best = depth
    return best


def select(rows: Sequence[Row], *, sort: str | None, top: int | None) -> Selection:
    """Sort (None keeps execution order) and cut to the ``top`` rows.

    Without a sort key the largest by MACs (then by parameters) are kept, in execution order.
    """
    if sort is not None:
        ordered = sorted(rows, key=SORT_KEYS[sort])
        kept, left = (ordered, []) if top is None else (ordered[:top], ordered[top:])
    elif top is None or len(rows) <= top:
        kept, left = list(rows), []
    else:
        order = sorted(range(len(rows)), key=lambda i: (-rows[i].unknown, -rows[i].macs, -rows[i].parameters, i))
        chosen = set(order[:top])
        kept = [row for i, row in enumerate(rows) if i in chosen]
        left = [row for i, row in enumerate(rows) if i not in chosen]
    return Selection(rows=tuple(kept), rest=_sum("", left) if left else None)


def _row(layer: Layer) -> Row:
    outputs = layer.outputs
    dims = outputs[0].get("shape") if outputs else None
    formula = layer.time_formula
    return Row(
        name=layer.name,
        kind=layer.kind if layer.unknown is None else layer.op_type,
        output_shape=None if dims is None else tuple(dims),
        parameters=layer.parameters,
        parameter_bytes=layer.parameter_bytes,
        macs=layer.macs or 0,
        flops=layer.flops or 0,
        transcendentals=layer.transcendentals or 0,
        activation_elements=layer.activation_elements,
        activation_bytes=layer.activation_bytes or 0,
        bytes_moved=layer.bytes_moved or 0,
        layers=1,
        unknown=0 if layer.unknown is None else 1,
        formula=formula["symbols"] if formula else "",
    )


def _sum(name: str, rows: Sequence[Row]) -> Row:
    kinds = {row.kind for row in rows}
    return replace(
        rows[-1],
        name=name,
        kind=kinds.pop() if len(kinds) == 1 else "",
        formula="",
        **{
            field: sum(getattr(row, field) for row in rows)
            for field in (
                "parameters",
                "parameter_bytes",
                "macs",
                "flops",
                "transcendentals",
                "activation_elements",
                "activation_bytes",
                "bytes_moved",
                "layers",
                "unknown",
            )
        },
    )
