"""Receptive fields for the terminal: tables in 80 columns and the window's picture in block characters.

Plain text without colour, so that it's the same on a terminal and in a pipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from cnnprof.analyses.receptive_field import AxisWindow, LayerField, ReceptiveFields, SeenInput, UnitField
from cnnprof.analyses.receptive_field.region import boxes
from cnnprof.analyses.receptive_field.sets import Positions, iter_bits
from cnnprof.measure.rf_check import FieldCheck

__all__ = ["check_lines", "effective_lines", "layer_lines", "layer_table", "picture", "unit_lines"]

WIDTH = 80
_ROWS = 32  # lines of a picture at most
_MARGIN = 2
_SHADES = "·░▒▓█"


# -- tables -------------------------------------------------------------------------------------------------


def layer_table(fields: ReceptiveFields, rows: Sequence[LayerField]) -> list[str]:
    """One line per layer: size, stride, padding per axis, and what there is to say."""
    several = len({row.input for row in fields.rows}) > 1
    names = [row.layer + (f" ← {row.input}" if several else "") for row in rows]
    room = min(max([len(name) for name in names] + [5]), 32)
    lines = [f"{'layer':<{room}}  {'size':>13} {'stride':>9} {'padding':>11}  {'dens.':>5}  notes"]
    for name, row in zip(names, rows, strict=True):
        density = "" if not any(a.size for a in row.axes) else f"{float(row.density):.2f}".rstrip("0").rstrip(".")
        lines.append(
            f"{_fit(name, room):<{room}}  {_joined(row.local_size):>13} {_joined(row.stride):>9} "
            f"{_joined(row.padding):>11}  {density:>5}  {_notes(row)}".rstrip()[: WIDTH + 12]
        )
    return lines


def layer_lines(field: LayerField) -> list[str]:
    """Everything about one layer's window, one line per axis."""
    lines = [f"{field.layer} ({field.kind}) sees of {field.input}:"]
    lines.append(f"  {'axis':<5} {'size':>7} {'stride':>7} {'padding':>8} {'start':>7} {'centre':>8} {'density':>8}")
    for axis in field.axes:
        lines.append(
            f"  {axis.axis:<5} {_size(axis):>7} {_text(axis.stride):>7} {_text(axis.padding):>8} "
            f"{_text(axis.start):>7} {_text(axis.centre):>8} {float(axis.density):>8.3g}"
        )
        if axis.phase_sizes:
            more = ", ..." if len(axis.phase_sizes) > 24 else ""
            lines.append(f"        sizes by phase: {', '.join(map(str, axis.phase_sizes[:24]))}{more}")
    if field.is_global:
        local = "the local path's window is above" if any(a.size for a in field.axes) else "no local path"
        lines.append(f"  global: a path reads the whole input ({local})")
    if not field.aligned:
        lines.append(f"  not aligned: branches differ at {field.misaligned_by}")
        for axis in field.axes:
            if axis.branches:
                said = "; ".join(f"stride {_text(b.stride)} centre {_text(b.centre)}" for b in axis.branches)
                lines.append(f"    axis {axis.axis}: {said}")
    if field.gridding_layer is not None:
        lines.append(f"  gridding: holes since {field.gridding_layer}")
    if field.unknown or field.data_dependent:
        why = "an unknown operator" if field.unknown else "positions that depend on data"
        lines.append(f"  not exact: {why} on the way; taken to read everything")
    elif not field.exact:
        lines.append("  not exact: the hull over channels that see different windows; see a unit with --position")
    return lines


def _size(axis: AxisWindow) -> str:
    if axis.size is None:
        return "global"
    return f"{axis.size}+all" if axis.is_global else str(axis.size)


def _notes(row: LayerField) -> str:
    notes = []
    if row.is_global:
        notes.append("global")
    if not row.aligned:
        notes.append("not aligned")
    if row.gridding_layer is not None:
        notes.append("gridding")
    if row.unknown:
        notes.append("unknown operator")
    elif row.data_dependent:
        notes.append("data-dependent")
    elif not row.exact:
        notes.append("hull")
    return ", ".join(notes)


def _joined(values: Sequence[int | Fraction | None]) -> str:
    if all(value is None for value in values):
        return "-"
    return "×".join(map(_text, values))


def _text(value: int | Fraction | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Fraction) and value.denominator not in (1, 3, 5, 7):
        return f"{float(value):g}"
    return str(value)


