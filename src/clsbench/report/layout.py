"""Tables of figures, and what takes their place where a terminal is too narrow for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from clsbench.report.wording import folded

_NARROWEST_LABEL = 12
_WIDEST_FACT_LABEL = 14


class Row(NamedTuple):
    """What a row is about, its figures, and the same figures in words for a narrow terminal."""

    label: Text
    cells: Sequence[str | Text] = ()
    in_words: str = ""


def empty_table() -> Table:
    """An empty table in the style of all tables of figures."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def line_width(headers: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> int:
    """The characters of a line that holds every cell whole."""
    widths = [max(map(len, header.split("\n"))) for header in headers]
    for row in rows:
        for i, cell in enumerate(row):
            widths[i] = max(widths[i], len(cell))
    return 1 + sum(width + 2 for width in widths)


def fitting_table(
    name: str, headers: Sequence[str], groups: Sequence[Sequence[Row]], width: int
) -> Table:
    """Labels on the left, figures flush right; in words where ``width`` characters are too few."""
    rows = [row for group in groups for row in group]
    longest = max((len(row.label) for row in rows), default=0)
    room = width - line_width(headers, [row.cells for row in rows]) - 2
    if room < max(len(name), min(longest, _NARROWEST_LABEL)):
        return _in_words(rows)
    table = empty_table()
    table.add_column(name, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for group in groups:
        for row in group:
            table.add_row(_folded(row.label, room), *row.cells)
        table.add_section()
    return table


def _in_words(rows: Iterable[Row]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, _, in_words in rows:
        table.add_row(_folded(label, _WIDEST_FACT_LABEL), in_words)
    table.add_row()
    return table


def _folded(label: Text, width: int) -> Text:
    return Text(folded(label.plain, width), label.style)
