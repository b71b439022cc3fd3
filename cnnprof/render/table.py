"""The terminal table: rows chosen by :mod:`~cnnprof.render.rollup`, drawn by rich, readable at 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnprof.profile import Profile
from cnnprof.render.quantities import nbytes, percent, plain, shape, si
from cnnprof.render.rollup import Row, Selection
from cnnprof.render.summary import header_line, summary_pairs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["print_profile"]

_WIDE = 110


def print_profile(console: Console, profile: Profile, selection: Selection, *, rolled: bool) -> None:
    """Header, table, summary. Names are data: no markup in them is interpreted."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(header_line(profile), style="bold", overflow="fold"))
    if selection.rows:
        console.print(_table(console, profile, selection, rolled=rolled))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in summary_pairs(profile):
        style = "bold red" if label == "coverage" and not profile.complete else ""
        grid.add_row(label, Text(text, style=style))
    console.print(grid)


def _table(console: Console, profile: Profile, selection: Selection, *, rolled: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = console.width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    name_width = max(12, min(48, console.width - (86 if wide else 55)))
    table.add_column("module" if rolled else "layer", no_wrap=True, max_width=name_width)
    if wide:
        table.add_column("kind", no_wrap=True, max_width=16)
    table.add_column("output", no_wrap=True, max_width=17)
    for title in ("params", "MACs", "share", *(("FLOPs", "activ.", "moved") if wide else ("activ.",))):
        table.add_column(title, justify="right", no_wrap=True)
    total = profile.totals["macs"]
    for row in selection.rows:
        table.add_row(*_cells(row, plain(row.name), total, name_width, wide=wide), style=_style(row))
    if selection.rest is not None:
        rest = selection.rest
        cells = _cells(rest, f"… {rest.layers} more ops", total, name_width, wide=wide)
        cells[1 + wide] = Text("")
        table.add_row(*cells, style="dim")
    return table


def _cells(row: Row, name: str, total: int, name_width: int, *, wide: bool) -> list[Text]:
    from rich.text import Text

    unknown = row.unknown == row.layers
    macs = "?" if unknown else ("≥ " if row.unknown else "") + si(row.macs)
    cells = [_middle(name, name_width)]
    if wide:
        cells.append(plain(row.kind))
    cells += [
        shape(row.output_shape),
        si(row.parameters) if row.parameters else "",
        macs if row.macs or row.unknown else "",
        percent(row.macs, total) if row.macs else "",
    ]
    if wide:
        cells.append("?" if unknown else si(row.flops) if row.flops else "")
    cells.append(si(row.activation_elements) if row.activation_elements else "")
    if wide:
        cells.append(nbytes(row.bytes_moved) if row.bytes_moved else "")
    return [Text(cell) for cell in cells]


def _style(row: Row) -> str:
    return "red" if row.unknown else "dim" if row.silent else ""


def _middle(text: str, width: int) -> str:
    """Cut in the middle: both ends of a module path tell more than its start alone."""
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