def _fit(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


# -- one unit -------------------------------------------------------------------------------------------------


def unit_lines(unit: UnitField) -> list[str]:
    """The exact set of one unit per input, with its picture."""
    place = ",".join(map(str, unit.position)) or "any"
    lines = [f"unit {place} of {'×'.join(map(str, unit.extent)) or 'its output'} sees:"]
    for seen in unit.inputs:
        spans = []
        for number, axis in enumerate(seen.axes):
            found = seen.positions(number)
            spans.append(f"axis {axis}: {found.start}…{found.stop - 1} of {seen.extent[number]}{_missing(found)}")
        lines.append(f"  {seen.input}: {'; '.join(spans)}")
        whole = ", the whole input" if seen.covers_all else f", {100 * seen.density:.3g} % of its hull"
        lines.append(f"  {seen.count:,} positions{whole}")
        lines += picture(seen)
    if not unit.exact:
        lines.append("  not exact: unknown or data-dependent operators on the way are taken to read everything")
    return lines


def _missing(found: Positions) -> str:
    return f" ({found.count} of {found.size})" if found.bits else ""


def picture(seen: SeenInput, spread: Sequence[float] | None = None) -> list[str]:
    """The unit's window on the input; ``spread`` (flat over the extent, largest 1) shades it by strength.

    Drawn are the window's hull and a margin, a cell or more for each position; of three axes, the plane in
    the middle of the first.
    """
    rank = len(seen.axes)
    if rank == 0 or not seen.region:
        return []
    plane, note = _plane(seen)
    height, width = (1, seen.extent[0]) if rank == 1 else seen.extent[-2:]
    rows, columns = _around(plane, height, width)
    scale = max(1, -(-len(columns) // (WIDTH - 4)), -(-len(rows) // _ROWS))
    wide = 2 if len(columns) * 2 <= WIDTH - 4 and scale == 1 else 1
    offset = 0 if rank < 3 else _middle(seen) * height * width
    lines = []
    for top in range(rows.start, rows.stop, scale):
        cells = []
        for left in range(columns.start, columns.stop, scale):
            block = [
                (y, x)
                for y in range(top, min(top + scale, rows.stop))
                for x in range(left, min(left + scale, columns.stop))
            ]
            if spread is None:
                share = sum(plane[y] >> x & 1 for y, x in block) / len(block)
            else:
                share = max(spread[offset + y * width + x] for y, x in block)
            cells.append(_shade(share) * wide)
        lines.append("  " + "".join(cells).rstrip())
    legend = "█ strongest" if spread is not None else "█ reaches the unit"
    legend += "  · doesn't" + (f"  one cell is {scale}×{scale} positions" if scale > 1 else "")
    lines.append(f"  {legend}{note}")
    lines.append(
        f"  rows {rows.start}…{rows.stop - 1} of {height}, columns {columns.start}…{columns.stop - 1} of {width}"
    )
    return lines


def _shade(share: float) -> str:
    if share <= 0:
        return _SHADES[0]
    return _SHADES[min(4, 1 + int(share * 3.999))]


def _middle(seen: SeenInput) -> int:
    members = list(seen.positions(0))
    return members[len(members) // 2]


def _plane(seen: SeenInput) -> tuple[list[int], str]:
    """Bits per row of the last two axes, and what to say of the first."""
    rank = len(seen.axes)
    if rank == 1:
        return [next(boxes(seen.region, 1))[0]], ""
    rows = [0] * seen.extent[-2]
    middle = _middle(seen)
    for one in boxes(seen.region, rank):
        if rank == 2 or one[0] >> middle & 1:
            for y in iter_bits(one[-2]):
                rows[y] |= one[-1]
    note = "" if rank == 2 else f"  at {middle} of axis {seen.axes[0]}"
    return rows, note


def _around(plane: list[int], height: int, width: int) -> tuple[range, range]:
    """Rows and columns of the hull with a margin, inside the input."""
    filled = [y for y, bits in enumerate(plane) if bits]
    every = 0
    for bits in plane:
        every |= bits
    span = Positions.from_mask(every)
    return (
        range(max(0, filled[0] - _MARGIN), min(height, filled[-1] + 1 + _MARGIN)) if height > 1 else range(1),
        range(max(0, span.start - _MARGIN), min(width, span.stop + _MARGIN)),
    )


# -- checks and effective fields --------------------------------------------------------------------------------


def check_lines(checks: Sequence[FieldCheck]) -> list[str]:
    """One line per unit checked, and the verdict."""
    lines = []
    for check in checks:
        verdict = "equal" if check.agrees else "DIFFERENT"
        place = ",".join(map(str, check.position)) or "any"
        lines.append(
            f"{_fit(check.layer, 36):<36} unit {place:<9} predicted {check.predicted:>7,} "
            f"reached {check.reached:>7,}  {verdict}"
        )
        for title, examples in (("not reached", check.not_reached), ("not predicted", check.not_predicted)):
            if examples:
                lines.append(f"    {title}: {' '.join(map(str, examples))}")
    wrong = sum(not check.agrees for check in checks)
    lines.append(
        f"verified: {len(checks)} units, all positions equal" if not wrong else f"{wrong} of {len(checks)} units differ"
    )
    return lines


def effective_lines(unit: UnitField, spread: Sequence[float], count: int, size: float, samples: int) -> list[str]:
    """The effective field (Luo et al. 2016) drawn over the theoretical window."""
    if not unit.inputs:
        return ["effective field: the unit sees no input"]
    seen = unit.inputs[0]
    share = 100 * count / seen.count if seen.count else 0.0
    lines = [
        f"effective field at initialisation, {samples} inputs: {count:,} positions of at least 4.55 % of the",
        f"strongest ({share:.3g} % of the theoretical set; a side of {size:.1f})",
    ]
    return lines + picture(seen, spread)
