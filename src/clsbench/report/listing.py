"""The table of runs for a terminal."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clsbench.report.wording import plain
from clsbench.results.formats import cells, header_lines, is_numeric

_STAND_IN_NOTE = "STAND-INS took part in the runs so marked: they are not the real experiment."


def runs_table(table: pd.DataFrame) -> RenderableType:
    """One row a run, those with stand-ins in yellow and explained below."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in map(str, table.columns):
        shown.add_column(
            "\n".join(header_lines(name)),
            justify="right" if is_numeric(table, name) else "left",
            no_wrap=is_numeric(table, name),
            overflow="fold",
            vertical="top",
        )
    marked = table["stand_ins"] != "" if "stand_ins" in table else pd.Series(False, table.index)
    for row, stand_ins in zip(cells(table), marked, strict=True):
        shown.add_row(*map(plain, row), style="yellow" if stand_ins else "")
    return Group(shown, Text(_STAND_IN_NOTE, "yellow")) if marked.any() else shown
