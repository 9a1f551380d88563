"""Tables that fit the terminal; columns that do not fit are left out and named in a note."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clsbench.report.wording import folded, listed, longest_piece

_NARROWEST_LABEL = 12
_COMFORTABLE_LABEL = 20
_WIDEST_PIECE = 24
_NARROWEST_HEADER = 8
_LEAST_LABEL = 40
"""The label width, in characters, on which the note's terminal width is based."""
_NOTHING = ("–", "-", "")


class Row(NamedTuple):
    """A row: its label and its cells."""

    label: Text
    cells: Sequence[str | Text] = ()


def empty_table() -> Table:
    """An empty table in the style of all tables of figures."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def fitting_table(
    name: str,
    headers: Sequence[str],
    groups: Sequence[Sequence[Row]],
    width: int,
    optional: Sequence[str] = (),
    see: str = "",
) -> RenderableType:
    """Labels on the left, cells right-aligned, in ``width`` characters.

    Headers are wrapped between words only. A column of dashes is left out without a note. If not
    all columns fit, those in ``optional`` are left out in order; a note under the table names them,
    and ``see`` is the option or command that shows them. If the other columns do not fit either,
    each row becomes a list.
    """
    rows = [row for group in groups for row in group]
    labels = [row.label.plain for row in rows]
    longest = max(map(_widest_line, [name, *labels]), default=0)
    pieces = max(map(longest_piece, [name, *labels]), default=0)
    comfortable = max(min(longest, _COMFORTABLE_LABEL), min(pieces, _WIDEST_PIECE))
    columns = _columns(headers, rows)
    shown = [*columns]
    for header in optional:
        if _line_width(shown) + comfortable <= width:
            break
        shown = [column for column in shown if column.header != header]
    if _line_width(shown) + min(longest, _NARROWEST_LABEL) > width:
        return _lists(columns, rows)
    room = width - _line_width(shown)
    table = empty_table()
    table.add_column("\n".join(_header_lines(name, room)), no_wrap=True)
    for column in shown:
        table.add_column(column.wrapped, justify="right", no_wrap=True)
    for group in groups:
        for row in group:
            cells = [row.cells[column.place] for column in shown if row.cells]
            table.add_row(_folded(row.label, room), *cells)
        table.add_section()
    if len(shown) == len(columns):
        return table
    needed = _line_width(columns) + min(longest, _LEAST_LABEL)
    left_out = [column.header for column in columns if column not in shown]
    return Group(
        table, Text(left_out_note(left_out, f"a terminal of {needed} columns", see), "dim")
    )


def left_out_note(names: Sequence[str], *see: str) -> str:
    """A note naming the columns left out on a narrow terminal, and what shows them."""
    them = "it" if len(names) == 1 else "them"
    where = " or ".join(filter(None, see))
    return f"Not shown for lack of space: {listed([*names])}; {where} shows {them}."


class _Column(NamedTuple):
    header: str
    place: int
    width: int
    wrapped: str


def _columns(headers: Sequence[str], rows: Iterable[Row]) -> list[_Column]:
    """The columns; a header is wrapped to its widest cell, but its words are kept whole."""
    columns = []
    for place, header in enumerate(headers):
        cells = [str(row.cells[place]) for row in rows if row.cells]
        if cells and all(cell in _NOTHING for cell in cells):
            continue
        least = max(min(len(header), _NARROWEST_HEADER), *map(len, header.split()))
        width = max(least, *map(_widest_line, cells), 0)
        columns.append(_Column(header, place, width, "\n".join(_header_lines(header, width))))
    return columns


def _header_lines(header: str, width: int) -> list[str]:
    """As few lines of whole words as ``width`` allows, of about equal length."""
    lines = _wrapped(header, width)
    while width > 1 and len(narrower := _wrapped(header, width - 1)) == len(lines):
        lines, width = narrower, width - 1
    return lines


def _wrapped(header: str, width: int) -> list[str]:
    return textwrap.wrap(header, width, break_long_words=False, break_on_hyphens=False)


def _line_width(columns: Iterable[_Column]) -> int:
    """The width of a line without its label, in characters."""
    return 3 + sum(column.width + 2 for column in columns)


def _widest_line(text: str) -> int:
    return max(map(len, text.split("\n")))


def _lists(columns: Sequence[_Column], rows: Iterable[Row]) -> Table:
    """Each row's label, and below it one line per cell."""
    table = Table.grid(padding=(0, 1))
    table.add_column(overflow="fold")
    for label, cells in rows:
        table.add_row(label)
        for column in columns if cells else ():
            if str(cells[column.place]):
                header = (f"  {column.header}  ", "dim")
                table.add_row(Text.assemble(header, cells[column.place]))
    table.add_row()
    return table


def _folded(label: Text, width: int) -> Text:
    return Text(folded(label.plain, width), label.style)
