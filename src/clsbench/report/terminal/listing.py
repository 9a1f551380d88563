"""The table of runs for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clsbench.report.terminal.plan import fact_table
from clsbench.report.wording import folded, plain
from clsbench.results.formats import (
    MARK,
    cells,
    column_widths,
    header_lines,
    is_numeric,
    marked,
)

_STAND_IN_NOTE = "Runs with STAND-INS are not the real experiment."
_STAND_IN_STYLE = "yellow"


def runs_table(
    table: pd.DataFrame, width: int | None = None, marks: bool = False
) -> RenderableType:
    """One row per run; runs with stand-ins are yellow, and a note explains them.

    Cells are wrapped to fit ``width`` characters. If the table does not fit even so, each run is
    printed as a list of its values. Without a ``width``, lines may have any length. With ``marks``,
    a table that fits has a mark instead of the names of stand-ins.
    """
    with_stand_ins = [bool(names) for names in table.get("stand_ins", [""] * len(table))]
    styles = [_STAND_IN_STYLE if some else "" for some in with_stand_ins]
    narrow = marked(table) if marks else table
    widths = None if width is None else column_widths(narrow, width)
    if width is None:
        parts: list[RenderableType] = [_table(table, styles)]
    elif widths is not None:
        parts = [_table(narrow, styles, widths)]
    else:
        parts = list(_one_by_one(table, styles))
    if any(with_stand_ins):
        mark = f"{MARK} " if widths is not None and marks else ""
        parts.append(Text(mark + _STAND_IN_NOTE, _STAND_IN_STYLE))
    return Group(*parts)


def _table(
    table: pd.DataFrame, styles: Sequence[str], widths: Sequence[int] | None = None
) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, name in enumerate(map(str, table.columns)):
        shown.add_column(
            "\n".join(header_lines(name)),
            justify="right" if is_numeric(table, name) else "left",
            width=None if widths is None else widths[i],
            no_wrap=True,
            overflow="fold",
            vertical="top",
        )
    for row, style in zip(cells(table), styles, strict=True):
        texts = [plain(cell) for cell in row]
        if widths is not None:
            pairs = zip(texts, widths, strict=True)
            texts = [Text(folded(text.plain, width)) for text, width in pairs]
        shown.add_row(*texts, style=style)
    return shown


def _one_by_one(table: pd.DataFrame, styles: Sequence[str]) -> Iterator[RenderableType]:
    names = [str(name) for name in table.columns]
    for row, style in zip(cells(table), styles, strict=True):
        facts = dict(zip(names, row, strict=True))
        if "run" in facts:
            yield plain(facts.pop("run"), f"bold {style}".strip())
        yield fact_table((name, plain(value, style)) for name, value in facts.items() if value)
        yield Text("")
